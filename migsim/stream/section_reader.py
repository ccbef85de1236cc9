"""Configuration and device sections, read by description (spec stream.md sections 3.2 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ..errors import IncompatibleError, StreamError
from ..qapi.enums import Capability
from ..vmstate.codec import decode
from ..vmstate.common import CONFIGURATION
from .footers import BODY_BYTES_MAX
from .items import Configuration
from .names import decode_text
from .wire import NAME_BYTES_MAX, PAGE_BITS_MAX, PAGE_BITS_MIN, SectionType

if TYPE_CHECKING:
    from ..vmstate.fields import Value, Values, VMStateDescription
    from .source import ByteSource

CONFIGURATION_BYTES_MAX = 64 << 10
"""Longest configuration section taken in bytes (our limit)."""

_SUBSECTION_HEADER_MAX = 1 + 1 + NAME_BYTES_MAX + 4
_KNOWN_CAPABILITIES = frozenset(capability.value for capability in Capability)
_Parsed = TypeVar("_Parsed")


def within_window(
    source: ByteSource,
    parse: Callable[[memoryview, bool], _Parsed],
    section: str,
    bytes_max: int,
) -> _Parsed:
    """Return what ``parse`` makes of the bytes from the position on.

    A state does not tell its length, so it is looked at again with more bytes while it seems cut
    off.  ``parse`` gets the bytes and whether there will be no more; no more than ``bytes_max``
    are looked at.

    Raises:
        StreamError: from ``parse`` with all bytes, or because it wants more than ``bytes_max``.
        IncompatibleError: from ``parse``, at once.
    """
    wanted = 1
    while True:
        view = source.window(wanted)[:bytes_max]
        full = len(view) == bytes_max
        final = full or len(view) < wanted
        try:
            return parse(view, final)
        except IncompatibleError:
            raise
        except StreamError as error:
            if full:
                expected = f"a section of less than {bytes_max} bytes"
                raise StreamError(source.position, section, expected, str(error)) from error
            if final:
                raise
        wanted = len(view) + 1


def peek_state(
    source: ByteSource,
    description: VMStateDescription,
    version: int,
    section: str,
    *,
    local: Mapping[str, Value] | None = None,
    bytes_max: int = BODY_BYTES_MAX,
) -> tuple[Values, bytes]:
    """Return values and bytes of the state at the position of ``source``, without moving.

    Behind a state something always follows, which decides whether it is complete.

    Raises:
        StreamError: the state is malformed, cut off or longer than ``bytes_max``.
        IncompatibleError: a version, subsection or compared value does not fit.
    """

    def parse(view: memoryview, final: bool) -> tuple[Values, bytes]:
        values, end = decode(
            description, view, 0, version, section, local=local, base=source.position
        )
        if not final and _may_go_on(view[end : end + _SUBSECTION_HEADER_MAX]):
            raise source.truncated(section, "what follows the state", len(view))
        return values, bytes(view[:end])

    return within_window(source, parse, section, bytes_max)


def read_state(
    source: ByteSource,
    description: VMStateDescription,
    version: int,
    section: str,
    *,
    local: Mapping[str, Value] | None = None,
    bytes_max: int = BODY_BYTES_MAX,
) -> tuple[Values, bytes]:
    """Take a state from ``source``; arguments, results and errors as of `peek_state`."""
    values, body = peek_state(
        source, description, version, section, local=local, bytes_max=bytes_max
    )
    source.advance(len(body))
    return values, body


def _may_go_on(rest: memoryview) -> bool:
    """Return whether a subsection may begin here whose header has not arrived yet."""
    if not rest:
        return True
    return rest[0] == SectionType.SUBSECTION and len(rest) < _SUBSECTION_HEADER_MAX


def read_configuration(source: ByteSource, offset: int) -> Configuration:
    """Take the configuration section behind its type byte, which is at ``offset``.

    Raises:
        StreamError: it is malformed, names a capability that no release knows, or a page size
            that no target has.
    """
    values, _ = read_state(
        source, CONFIGURATION, 1, "configuration", bytes_max=CONFIGURATION_BYTES_MAX
    )
    name, names, uuid = values["name"], values.get("capabilities"), values.get("uuid.data")
    page_bits = values.get("target_page_bits")
    if isinstance(page_bits, int) and not PAGE_BITS_MIN <= page_bits <= PAGE_BITS_MAX:
        expected = f"target page bits from {PAGE_BITS_MIN} to {PAGE_BITS_MAX}"
        raise StreamError(offset, "configuration", expected, str(page_bits))
    return Configuration(
        offset,
        decode_text(name) if isinstance(name, bytes) else "",
        _capabilities(names, offset) if isinstance(names, list) else None,
        bytes(int(str(byte)) for byte in uuid) if isinstance(uuid, list) else None,
        page_bits if isinstance(page_bits, int) else None,
    )


def _capabilities(names: list[Value], offset: int) -> tuple[str, ...]:
    for name in names:
        if name not in _KNOWN_CAPABILITIES:
            expected = "names of capabilities that exist"
            raise StreamError(offset, "configuration", expected, repr(name))
    return tuple(str(name) for name in names)
