"""Packed page bitmaps: one bit a page, as QEMU keeps them and as mapped-ram writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..threads import in_halves

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

WORD_BITS = 64
_WORD = np.dtype("<u8")
_ALL = (1 << WORD_BITS) - 1

# Words a piece of a whole-bitmap walk: 512 KiB, so that the few passes over a piece stay in cache.
_PIECE_WORDS = 1 << 16
# From 8 MiB of bitmap on (256 GiB of RAM), a thread costs less than it saves.
_WORDS_FOR_TWO = 1 << 20
# Words that `take` expands at once: 2^20 pages, one byte each while they are being searched.
_TAKE_WORDS = 1 << 14
# Page numbers that one scattered write handles at once; its temporaries stay in cache.
_SCATTER_PFNS = 1 << 14
# Up to this many pages of span per page number, one byte per page of the span is cheaper.
_DENSE_SPAN = 16


class DirtyBitmap:
    """A set of page numbers below ``pages``, one bit each.

    A 1 TiB guest has 268435456 pages of 4 KiB and a bitmap of 32 MiB; memory is taken when bits
    are first written, not when the object is made.  No method expands the whole bitmap.

    Attributes:
        pages: number of pages; bits beyond the last page are always 0.
        words: uint64 array of shape ``(ceil(pages / 64),)``, little-endian; page i is bit
            ``i % 64`` of word ``i // 64`` (spec stream.md section 10, QEMU 10.0).
    """

    __slots__ = ("pages", "words")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, pages: int) -> None:
        if pages < 0:
            raise ValueError(f"a bitmap of {pages} pages")
        self.pages = pages
        self.words: npt.NDArray[np.uint64] = np.zeros(-(-pages // WORD_BITS), _WORD)

    @classmethod
    def from_bytes(cls, pages: int, data: bytes | bytearray | memoryview) -> DirtyBitmap:
        """Return the bitmap of ``pages`` pages that ``data`` holds in the wire format.

        Raises:
            ValueError: ``data`` is not ceil(pages / 64) * 8 bytes, or has a bit beyond the last
                page.
        """
        bitmap = cls.__new__(cls)
        bitmap.pages = pages
        bitmap.words = np.frombuffer(data, _WORD).copy()
        if bitmap.words.size != -(-pages // WORD_BITS):
            raise ValueError(f"{bitmap.words.nbytes} bytes for a bitmap of {pages} pages")
        if pages % WORD_BITS and int(bitmap.words[-1]) >> (pages % WORD_BITS):
            raise ValueError(f"a bit beyond the last of {pages} pages is set")
        return bitmap

    def to_bytes(self) -> bytes:
        """Return the wire format: ceil(pages / 64) * 8 bytes, page i is bit i % 8 of byte i / 8."""
        return self.words.tobytes()

    def copy(self) -> DirtyBitmap:
        """Return an independent bitmap with the same bits."""
        twin = DirtyBitmap.__new__(DirtyBitmap)
        twin.pages = self.pages
        twin.words = self.words.copy()
        return twin

    # Whole bitmap

    def set_all(self) -> None:
        """Set the bit of every page."""
        self.set_range(0, self.pages)

    def clear_all(self) -> None:
        """Clear every bit, and give the memory back."""
        self.words = np.zeros(self.words.size, _WORD)

    def count(self) -> int:
        """Return the number of set bits."""
        return count_words(self.words)

    def merge(self, other: DirtyBitmap) -> int:
        """Set every bit that is set in ``other``; return how many were not set before.

        Raises:
            ValueError: ``other`` is of another number of pages.
        """
        self._check_like(other)
        return merge_words(self.words, other.words)

    def subtract(self, other: DirtyBitmap) -> None:
        """Clear every bit that is set in ``other``.

        Raises:
            ValueError: ``other`` is of another number of pages.
        """
        self._check_like(other)
        subtract_words(self.words, other.words)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DirtyBitmap):
            return NotImplemented
        return self.pages == other.pages and np.array_equal(self.words, other.words)

    def __repr__(self) -> str:
        return f"DirtyBitmap(pages={self.pages}, set={self.count()})"

    # Ranges: lo is the first page, hi is one past the last

    def set_range(self, lo: int, hi: int) -> None:
        """Set the bits of pages ``lo`` to ``hi - 1``; raises IndexError outside the bitmap."""
        for part, mask in self._parts(lo, hi):
            self.words[part] |= np.uint64(mask)

    def clear_range(self, lo: int, hi: int) -> None:
        """Clear the bits of pages ``lo`` to ``hi - 1``; raises IndexError outside the bitmap."""
        for part, mask in self._parts(lo, hi):
            self.words[part] &= np.uint64(_ALL ^ mask)

    def count_range(self, lo: int, hi: int) -> int:
        """Return how many of pages ``lo`` to ``hi - 1`` are set; raises IndexError outside."""
        total = 0
        for part, mask in self._parts(lo, hi):
            words = self.words[part]
            total += count_words(words if mask == _ALL else words & np.uint64(mask))
        return total

    def next_set(self, pfn: int) -> int:
        """Return the first set page at or after ``pfn``, or ``pages`` when there is none."""
        if pfn >= self.pages:
            return self.pages
        word, bit = divmod(max(pfn, 0), WORD_BITS)
        rest = int(self.words[word]) >> bit
        if rest:
            return word * WORD_BITS + bit + lowest_bit(rest)
        word = _next_nonzero(self.words, word + 1)
        if word == self.words.size:
            return self.pages
        return word * WORD_BITS + lowest_bit(int(self.words[word]))

    def take(self, start: int, limit: int, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Return the first ``limit`` set pages from ``start`` on and below ``stop``, ascending.

        Nothing is cleared.  ``stop`` defaults to ``pages``; the result is an int64 array, shorter
        than ``limit`` when fewer bits are set.
        """
        stop = self.pages if stop is None else min(stop, self.pages)
        pieces: list[npt.NDArray[np.int64]] = []
        left = limit
        size = left // WORD_BITS + 1
        pfn = self.next_set(start) if left > 0 else stop
        while left > 0 and pfn < stop:
            first = pfn // WORD_BITS
            words = self.words[first : min(first + min(size, _TAKE_WORDS), -(-stop // WORD_BITS))]
            pfns = expand_words(words, first * WORD_BITS)
            begin, end = np.searchsorted(pfns, (pfn, stop))
            found = pfns[begin : min(int(end), int(begin) + left)]
            pieces.append(found)
            left -= found.size
            pfn = self.next_set((first + words.size) * WORD_BITS) if left else stop
            size = max(left * words.size // max(found.size, 1) * 9 // 8, 64)
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def reach(self, start: int, limit: int) -> tuple[int, int]:
        """Return where the first ``limit`` set pages from ``start`` on end, and how many they are.

        The end is one past the last of them; they are fewer than ``limit`` when fewer bits are set,
        and ``(start, 0)`` is returned without any.  This counts bits, and lists no page.
        """
        end, found = start, 0
        first, bit = divmod(max(start, 0), WORD_BITS)
        size = limit // WORD_BITS + 2
        while found < limit and first < self.words.size:
            words = self.words[first : first + min(size, _PIECE_WORDS)]
            if bit:
                words = words.copy()
                words[0] &= np.uint64(_ALL << bit & _ALL)
            counts = np.bitwise_count(words)
            total = int(counts.sum(dtype=np.int64))
            if found + total >= limit:
                sums = counts.cumsum(dtype=np.int64)
                at = int(sums.searchsorted(limit - found))
                left = limit - found - (int(sums[at - 1]) if at else 0)
                return (first + at) * WORD_BITS + nth_bit(int(words[at]), left) + 1, limit
            if total:
                last = int(np.flatnonzero(counts)[-1])
                end = (first + last) * WORD_BITS + int(words[last]).bit_length()
                found += total
            first, bit, size = first + words.size, 0, size * 2
        return end, found

    def count_common(self, other: DirtyBitmap, lo: int, hi: int) -> int:
        """Return how many of pages ``lo`` to ``hi - 1`` are set here and in ``other``.

        Raises:
            IndexError: the range is outside one of the bitmaps.
        """
        other._check_range(lo, hi)
        total = 0
        for part, mask in self._parts(lo, hi):
            common = self.words[part] & other.words[part]
            total += count_words(common if mask == _ALL else common & np.uint64(mask))
        return total

    # Arrays of page numbers, in any order, repeats allowed

    def set_pfns(self, pfns: npt.NDArray[np.int64]) -> None:
        """Set the bits of ``pfns``; raises IndexError when one is outside the bitmap."""
        self._write(pfns, value=True)

    def clear_pfns(self, pfns: npt.NDArray[np.int64]) -> None:
        """Clear the bits of ``pfns``; raises IndexError when one is outside the bitmap."""
        self._write(pfns, value=False)

    def test(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return for every one of ``pfns`` whether its bit is set (bool array of its shape)."""
        self._bounds(pfns)
        low = (pfns & 7).astype(np.uint8)
        found: npt.NDArray[np.bool_] = (self._bytes.take(pfns >> 3) >> low & 1).view(np.bool_)
        return found

    @property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        return self.words.view(np.uint8)

    def _write(self, pfns: npt.NDArray[np.int64], *, value: bool) -> None:
        lo, hi = self._bounds(pfns)
        if hi - lo < pfns.size * _DENSE_SPAN:
            self._write_dense(pfns, lo & ~7, hi, value=value)
            return
        for at in range(0, pfns.size, _SCATTER_PFNS):
            self._write_scattered(pfns[at : at + _SCATTER_PFNS], value=value)

    def _write_dense(self, pfns: npt.NDArray[np.int64], lo: int, hi: int, *, value: bool) -> None:
        flags = np.zeros(hi - lo, np.bool_)
        flags[pfns - lo] = True
        packed = np.packbits(flags, bitorder="little")
        target = self._bytes[lo >> 3 : (lo >> 3) + packed.size]
        if value:
            target |= packed
        else:
            target &= ~packed

    def _write_scattered(self, pfns: npt.NDArray[np.int64], *, value: bool) -> None:
        # Write, look again, repeat for what is still wrong: where several pages of one byte met,
        # only the last was written, which is rare among scattered pages.  Pages that need no change
        # cost one look; they are sorted out first if they are many, else in the second round.
        few = pfns.size // 2
        index = pfns >> 3
        bits = np.left_shift(np.uint8(1), pfns.astype(np.uint8) & np.uint8(7))
        target = self._bytes
        while True:
            old = target.take(index, mode="clip")
            found = old & bits
            right = int(np.count_nonzero(found))
            wrong = index.size - right if value else right
            if wrong == 0:
                return
            if wrong <= few:
                where = np.flatnonzero(found == 0 if value else found)
                index, bits, old = index[where], bits[where], old[where]
            target[index] = old | bits if value else old & ~bits
            few = pfns.size

    def _bounds(self, pfns: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Return the smallest page number and one past the largest, (0, 0) when empty."""
        if pfns.size == 0:
            return 0, 0
        lo, hi = int(pfns.min()), int(pfns.max()) + 1
        self._check_range(lo, hi)
        return lo, hi

    def _check_range(self, lo: int, hi: int) -> None:
        if not 0 <= lo <= hi <= self.pages:
            raise IndexError(f"pages {lo} to {hi} of a bitmap of {self.pages} pages")

    def _check_like(self, other: DirtyBitmap) -> None:
        if self.pages != other.pages:
            raise ValueError(f"bitmaps of {self.pages} and {other.pages} pages")

    def _parts(self, lo: int, hi: int) -> Iterator[tuple[slice, int]]:
        """Cut pages lo to hi - 1 into word slices with one mask each: edge, middle, edge."""
        self._check_range(lo, hi)
        if lo == hi:
            return
        first, last = lo // WORD_BITS, (hi - 1) // WORD_BITS
        head = _ALL << lo % WORD_BITS & _ALL
        tail = _ALL >> -hi % WORD_BITS
        if first == last:
            yield slice(first, first + 1), head & tail
            return
        yield slice(first, first + 1), head
        if last > first + 1:
            yield slice(first + 1, last), _ALL
        yield slice(last, last + 1), tail


def lowest_bit(word: int) -> int:
    """Return the number of the lowest set bit of ``word``, which must not be 0."""
    return (word & -word).bit_length() - 1


def nth_bit(word: int, nth: int) -> int:
    """Return the number of the ``nth`` set bit of ``word`` (1 is the lowest), which must exist."""
    for _ in range(nth - 1):
        word &= word - 1
    return lowest_bit(word)


def count_words(words: npt.NDArray[np.uint64]) -> int:
    """Return the number of set bits in a uint64 array."""
    return sum(in_halves(lambda part: _count(words[part]), words.size, _WORDS_FOR_TWO))


def _count(words: npt.NDArray[np.uint64]) -> int:
    counts = np.empty(min(words.size, _PIECE_WORDS), np.uint8)
    total = 0
    for at in range(0, words.size, _PIECE_WORDS):
        piece = words[at : at + _PIECE_WORDS]
        np.bitwise_count(piece, out=counts[: piece.size])
        total += int(counts[: piece.size].sum(dtype=np.uint32))
    return total


def merge_words(
    into: npt.NDArray[np.uint64],
    source: npt.NDArray[np.uint64],
    keep: npt.NDArray[np.uint64] | None = None,
) -> int:
    """OR ``source`` into ``into``; return how many bits were new there.

    All are uint64 of one shape.  ``source`` is copied to ``keep`` on the way, when that is given.
    """

    def merge(part: slice) -> int:
        return _merge(into[part], source[part], None if keep is None else keep[part])

    return sum(in_halves(merge, into.size, _WORDS_FOR_TWO))


def _merge(
    into: npt.NDArray[np.uint64],
    source: npt.NDArray[np.uint64],
    keep: npt.NDArray[np.uint64] | None,
) -> int:
    scratch = np.empty(min(into.size, _PIECE_WORDS), _WORD)
    counts = np.empty(scratch.size, np.uint8)
    total = 0
    for at in range(0, into.size, _PIECE_WORDS):
        old, new = into[at : at + _PIECE_WORDS], source[at : at + _PIECE_WORDS]
        if keep is not None:
            keep[at : at + _PIECE_WORDS] = new
        fresh, count = scratch[: old.size], counts[: old.size]
        np.bitwise_or(old, new, out=fresh)
        np.bitwise_xor(fresh, old, out=fresh)
        # Most pieces of a settled guest bring nothing new: the maximum is cheaper than a count.
        if fresh.max():
            np.bitwise_count(fresh, out=count)
            total += int(count.sum(dtype=np.uint32))
            np.bitwise_or(old, fresh, out=old)
    return total


def subtract_words(words: npt.NDArray[np.uint64], source: npt.NDArray[np.uint64]) -> None:
    """Clear in ``words`` every bit that is set in ``source`` (uint64, same shape)."""
    scratch = np.empty(min(words.size, _PIECE_WORDS), _WORD)
    for at in range(0, words.size, _PIECE_WORDS):
        target = words[at : at + _PIECE_WORDS]
        keep = scratch[: target.size]
        np.invert(source[at : at + _PIECE_WORDS], out=keep)
        np.bitwise_and(target, keep, out=target)


def expand_words(words: npt.NDArray[np.uint64], base: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the set bits of ``words``, ascending, counted from ``base`` (int64)."""
    used = np.flatnonzero(words)
    if used.size * 4 > words.size:
        pfns: npt.NDArray[np.int64] = np.flatnonzero(_unpack(words))
    else:
        bits = np.flatnonzero(_unpack(words[used]))
        pfns = used[bits >> 6] << 6
        pfns += bits & 63
    pfns += base
    return pfns


def _unpack(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)


def _next_nonzero(words: npt.NDArray[np.uint64], at: int) -> int:
    """Return the index of the first word at or after ``at`` that is not 0, or ``words.size``."""
    size = WORD_BITS
    while at < words.size:
        piece = words[at : at + size]
        if piece.max():
            return at + int(np.argmax(piece != 0))
        at += size
        size = min(size * 4, _PIECE_WORDS)
    return words.size
