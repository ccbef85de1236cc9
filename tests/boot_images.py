"""A boot sector of our own that behaves as the one of the outside client (spec frontend.md 6)."""

from __future__ import annotations

import struct

FIRST, LIMIT = 0x100000, 0x6400000
_BASE = 0x7C00


class _Code:
    """Bytes that know their address."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def here(self) -> int:
        return _BASE + len(self.data)

    def add(self, *parts: bytes) -> int:
        place = len(self.data)
        self.data += b"".join(parts)
        return place

    def jump(self, opcode: bytes, to: int) -> None:
        self.add(opcode, struct.pack("b", to - (self.here + 2)))


def counting_image(first: int = FIRST, limit: int = LIMIT, passes: int = 64) -> bytes:
    """Return a sector that zeroes pages with ESI, counts in them, and passes in CL."""
    code = _Code()
    code.add(b"\xfa")  # no interrupts
    table = code.add(b"\x0f\x01\x16\0\0")
    code.add(b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0")  # protected mode
    far = code.add(b"\xea\0\0\x08\0")
    struct.pack_into("<H", code.data, far + 1, code.here)
    code.add(b"\xe4\x92\x0c\x02\xe6\x92")  # address line 20
    code.add(b"\x66\xb8\x10\0\x8e\xd8")  # data segment
    code.add(b"\xba\xf8\x03\0\0\xb0A\xee")  # print A
    code.add(b"\x31\xc9", b"\xbe", struct.pack("<I", first))
    _loop(code, b"\xc6\x06\0", limit)
    again = code.here
    code.add(b"\xbe", struct.pack("<I", first))
    _loop(code, b"\x80\x06\x01", limit)
    code.add(b"\xfe\xc1\x80\xe1", bytes((passes - 1,)))
    code.jump(b"\x75", again)
    code.add(b"\xb0B\xee")  # print B
    code.jump(b"\xeb", again)
    code.add(bytes(-len(code.data) % 8))
    segments = code.here
    code.add(bytes(8), bytes.fromhex("ffff0000009acf00ffff00000092cf00"))
    struct.pack_into("<H", code.data, table + 3, code.here)
    code.add(struct.pack("<HI", 23, segments))
    return bytes(code.data).ljust(510, b"\0") + b"\x55\xaa"


def _loop(code: _Code, write: bytes, limit: int) -> None:
    start = code.here
    code.add(write, b"\x81\xc6\0\x10\0\0", b"\x81\xfe", struct.pack("<I", limit))
    code.jump(b"\x72", start)
