"""A place in a buffer of untrusted bytes: nothing is taken without looking at what is left."""

from __future__ import annotations

import struct

from migsim.errors import StreamError

Buffer = bytes | bytearray | memoryview


class Cursor:
    """Reads forward through a buffer; every shortage is a ``StreamError`` with its offset.

    Attributes:
        position: index of the next byte in the buffer.
        section: name of what is being read, for errors.
    """

    def __init__(self, buffer: Buffer, position: int, section: str, base: int = 0) -> None:
        self.view = memoryview(buffer).cast("B")
        self.position = position
        self.section = section
        self._base = base
        if not 0 <= position <= len(self.view):
            raise StreamError(base + position, section, "a place inside the stream", "its outside")

    @property
    def offset(self) -> int:
        """Offset of the next byte in the source: ``base`` plus the position in the buffer."""
        return self._base + self.position

    @property
    def left(self) -> int:
        """Number of bytes that are left."""
        return len(self.view) - self.position

    def error(self, expected: str, found: str | None = None, back: int = 0) -> StreamError:
        """Return the error for the place ``back`` bytes before this one."""
        return StreamError(self.offset - back, self.section, expected, found)

    def need(self, size: int, what: str) -> None:
        """Check that ``size`` bytes of ``what`` are there; negative sizes are refused too."""
        if not 0 <= size <= self.left:
            raise self.error(f"{size} bytes of {what}", f"{self.left} bytes before the end")

    def take(self, size: int, what: str) -> bytes:
        """Return the next ``size`` bytes."""
        self.need(size, what)
        begin, self.position = self.position, self.position + size
        return bytes(self.view[begin : self.position])

    def numbers(self, code: str, count: int, width: int, what: str) -> tuple[int, ...]:
        """Return ``count`` big-endian numbers of the ``struct`` kind ``code``, ``width`` bytes."""
        self.need(count * width, what)
        begin, self.position = self.position, self.position + count * width
        return struct.unpack_from(f">{count}{code}", self.view, begin)

    def u8(self, what: str) -> int:
        """Return the next byte."""
        return self.numbers("B", 1, 1, what)[0]

    def u32(self, what: str) -> int:
        """Return the next 32-bit number."""
        return self.numbers("I", 1, 4, what)[0]

    def subsection_name(self, prefix: str) -> str | None:
        """Return the name of a subsection that begins here, without moving; None if none does.

        One begins with 05 and a name that begins with ``prefix`` (spec stream.md section 5.2).
        """
        head = bytes(self.view[self.position : self.position + 2])
        if len(head) < 2 or head[0] != SUBSECTION:
            return None
        name = bytes(self.view[self.position + 2 : self.position + 2 + head[1]])
        if len(name) < head[1] or not name.startswith(prefix.encode()):
            return None
        return name.decode("utf-8", "surrogateescape")

    def subsection_header(self, name: str) -> int:
        """Take the header of the subsection ``name``; return its version."""
        found = self.subsection_name("")
        if found != name:
            raise self.error(f"subsection {name}", "no subsection" if found is None else found)
        self.position += 2 + len(name.encode("utf-8", "surrogateescape"))
        return self.u32("subsection version")


SUBSECTION = 0x05
"""Type byte of a subsection (spec stream.md section 4.1)."""


def subsection_header(name: str, version: int) -> bytes:
    """Return the bytes that begin the subsection ``name``."""
    text = name.encode("utf-8", "surrogateescape")
    return struct.pack(">BB", SUBSECTION, len(text)) + text + struct.pack(">I", version)
