"""Finding page records in a buffer: runs of equal records as arrays, not page by page.

A record of the block of the record before has one of two forms, a zero page (9 bytes) or a normal
page (8 + 4096 bytes), so a run of one form is an array with a fixed stride (spec stream.md section
8.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..units import PAGE_BITS, PAGE_SIZE
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
_FEW = 12
_RECORDS_MAX = 1 << 16
_MIXED_RECORDS_MAX = 1024


@dataclass(slots=True)
class Runs:
    """Adjacent page records of one stretch, as runs of one form each.

    Attributes:
        buffer: the bytes around.
        starts: index in ``buffer`` of each run's first byte.
        counts: records of each run.
        zeros: whether each run is of zero pages.
        end: index behind the last record.
    """

    buffer: memoryview
    starts: list[int]
    counts: list[int]
    zeros: list[bool]
    end: int

    def records(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return, per record, the index of its first byte and whether its page is zero."""
        counts, zero_runs = np.array(self.counts), np.array(self.zeros)
        zero = np.repeat(zero_runs, counts)
        sizes = np.where(zero, ZERO_RECORD_BYTES, PAGE_RECORD_BYTES)
        return np.cumsum(sizes) - sizes + self.starts[0], zero

    def pfns(self, starts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the page numbers of all records, shape (n,) int64.

        ``starts`` is what ``records`` gave, where that is at hand; without it there is one run.
        """
        words: NDArray[np.uint64]
        if starts is None:
            shape, stride = self.counts[0], self._stride(0)
            words = np.ndarray((shape,), ">u8", self.buffer, self.starts[0], (stride,))
        else:
            # One (overlapping) element for each byte offset, so that any place is an index.
            length = len(self.buffer) - RECORD_HEADER_BYTES + 1
            words = np.ndarray((length,), ">u8", self.buffer, strides=(1,))[starts]
        return (words >> np.uint64(PAGE_BITS)).astype(np.int64)

    def bad_fill(self, starts: NDArray[np.int64] | None = None) -> int | None:
        """Return the first record whose fill byte is not zero, or None.

        ``starts`` are those of the zero records; without it there is one run, of zero pages.
        """
        fill: NDArray[np.uint8] = np.frombuffer(self.buffer, np.uint8)[RECORD_HEADER_BYTES:]
        if starts is None:
            first = self.starts[0]
            fill = fill[first : first + self.counts[0] * ZERO_RECORD_BYTES : ZERO_RECORD_BYTES]
        else:
            fill = fill[starts]
        return int((fill != 0).argmax()) if fill.any() else None

    def pages(self, run: int) -> NDArray[np.uint8]:
        """Return the contents of a run of normal pages, shape (count, 4096), as a view."""
        return np.ndarray(
            (self.counts[run], PAGE_SIZE),
            np.uint8,
            self.buffer,
            self.starts[run] + RECORD_HEADER_BYTES,
            (PAGE_RECORD_BYTES, 1),
        )

    def _stride(self, run: int) -> int:
        return ZERO_RECORD_BYTES if self.zeros[run] else PAGE_RECORD_BYTES


def scan(buffer: memoryview) -> Runs:
    """Return the complete, unnamed page records at the beginning of ``buffer`` as runs.

    Stops before anything else: another kind of record, or one that is cut off; and after a bounded
    number of records, the sooner when they are irregular, so that what is put together from them
    stays in a cache.  Costs a Python step per run (and per record of a short one), and touches
    only headers.
    """
    runs = Runs(buffer, [], [], [], 0)
    position, left, size = 0, _RECORDS_MAX, len(buffer)
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
        runs.starts.append(position)
        runs.counts.append(count)
        runs.zeros.append(flags == ZERO_WORD)
        if len(runs.counts) == 1:
            left = max(_MIXED_RECORDS_MAX, count)
        position += count * stride
        left -= count
    runs.end = position
    return runs


def _equal_records(buffer: memoryview, start: int, stride: int, flags: int, most: int) -> int:
    """Return how many records from ``start`` on have the same form, at least 1, at most ``most``.

    The first few are looked at one by one, since short runs are common and arrays are not free.
    """
    word_at = U16.unpack_from
    at = start + _FLAG_AT + stride
    few = min(most, _FEW)
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
