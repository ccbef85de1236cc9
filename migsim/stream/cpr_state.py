"""The state that cpr-transfer sends ahead of the machine: names of memory, descriptors beside them.

::

    u32 0x51435052, u32 version 1
    per descriptor: 01, u32 length of the name with its NUL, name, NUL, u32 id, 20
    00

The descriptor itself rides on the last byte of its entry as SCM_RIGHTS (spec modes.md section 7;
entries as seen from QEMU 10.0.2, which sends the youngest first).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import StreamError

MAGIC = 0x51435052
VERSION = 1
RIDER = b" "
"""The byte on which a descriptor rides; its value means nothing."""
NAME_LIMIT = 1024
"""Longest name that is read, with its NUL, in bytes."""

_HEADER = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_ID = struct.Struct(">i")
_MORE, _END = 1, 0
_SECTION = "cpr state"


@dataclass(frozen=True, slots=True)
class CprEntry:
    """One descriptor: what it is for.

    Attributes:
        name: name of the RAM block.
        id: 0 for RAM; other kinds of descriptor count theirs.
    """

    name: str
    id: int = 0


def encode_header() -> bytes:
    """Return what the state begins with."""
    return _HEADER.pack(MAGIC, VERSION)


def encode_entry(entry: CprEntry) -> bytes:
    """Return an entry without the byte on which its descriptor rides."""
    name = entry.name.encode() + b"\0"
    return bytes([_MORE]) + _LENGTH.pack(len(name)) + name + _ID.pack(entry.id)


def encode_end() -> bytes:
    """Return what the state ends with."""
    return bytes([_END])


def decode_state(data: bytes) -> list[CprEntry] | None:
    """Return the entries in the order of their descriptors; None while the end has not come.

    Raises:
        StreamError: the bytes are no such state.
    """
    if len(data) < _HEADER.size:
        return None
    magic, version = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise StreamError(0, _SECTION, f"magic {MAGIC:#x}", f"{magic:#x}")
    if version != VERSION:
        raise StreamError(4, _SECTION, f"version {VERSION}", str(version))
    entries: list[CprEntry] = []
    at = _HEADER.size
    while at < len(data):
        if data[at] == _END:
            return entries
        if data[at] != _MORE:
            raise StreamError(at, _SECTION, "01 or 00", f"{data[at]:02x}")
        entry, at = _decode_entry(data, at + 1)
        if entry is None:
            return None
        entries.append(entry)
    return None


def _decode_entry(data: bytes, at: int) -> tuple[CprEntry | None, int]:
    """Return the entry at ``at`` and where it ends; None when it is not there in full."""
    if len(data) < at + _LENGTH.size:
        return None, at
    (length,) = _LENGTH.unpack_from(data, at)
    if not 0 < length <= NAME_LIMIT:
        raise StreamError(at, _SECTION, f"a name of 1 to {NAME_LIMIT} bytes", str(length))
    start = at + _LENGTH.size
    end = start + length + _ID.size + len(RIDER)
    if len(data) < end:
        return None, at
    raw = data[start : start + length]
    try:
        name = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise StreamError(start, _SECTION, "a name in UTF-8", repr(raw)) from None
    (number,) = _ID.unpack_from(data, start + length)
    return CprEntry(name, number), end
