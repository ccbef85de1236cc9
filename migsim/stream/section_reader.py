"""Configuration and device sections, read by description (spec stream.md sections 3.2 and 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import IncompatibleError, StreamError
from ..qapi.enums import Capability
from ..units import PAGE_BITS
from ..vmstate.codec import decode
from ..vmstate.common import CONFIGURATION
from .items import Configuration
from .names import decode_text
from .wire import NAME_BYTES_MAX, SectionType

if TYPE_CHECKING:
    from ..vmstate.fields import Value, Values, VMStateDescription
    from .source import ByteSource

STATE_BYTES_MAX = 16 << 20
"""Longest device state taken from a pipe in bytes (our limit; none for a mapped source)."""
CONFIGURATION_BYTES_MAX = 64 << 10
"""Longest configuration section taken in bytes (our limit)."""

_SUBSECTION_HEADER_MAX = 1 + 1 + NAME_BYTES_MAX + 4
_KNOWN_CAPABILITIES = frozenset(capability.value for capability in Capability)


def read_state(
    source: ByteSource,
    description: VMStateDescription,
    version: int,
    section: str,
    *,
    local: Mapping[str, Value] | None = None,
    bytes_max: int | None = None,
) -> tuple[Values, memoryview]:
    """Take a state from ``source``; return its values and its bytes.

    A state does not tell its length, so from a pipe it is read again with more bytes while it
    seems cut off.  Behind a state something always follows, which decides whether it is complete.
    No more than ``bytes_max`` bytes are looked at; from a pipe never more than 16 MiB.

    Raises:
        StreamError: the state is malformed, cut off or too long.
        IncompatibleError: a version, subsection or compared value does not fit.
    """
    if bytes_max is None and not source.mapped:
        bytes_max = STATE_BYTES_MAX
    wanted = 1
    while True:
        view = source.window(wanted)[:bytes_max]
        final = source.mapped or len(view) < wanted or len(view) == bytes_max
        try:
            values, end = decode(
                description, view, 0, version, section, local=local, base=source.position
            )
        except IncompatibleError:
            raise
        except StreamError as error:
            if len(view) == bytes_max:
                expected = f"a section of less than {bytes_max} bytes"
                raise StreamError(source.position, section, expected, str(error)) from error
            if final:
                raise
        else:
            if final or not _may_go_on(view[end : end + _SUBSECTION_HEADER_MAX]):
                source.advance(end)
                return values, view[:end]
        wanted = len(view) + 1


def _may_go_on(rest: memoryview) -> bool:
    """Return whether a subsection may begin here whose header has not arrived yet."""
    if not rest:
        return True
    return rest[0] == SectionType.SUBSECTION and len(rest) < _SUBSECTION_HEADER_MAX


def read_configuration(source: ByteSource, offset: int) -> Configuration:
    """Take the configuration section behind its type byte, which is at ``offset``.

    Raises:
        StreamError: it is malformed, or names a capability that no release knows.
        IncompatibleError: the page size is not 4096.
    """
    values, _ = read_state(
        source, CONFIGURATION, 1, "configuration", bytes_max=CONFIGURATION_BYTES_MAX
    )
    name, names, uuid = values["name"], values.get("capabilities"), values.get("uuid.data")
    page_bits = values.get("target_page_bits")
    if page_bits is not None and page_bits != PAGE_BITS:
        expected, found = f"target page bits {PAGE_BITS}", str(page_bits)
        raise IncompatibleError(offset, "configuration", expected, found)
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
