"""Dirty pages of guests that write their working set in order, as stretches on a ring.

The guest goes round its set like the hand of a clock, and so does the sender's scan; how much of
what one left the other meets depends on where both stand.  So the dirty pages of such a guest are
kept as a few stretches, in the order in which the scan comes to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .table import Floats, Table

STRETCHES: Final = 8
"""Stretches that are told apart; of more than these the two that come last are joined."""


class Ring:
    """Dirty pages of some rows, by their distance from where the scan stands.

    Attributes:
        pages: length of the ring, the working set.
        scan: page of the set that the scan comes to next.
        low, high: shape (STRETCHES, n), ascending and disjoint; empty ones have equal ends.
    """

    def __init__(self, pages: Floats, scan: Floats) -> None:
        self.pages = pages
        self.scan = scan % np.maximum(pages, 1.0)
        self.low: Floats = np.zeros((STRETCHES, pages.size))
        self.high: Floats = np.zeros((STRETCHES, pages.size))

    def take(self, rows: NDArray[np.bool_]) -> None:
        """Keep only some rows."""
        self.pages, self.scan = self.pages[rows], self.scan[rows]
        self.low, self.high = self.low[:, rows], self.high[:, rows]

    def size(self) -> Floats:
        """Return how many pages are dirty."""
        total: Floats = (self.high - self.low).sum(axis=0)
        return total

    def keep_last(self, left: Floats) -> None:
        """Let the scan send all but the last ``left`` pages; it then stands before them."""
        last = np.where(self.high > self.low, self.high, 0.0).max(axis=0)
        moved = np.full_like(left, np.inf)
        for low, high in zip(self.low[::-1], self.high[::-1], strict=True):
            size = high - low
            kept = np.clip(left, 0.0, size)
            left = left - size
            low[:] = high - kept
            np.minimum(moved, low, out=moved, where=kept > 0)
        moved = np.where(np.isfinite(moved), moved, last)
        there = self.low < self.high
        self.low = np.where(there, self.low - moved, 0.0)
        self.high = np.where(there, self.high - moved, 0.0)
        self.scan = (self.scan + moved) % np.maximum(self.pages, 1.0)

    def write(self, first: Floats, count: Floats) -> None:
        """Make ``count`` pages dirty, from page ``first`` of the set on and round it."""
        start = (first - self.scan) % np.maximum(self.pages, 1.0)
        end = start + np.clip(count, 0.0, self.pages)
        self._add(start, np.minimum(end, self.pages))
        self._add(np.zeros_like(start), np.maximum(end - self.pages, 0.0))

    def _add(self, low: Floats, high: Floats) -> None:
        """Join a stretch with those that it meets."""
        rows = np.flatnonzero(high > low)
        if not rows.size:
            return
        low, high = low[rows], high[rows]
        lows, highs = self.low[:, rows], self.high[:, rows]
        empty = lows >= highs
        meets = ~empty & (lows <= high) & (highs >= low)
        low = np.minimum(low, np.where(meets, lows, np.inf).min(axis=0))
        high = np.maximum(high, np.where(meets, highs, -np.inf).max(axis=0))
        gone = meets | empty
        lows = np.concatenate((np.where(gone, np.inf, lows), low[None]))
        highs = np.concatenate((np.where(gone, np.inf, highs), high[None]))
        lows.sort(axis=0)  # disjoint, so ends sort as beginnings do
        highs.sort(axis=0)
        highs[-2] = np.where(np.isfinite(highs[-1]), highs[-1], highs[-2])
        lows, highs = lows[:-1], highs[:-1]
        there = np.isfinite(lows)
        self.low[:, rows] = np.where(there, lows, 0.0)
        self.high[:, rows] = np.where(there, highs, 0.0)


class Sweeps:
    """The guests of a batch that write in order: where their hands stand, what they left dirty.

    Attributes:
        rows: their places in the batch.
    """

    def __init__(self, table: Table) -> None:
        self.rows = np.flatnonzero(table.sweep & (table.rates.sum(axis=1) > 0))
        self._part_pages = table.parts[self.rows]
        self._offset = np.cumsum(self._part_pages, axis=1) - self._part_pages
        self._rate = table.rates[self.rows].sum(axis=1)
        self._head = table.phase[self.rows].copy()
        pages = self._part_pages.sum(axis=1)
        self._ring = Ring(pages, np.zeros_like(pages))

    def take(self, keep: NDArray[np.bool_]) -> None:
        """Drop the guests of rows that are not kept."""
        here = keep[self.rows]
        self._ring.take(here)
        for name in ("_part_pages", "_offset", "_rate", "_head"):
            setattr(self, name, getattr(self, name)[here])
        self.rows = (np.cumsum(keep) - 1)[self.rows[here]]

    def first_pass(self, scan: Floats, left: Floats, now_s: Floats, reached_s: Floats) -> Floats:
        """Return what is dirty after the first pass.

        Args:
            scan: pages of the set that the scan has passed.
            left: pages of the set that are not sent.
            now_s: when the pass ended.
            reached_s: shape of the parts: when the scan came to each part's chunk.
        """
        ring = self._ring
        ring.scan = scan % np.maximum(ring.pages, 1.0)
        ring.high[0] = left
        for i in range(self._part_pages.shape[1]):
            if self._part_pages[:, i].any():
                self._write_part(i, reached_s[:, i], now_s)
        self._head = self._head + self._rate * now_s
        return ring.size()

    def _write_part(self, part: int, since_s: Floats, now_s: Floats) -> None:
        """Make dirty what was written into one part since its log was cleared."""
        ring = self._ring
        low, size = self._offset[:, part], self._part_pages[:, part]
        count = np.minimum(self._rate * np.maximum(now_s - since_s, 0.0), ring.pages)
        begin = (self._head + self._rate * since_s) % np.maximum(ring.pages, 1.0)
        for turn in (0.0, ring.pages):
            first = np.maximum(begin, low + turn)
            last = np.minimum(begin + count, low + size + turn)
            ring.write(first - turn, np.maximum(last - first, 0.0))

    def one_pass(self, left: Floats, seconds: Floats, share: Floats) -> Floats:
        """Return what is dirty after a pass that left ``left`` pages of the set behind.

        ``share`` is how much of its writes the guest does.
        """
        self._ring.keep_last(left)
        count = self._rate * share * seconds
        self._ring.write(self._head, count)
        self._head = self._head + count
        return self._ring.size()
