"""XBZRLE deltas, looked at and applied (spec stream.md section 8.5).

One delta is read run by run; many are read at once, by working out for every byte what it would
mean if a run began there and then following all chains together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StreamError
from ..units import PAGE_SIZE
from .wire import RAM_SECTION
from .xbzrle import LENGTH_BITS, ONE_BYTE, RUN_HEADER_BYTES, Deltas

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Deltas looked at together: what is worked out for their bytes stays in a cache.
_PIECE_BYTES = 1 << 17


def delta_runs(
    delta: bytes | memoryview, offset: int = 0, page_bytes: int = PAGE_SIZE
) -> list[tuple[int, int, int]]:
    """Return the runs of one delta: place in the page, place in the delta, length, in bytes.

    ``offset`` is the delta's place in the stream, for errors.

    Raises:
        StreamError: a length is cut off or takes more than two bytes, a run is empty or leaves the
            page or the delta, or unchanged bytes are counted as none behind the first run.
    """
    runs: list[tuple[int, int, int]] = []
    at, place, size = 0, 0, len(delta)
    while at < size:
        skip, count_at = _length(delta, at, offset, "how many bytes stay")
        if at and not skip:
            raise StreamError(offset + at, RAM_SECTION, "unchanged bytes between two runs", "none")
        count, data_at = _length(delta, count_at, offset, "how many bytes are new")
        place += skip
        if not count:
            raise StreamError(offset + count_at, RAM_SECTION, "a run of new bytes", "an empty one")
        if place + count > page_bytes:
            found = f"one of {count} bytes at {place}"
            raise StreamError(offset + at, RAM_SECTION, "a run inside the page", found)
        if data_at + count > size:
            expected = f"{count} new bytes of a delta"
            raise StreamError(offset + data_at, RAM_SECTION, expected, f"{size - data_at}")
        runs.append((place, data_at, count))
        place, at = place + count, data_at + count
    return runs


def _length(delta: bytes | memoryview, at: int, offset: int, what: str) -> tuple[int, int]:
    """Return a length and the index behind it; two bytes are always left for it, as QEMU wants."""
    if at + RUN_HEADER_BYTES > len(delta):
        raise StreamError(offset + at, RAM_SECTION, what, "the end of the delta")
    low = delta[at]
    if low < ONE_BYTE:
        return low, at + 1
    high = delta[at + 1]
    if high >= ONE_BYTE:
        raise StreamError(
            offset + at, RAM_SECTION, f"{what}, in one or two bytes", "a longer number"
        )
    return low - ONE_BYTE + (high << LENGTH_BITS), at + 2


def check_deltas(
    deltas: Deltas, offsets: NDArray[np.int64] | None = None, page_bytes: int = PAGE_SIZE
) -> None:
    """Look at every delta without making pages.

    ``offsets``, shape (n,) int64, is the place of each delta in the stream.

    Raises:
        StreamError: as ``delta_runs``, for the first delta that is malformed.
    """
    for piece, _, some in _pieces(deltas, offsets):
        _all_runs(piece, some, page_bytes)


def apply_deltas(
    deltas: Deltas,
    pages: NDArray[np.uint8],
    offsets: NDArray[np.int64] | None = None,
) -> None:
    """Change ``pages``, shape (n, 4096) uint8, as the deltas say, row by row.

    Raises:
        StreamError: as ``check_deltas``; some pages may have been changed by then.
    """
    for piece, first, some in _pieces(deltas, offsets):
        runs = _all_runs(piece, some, pages.shape[1])
        # Number of each new byte in its run.
        number = np.arange(int(runs.count.sum()))
        number -= np.repeat(np.cumsum(runs.count) - runs.count, runs.count)
        rows = np.repeat(runs.row + first, runs.count)
        content = piece.data[np.repeat(runs.data_at, runs.count) + number]
        pages[rows, np.repeat(runs.place, runs.count) + number] = content


def _pieces(
    deltas: Deltas, offsets: NDArray[np.int64] | None
) -> Iterator[tuple[Deltas, int, NDArray[np.int64]]]:
    """Yield the deltas in pieces of bounded size: deltas, number of the first one, offsets."""
    ends = np.cumsum(np.maximum(deltas.sizes, 0))
    offsets = deltas.starts if offsets is None else offsets
    first, start = 0, 0
    while first < ends.size:
        # One delta is shorter than a piece, so that a piece has at least one.
        last = int(np.searchsorted(ends, start + _PIECE_BYTES, "right"))
        end = int(ends[last - 1])
        yield Deltas(deltas.data[start:end], deltas.sizes[first:last]), first, offsets[first:last]
        first, start = last, end


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """All runs of some deltas: row, place in the page, index of the content, length."""

    row: NDArray[np.intp]
    place: NDArray[np.int64]
    data_at: NDArray[np.int64]
    count: NDArray[np.int64]


def _all_runs(deltas: Deltas, offsets: NDArray[np.int64], page_bytes: int) -> _Runs:
    """Return what ``delta_runs`` gives for each delta, without a step of Python for each run."""
    rows = np.flatnonzero(deltas.sizes > 0)
    begin = deltas.starts[rows]
    pairs = _Pairs.read(deltas.data, begin + deltas.sizes[rows], deltas.sizes[rows])
    heads = pairs.reached(begin)
    skip, count = pairs.skip[heads], pairs.count[heads]
    delta = np.searchsorted(begin, heads, "right") - 1
    is_first = heads == begin[delta]
    ends = np.cumsum(skip + count)
    base = (ends - skip - count)[is_first]
    ends -= base[delta]
    bad = ~pairs.good[heads] | ((skip == 0) & ~is_first) | (ends > page_bytes)
    if bad.any():
        worst = int(delta[bad.argmax()])
        row, start = int(rows[worst]), int(begin[worst])
        one = deltas.data[start : start + int(deltas.sizes[row])].tobytes()
        delta_runs(one, int(offsets[row]), page_bytes)
        raise AssertionError("two looks at a delta disagree")  # pragma: no cover
    return _Runs(rows[delta], ends - count, pairs.data_at[heads], count)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """What each byte of some deltas would mean if a run began there; all of shape (m,).

    Attributes:
        good: whether a run can begin there and end inside its delta.
        skip, count: lengths that stay and that are new.
        data_at: index of the first new byte.
    """

    good: NDArray[np.bool_]
    skip: NDArray[np.int64]
    count: NDArray[np.int64]
    data_at: NDArray[np.int64]

    @classmethod
    def read(
        cls, data: NDArray[np.uint8], ends: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> _Pairs:
        """Look at all bytes of deltas that end at ``ends`` and have ``sizes``."""
        end = np.repeat(ends, sizes)
        # Two bytes behind the last one, so that all that is looked at has an index.
        low = np.append(data, np.zeros(RUN_HEADER_BYTES, np.uint8)).astype(np.int64)
        high = np.append(low[1:], 0)
        wide = low >= ONE_BYTE
        value = np.where(wide, low - ONE_BYTE + (high << LENGTH_BITS), low)
        short = ~(wide & (high >= ONE_BYTE))
        at = np.arange(data.size)
        second = at + 1 + wide[: data.size]
        data_at = second + 1 + wide[second]
        count = value[second]
        good = (end - at >= RUN_HEADER_BYTES) & short[: data.size]
        good &= (end - second >= RUN_HEADER_BYTES) & short[second]
        good &= (count > 0) & (data_at + count <= end)
        return cls(good, value[: data.size], count, data_at)

    def reached(self, begin: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return where runs begin, ascending, when each delta's first run begins at ``begin``.

        A chain ends where the next delta begins, or at a run that is not good.  The chains are
        walked in steps that double, all of them at once.
        """
        size = self.good.size
        jump = np.append(np.where(self.good, self.data_at + self.count, np.arange(size)), size)
        mark = np.zeros(size + 1, np.bool_)
        mark[begin] = mark[size] = True
        while True:
            there = jump[mark]
            if mark[there].all():
                return np.flatnonzero(mark[:size])
            mark[there] = True
            jump = jump[jump]
