"""Reads a boot sector that counts in pages: where its loops are, and what its processor holds.

A sector starts at 0x7c00 in 16-bit mode, switches to 32-bit mode with a table of segments of its
own, and loops over pages.  Only the few instructions that make up such loops are recognised; a
sector of any other shape is not understood.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ..units import PAGE_SIZE

LOAD_ADDR = 0x7C00
"""Where the firmware puts a boot sector."""
SECTOR_BYTES = 512
_SIGNATURE = b"\x55\xaa"
_EDX = 2
_SERIAL_PORT = 0x3F8
_NO_BASE = (4, 5)
"""Registers that an address of one register cannot name: these codes mean something else."""
_JUMPS_BACK = rb"[\x72\x75\x7c]"
"""Short jumps: below, not equal, less."""
_LOAD_TABLE = re.compile(rb"\x0f\x01\x16(..)", re.DOTALL)
_FAR_JUMP = re.compile(rb"\x66\xea(....)(..)|\xea(..)(..)", re.DOTALL)
_DATA_SEGMENT = re.compile(rb"(?:\x66\xb8(..)|\xb8(..)\x00\x00)\x8e\xd8", re.DOTALL)
_PASS_COUNT = re.compile(
    rb"(?:\xfe[\xc0-\xc3]|[\x40-\x43])(?:\x80[\xe0-\xe3]|\xf6[\xc0-\xc3])(.)\x75", re.DOTALL
)
"""The counter goes up, and what is left of it below a power of two is looked at."""


@dataclass(frozen=True, slots=True)
class PageLoop:
    """A loop that does one thing to the first byte of every page.

    Attributes:
        addr: address of its first instruction, the one that writes.
        end: address behind its jump back.
        register: number of the register that holds the page's address.
        limit: address at which it ends.
    """

    addr: int
    end: int
    register: int
    limit: int


@dataclass(frozen=True, slots=True)
class BootProgram:
    """A boot sector that zeroes pages once and then counts in them.

    Attributes:
        image: its bytes.
        zeroing, counting: its loops.
        first: address of the first page.
        counter: number of the register whose lowest byte counts passes.
        passes: that many passes, a power of two, make the counter 0 again.
        code_selector, data_selector: of its flat segments.
        table: address of its table of segments.
        table_limit: the table's last byte.
    """

    image: bytes
    zeroing: PageLoop
    counting: PageLoop
    first: int
    counter: int
    passes: int
    code_selector: int
    data_selector: int
    table: int
    table_limit: int

    @property
    def pages(self) -> int:
        """Number of pages that it counts in."""
        return (self.counting.limit - self.first) // PAGE_SIZE

    def registers(self, position: int) -> tuple[int, list[int]]:
        """Return instruction pointer and the 16 registers before page write ``position``.

        Position 0 is the first page of the zeroing pass.
        """
        number, index = divmod(position, self.pages)
        loop = self.counting if number else self.zeroing
        values = [0] * 16
        values[_EDX] = _SERIAL_PORT
        values[loop.register] = self.first + index * PAGE_SIZE
        values[self.counter] = max(number - 1, 0) % self.passes
        return loop.addr, values

    def phase(self, eip: int) -> PageLoop | None:
        """Return the loop in which a processor at ``eip`` is, or None before both.

        What follows the counting loop belongs to it.
        """
        if self.counting.addr <= eip < LOAD_ADDR + SECTOR_BYTES or eip in self._restart:
            return self.counting
        return self.zeroing if self.zeroing.addr <= eip < self.zeroing.end else None

    @property
    def _restart(self) -> range:
        """Addresses between the two loops: a pass is about to begin."""
        return range(self.zeroing.end, self.counting.addr)


def read_program(image: bytes) -> BootProgram | None:
    """Return what the boot sector ``image`` does, or None when it is not understood."""
    if len(image) != SECTOR_BYTES or not image.endswith(_SIGNATURE):
        return None
    zeroing = _loop(image, rb"\xc6(.)\x00")
    counting = _loop(image, rb"(?:\xfe(.)|\x80(.)\x01)")
    table, far, data = (
        pattern.search(image) for pattern in (_LOAD_TABLE, _FAR_JUMP, _DATA_SEGMENT)
    )
    if not (zeroing and counting and table and far and data):
        return None
    counter = _PASS_COUNT.match(image, counting.end - LOAD_ADDR)
    first = _first(image, counting)
    place = _u16(table[1]) - LOAD_ADDR
    if counter is None or first is None or not 0 <= place <= SECTOR_BYTES - 6:
        return None
    mask = counter[1][0]
    up, looked_at = (counter[0][at] & 7 for at in (-5, -3))
    if up != looked_at or mask & (mask + 1):
        return None
    limit, address = struct.unpack_from("<HI", image, place)
    return BootProgram(
        image=image,
        zeroing=zeroing,
        counting=counting,
        first=first,
        counter=up,
        passes=mask + 1,
        code_selector=_u16(far[2] or far[4]),
        data_selector=_u16(data[1] or data[2]),
        table=address,
        table_limit=limit,
    )


def _one_of(groups: tuple[bytes | None, ...]) -> bytes:
    """Return the group that matched."""
    return next(group for group in groups if group is not None)


def _loop(image: bytes, write: bytes) -> PageLoop | None:
    """Return the loop whose first instruction is ``write`` to an address in one register."""
    step = struct.pack("<I", PAGE_SIZE)
    for found in re.finditer(write, image, re.DOTALL):
        register = _one_of(found.groups())[0]
        if register > 7 or register in _NO_BASE:
            continue
        if register == 0:
            rest = rb"\x05" + re.escape(step) + rb"\x3d(....)"
        else:
            rest = rb"\x81%c" % (0xC0 + register) + re.escape(step)
            rest += rb"\x81%c(....)" % (0xF8 + register)
        tail = re.compile(rest + _JUMPS_BACK + rb"(.)", re.DOTALL).match(image, found.end())
        if tail is None:
            continue
        addr, end = LOAD_ADDR + found.start(), LOAD_ADDR + tail.end()
        if end + struct.unpack("b", tail[2])[0] == addr:
            return PageLoop(addr, end, register, struct.unpack("<I", tail[1])[0])
    return None


def _first(image: bytes, loop: PageLoop) -> int | None:
    """Return the address that is put into the loop's register just before it."""
    at = loop.addr - LOAD_ADDR - 5
    if at < 0 or image[at] != 0xB8 + loop.register:
        return None
    (first,) = struct.unpack_from("<I", image, at + 1)
    pages, rest = divmod(loop.limit - first, PAGE_SIZE)
    return int(first) if pages > 0 and not rest and first % PAGE_SIZE == 0 else None


def _u16(data: bytes) -> int:
    return int(struct.unpack("<H", data)[0])
