"""Finding page records in a buffer: runs of equal records as arrays, not page by page.

A record of the block of the record before has one of two forms, a zero page (9 bytes) or a normal
page (8 bytes and the page), so a run of one form is an array with a fixed stride (spec stream.md
section 8.1).  Where the forms take turns, only the byte that tells them apart is looked at one by
one; everything else is done with arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..units import PAGE_SIZE
from .wire import RECORD_HEADER_BYTES, U64, ZERO_RECORD_BYTES, RamFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE_WORD = int(RamFlag.PAGE | RamFlag.CONTINUE)
"""Flags of a normal page record without a name."""
ZERO_WORD = int(RamFlag.ZERO | RamFlag.CONTINUE)
"""Flags of a zero page record without a name."""

_FLAG_AT = RECORD_HEADER_BYTES - 1
_FIRST_LOOK = 64
_LONG_RUN = 32
_RECORDS_MAX = 1 << 16
_MIXED_RECORDS_MAX = 1024
assert max(PAGE_WORD, ZERO_WORD) < 1 << 8  # one byte tells the two forms apart


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent records of one form at the beginning of a buffer.

    Attributes:
        buffer: the bytes, of which the first belongs to the first record.
        page_bytes: bytes of a page.
        count: number of records.
        zero: whether their pages are zero.
    """

    buffer: memoryview
    page_bytes: int
    count: int
    zero: bool

    @property
    def stride(self) -> int:
        """Bytes from one record to the next."""
        return ZERO_RECORD_BYTES if self.zero else RECORD_HEADER_BYTES + self.page_bytes

    @property
    def end(self) -> int:
        """Index behind the last record."""
        return self.count * self.stride

    def pfns(self) -> NDArray[np.int64]:
        """Return the page numbers, shape (n,) int64."""
        words: NDArray[np.uint64] = np.ndarray((self.count,), ">u8", self.buffer, 0, (self.stride,))
        return (words // np.uint64(self.page_bytes)).astype(np.int64)

    def bad_fill(self) -> int | None:
        """Return the first zero record whose fill byte is not zero, or None."""
        fill = np.frombuffer(self.buffer[: self.end], np.uint8)[RECORD_HEADER_BYTES :: self.stride]
        return int((fill != 0).argmax()) if self.zero and fill.any() else None

    def pages(self) -> NDArray[np.uint8]:
        """Return the contents of normal pages, shape (n, page_bytes), as a read-only view."""
        return strided_pages(self.buffer, 0, self.count, self.page_bytes)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Adjacent records of both forms at the beginning of a buffer.

    Attributes:
        buffer: the bytes, of which the first belongs to the first record.
        page_bytes: bytes of a page.
        zero: whether each record's page is zero, shape (n,) bool.
        starts: index of each record's first byte, shape (n,) int64.
        end: index behind the last record.
    """

    buffer: memoryview
    page_bytes: int
    zero: NDArray[np.bool_]
    starts: NDArray[np.int64]
    end: int

    def pfns(self) -> NDArray[np.int64]:
        """Return the page numbers, shape (n,) int64."""
        words = _words(self.buffer)[self.starts]
        return (words // np.uint64(self.page_bytes)).astype(np.int64)

    def bad_fill(self) -> int | None:
        """Return the first byte of the first zero record whose fill byte is not zero, or None."""
        zeros = self.starts[self.zero]
        fill = np.frombuffer(self.buffer, np.uint8)[zeros + RECORD_HEADER_BYTES]
        return int(zeros[(fill != 0).argmax()]) if fill.any() else None


def strided_pages(buffer: memoryview, first: int, count: int, page_bytes: int) -> NDArray[np.uint8]:
    """Return the contents of ``count`` normal records from index ``first`` on, as a read-only view.

    The shape is (count, page_bytes).
    """
    pages: NDArray[np.uint8] = np.ndarray(
        (count, page_bytes),
        np.uint8,
        buffer,
        first + RECORD_HEADER_BYTES,
        (RECORD_HEADER_BYTES + page_bytes, 1),
    )
    pages.flags.writeable = False
    return pages


def scan(buffer: memoryview, page_bytes: int = PAGE_SIZE) -> Run | Mixture:
    """Return the unnamed page records at the beginning of ``buffer``, of which the first is whole.

    Stops before anything else, another kind of record or one that is cut off, and after a bounded
    number of records, so that what is put together from them stays in a cache.  Touches only
    headers.
    """
    run = _run(buffer, page_bytes)
    if run.count >= _LONG_RUN or run.end >= len(buffer) - ZERO_RECORD_BYTES:
        return run
    mixture = _mixture(buffer, page_bytes)
    return mixture if mixture.starts.size > run.count else run


def _run(buffer: memoryview, page_bytes: int) -> Run:
    """Return the records that have the form of the first one."""
    mask = page_bytes - 1
    flags = U64.unpack_from(buffer)[0] & mask
    run = Run(buffer, page_bytes, 1, flags == ZERO_WORD)
    most = min(len(buffer) // run.stride, _RECORDS_MAX)
    done, look = 1, _FIRST_LOOK
    while done < most:
        look = min(look, most - done)
        words: NDArray[np.uint64] = np.ndarray(
            (look,), ">u8", buffer, done * run.stride, (run.stride,)
        )
        other = (words & np.uint64(mask)) != flags
        first = int(other.argmax())
        if other[first]:
            return Run(buffer, page_bytes, done + first, run.zero)
        done, look = done + look, look * 4
    return Run(buffer, page_bytes, done, run.zero)


def _mixture(buffer: memoryview, page_bytes: int) -> Mixture:
    """Return the records of either form; the first one is whole."""
    zeros, end = _kinds(buffer, RECORD_HEADER_BYTES + page_bytes)
    zero = np.frombuffer(zeros, np.bool_)
    sizes = np.where(zero, ZERO_RECORD_BYTES, RECORD_HEADER_BYTES + page_bytes)
    starts = np.cumsum(sizes) - sizes
    # One byte has told the forms apart; now all flags have to fit.
    flags = _words(buffer)[starts] & np.uint64(page_bytes - 1)
    odd = flags != np.where(zero, np.uint64(ZERO_WORD), np.uint64(PAGE_WORD))
    if odd.any():
        first = int(odd.argmax())
        end, zero, starts = int(starts[first]), zero[:first], starts[:first]
    return Mixture(buffer, page_bytes, zero, starts, end)


def _kinds(buffer: memoryview, page_stride: int) -> tuple[bytearray, int]:
    """Return for each record whether it seems to be a zero page, and the index behind them."""
    zeros = bytearray()
    add, flags = zeros.append, buffer[_FLAG_AT:]
    at, last_zero, last_page = 0, len(buffer) - ZERO_RECORD_BYTES, len(buffer) - page_stride
    for _ in range(_MIXED_RECORDS_MAX):
        if at > last_zero:
            break
        kind = flags[at]
        if kind == PAGE_WORD and at <= last_page:
            add(False)
            at += page_stride
        elif kind == ZERO_WORD:
            add(True)
            at += ZERO_RECORD_BYTES
        else:
            break
    return zeros, at


def _words(buffer: memoryview) -> NDArray[np.uint64]:
    """Return one (overlapping) number for each byte offset, so that any place is an index."""
    length = len(buffer) - RECORD_HEADER_BYTES + 1
    return np.ndarray((length,), ">u8", buffer, strides=(1,))
