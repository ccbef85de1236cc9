"""The description at the end of a stream: found, used to measure device bodies, and made.

It lists every device section with the sizes of its fields, so that a section can be stepped over
without knowing the device (spec stream.md section 6).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..units import PAGE_SIZE
from ..vmstate.cursor import Cursor
from ..vmstate.describe import to_json
from ..vmstate.entries import VMDESC_LIMIT_BYTES
from .items import parse_json
from .wire import U32

if TYPE_CHECKING:
    from .source import ByteSource

_HEAD_BYTES = 2 + U32.size
# End marker, type byte, any length, and the brace that opens the object.
_MARK = re.compile(rb"\x00\x06(?=[\x00-\xff]{4}\{)")
_LOOK_COST = 1024
_LOOK_BYTES = 1 << 20
_SEARCH_BYTES = 256 << 20
_DEPTH_MAX = 64
_CONFIGURATION_HEAD = b'{"configuration": '
Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Found:
    """A description found from the end.

    Attributes:
        offset: of the end marker in front of it.
        devices: its entries, one per FULL section in stream order.
    """

    offset: int
    devices: tuple[Json, ...]


def find_description(source: ByteSource, start: int = 0) -> Found | None:
    """Return the last description in a seekable source behind ``start``, or None.

    Searches backwards, as bytes may follow it, for an end marker, the description's type byte, a
    length that fits, and a JSON object of that length with a list of devices.  No more than 256
    MiB are searched, whatever follows the stream.
    """
    end = source.size_bytes
    assert end is not None  # seekable
    budget = 4 * VMDESC_LIMIT_BYTES  # bounds the JSON that crafted bytes can make us parse
    lowest = max(start, end - _SEARCH_BYTES)
    high = end
    while high > lowest and budget > 0:
        low = max(lowest, high - _LOOK_BYTES)
        # The piece reaches into the one searched before, for a mark that lies across.
        piece = source.read_at(low, high + _HEAD_BYTES - low)
        places = [match.start() for match in _MARK.finditer(piece) if match.start() < high - low]
        for place in reversed(places):
            (size,) = U32.unpack_from(piece, place + _HEAD_BYTES - U32.size)
            if _may_be_object(source, low + place + _HEAD_BYTES, size, end) and size <= budget:
                budget -= size + _LOOK_COST
                found = _parse(source, low + place, size)
                if found is not None:
                    return found
        high = low
    return None


def _may_be_object(source: ByteSource, text: int, size: int, end: int) -> bool:
    """Return whether what lies at ``text`` may be a JSON object of ``size`` bytes."""
    if not 0 < size <= min(VMDESC_LIMIT_BYTES, end - text):
        return False
    return source.read_at(text + size - 1, 1) == b"}"


def _parse(source: ByteSource, at: int, size: int) -> Found | None:
    value = parse_json(source.read_at(at + _HEAD_BYTES, size))
    devices = value.get("devices") if value is not None else None
    if not isinstance(devices, list) or not all(isinstance(entry, dict) for entry in devices):
        return None
    return Found(at, tuple(devices))


def body_bytes(entry: Json, view: memoryview, section: str, base: int) -> int:
    """Return the length of the device body at the beginning of ``view``, as ``entry`` tells.

    ``base`` is the view's offset in the source.  Subsections are checked for their header; what
    fields hold is not looked at.

    Raises:
        StreamError: sizes leave the view, a subsection is not where it should be, or the entry is
            no proper description.
    """
    cursor = Cursor(view, 0, section, base)
    _step_over(entry, cursor, 0)
    return cursor.position


def _step_over(entry: Json, cursor: Cursor, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise cursor.error(f"at most {_DEPTH_MAX} levels of subsections in the description")
    for field in _objects(entry, "fields", cursor):
        size = _number(field, "size", cursor) * _number(field, "array_len", cursor, 1)
        cursor.need(size, f"field {field.get('name')}")
        cursor.position += size
    for inner in _objects(entry, "subsections", cursor):
        version = cursor.subsection_header(str(inner.get("vmsd_name")))
        if version != inner.get("version"):
            expected = f"version {inner.get('version')} of {inner.get('vmsd_name')}"
            raise cursor.error(expected, f"version {version}", back=U32.size)
        _step_over(inner, cursor, depth + 1)


def _objects(entry: Json, member: str, cursor: Cursor) -> list[Json]:
    value = entry.get(member, [])
    if isinstance(value, list) and all(isinstance(element, dict) for element in value):
        return value
    raise cursor.error(f"a list of objects as {member} in the description")


def _number(entry: Json, member: str, cursor: Cursor, default: int | None = None) -> int:
    value = entry.get(member, default)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise cursor.error(f"a number as {member} in the description", repr(value)[:40])


def make_description(
    configuration: Json | None, devices: Sequence[Json], page_bytes: int = PAGE_SIZE
) -> bytes:
    """Return the JSON text for a configuration and its device sections, in stream order.

    ``configuration`` is None for a stream without that section.
    """
    head = {} if configuration is None else {"configuration": configuration}
    return to_json({**head, "page_size": page_bytes, "devices": list(devices)})


def with_configuration(raw: bytes, configuration: Json) -> bytes:
    """Return a description's text with another configuration; the rest stays byte for byte.

    A text that does not begin with a configuration is returned as it is.
    """
    if not raw.startswith(_CONFIGURATION_HEAD):
        return raw
    text = raw.decode("latin-1")  # one character a byte, whatever is in it
    try:
        _, end = json.JSONDecoder().raw_decode(text, len(_CONFIGURATION_HEAD))
    except (ValueError, RecursionError):
        return raw
    return _CONFIGURATION_HEAD + to_json(configuration) + raw[end:]
