"""Finding page records in a buffer: runs of equal records as arrays, not page by page.

A record of the block of the record before has one of two forms, a zero page (9 bytes) or a normal
page (8 + 4096 bytes), so a run of one form is an array with a fixed stride (spec stream.md section
8.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..units import PAGE_BITS, PAGE_SIZE
from .items import ScatteredPages
from .ram_records import PAGE_RECORD_BYTES
from .wire import RECORD_HEADER_BYTES, U16, ZERO_RECORD_BYTES, RamFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE_WORD = int(RamFlag.PAGE | RamFlag.CONTINUE)
"""Flags of a normal page record without a name."""
ZERO_WORD = int(RamFlag.ZERO | RamFlag.CONTINUE)
"""Flags of a zero page record without a name."""
FLAG_MASK = PAGE_SIZE - 1

_FLAG_AT = RECORD_HEADER_BYTES - U16.size
_FIRST_LOOK = 64


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent records of one form.

    Attributes:
        start: index of the first record's first byte in the buffer.
        count: number of records.
        zero: zero pages, else normal ones.
    """

    start: int
    count: int
    zero: bool

    @property
    def stride(self) -> int:
        """Bytes of one record."""
        return ZERO_RECORD_BYTES if self.zero else PAGE_RECORD_BYTES

    @property
    def end(self) -> int:
        """Index behind the last record."""
        return self.start + self.count * self.stride

    def pfns(self, buffer: memoryview) -> NDArray[np.int64]:
        """Return the page numbers, shape (count,) int64."""
        words: NDArray[np.uint64] = np.ndarray(
            (self.count,), ">u8", buffer, self.start, (self.stride,)
        )
        return (words >> np.uint64(PAGE_BITS)).astype(np.int64)

    def pages(self, buffer: memoryview) -> NDArray[np.uint8]:
        """Return the contents of normal pages, shape (count, 4096), as a view."""
        return np.ndarray(
            (self.count, PAGE_SIZE),
            np.uint8,
            buffer,
            self.start + RECORD_HEADER_BYTES,
            (self.stride, 1),
        )

    def bad_fill(self, buffer: memoryview) -> int | None:
        """Return the first zero record whose fill byte is not zero, or None."""
        if not self.zero:
            return None
        fill: NDArray[np.uint8] = np.ndarray(
            (self.count,), np.uint8, buffer, self.start + RECORD_HEADER_BYTES, (self.stride,)
        )
        return int(fill.argmax()) if fill.any() else None


def scan(buffer: memoryview, records_max: int) -> list[Run]:
    """Return the complete, unnamed page records at the beginning of ``buffer`` as runs.

    Stops before anything else: another kind of record, one that is cut off, or ``records_max``
    records.  Costs a Python step per run, and touches only headers.
    """
    runs: list[Run] = []
    position, left, size = 0, records_max, len(buffer)
    word_at, last = U16.unpack_from, size - ZERO_RECORD_BYTES
    while left > 0 and position <= last:
        flags = word_at(buffer, position + _FLAG_AT)[0] & FLAG_MASK
        if flags == PAGE_WORD:
            stride = PAGE_RECORD_BYTES
        elif flags == ZERO_WORD:
            stride = ZERO_RECORD_BYTES
        else:
            break
        most = min((size - position) // stride, left)
        if most == 0:
            break
        count = _equal_records(buffer, position, stride, flags, most)
        runs.append(Run(position, count, flags == ZERO_WORD))
        position += count * stride
        left -= count
    return runs


def _equal_records(buffer: memoryview, start: int, stride: int, flags: int, most: int) -> int:
    """Return how many records from ``start`` on have the same form, at least 1, at most ``most``.

    The first few are looked at one by one, since short runs are common and arrays are not free.
    """
    word_at = U16.unpack_from
    at = start + _FLAG_AT + stride
    few = min(most, 8)
    for count in range(1, few):
        if word_at(buffer, at)[0] & FLAG_MASK != flags:
            return count
        at += stride
    done, look = few, _FIRST_LOOK
    while done < most:
        look = min(look * 4, most - done)
        words: NDArray[np.uint16] = np.ndarray(
            (look,), ">u2", buffer, start + done * stride + _FLAG_AT, (stride,)
        )
        other = (words & np.uint16(FLAG_MASK)) != flags
        first = int(other.argmax())
        if other[first]:
            return done + first
        done += look
    return most


@dataclass(frozen=True, slots=True)
class Gathered:
    """All pages of one form out of several runs, which do not depend on each other's order.

    Attributes:
        start: index of the first record's first byte in the buffer.
        pfns: shape (n,) int64.
        contents: where the pages are; None for zero pages.
    """

    start: int
    pfns: NDArray[np.int64]
    contents: ScatteredPages | None


def gather(buffer: memoryview, runs: list[Run], pfns: NDArray[np.int64]) -> Iterator[Gathered]:
    """Yield the zero pages and the normal pages of ``runs``, put together.

    ``pfns`` are those of all runs, in order; no page may occur twice.
    """
    firsts = np.array([run.start for run in runs])
    counts = np.array([run.count for run in runs])
    zero_runs = np.array([run.zero for run in runs])
    strides = np.where(zero_runs, ZERO_RECORD_BYTES, PAGE_RECORD_BYTES)
    within = np.arange(pfns.size) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(firsts, counts) + within * np.repeat(strides, counts)
    zero = np.repeat(zero_runs, counts)
    if zero.any():
        yield Gathered(int(starts[zero][0]), pfns[zero], None)
    if not zero.all():
        bytes_around = np.frombuffer(buffer, np.uint8)
        normal = starts[~zero]
        pages = ScatteredPages(bytes_around, normal + RECORD_HEADER_BYTES)
        yield Gathered(int(normal[0]), pfns[~zero], pages)
