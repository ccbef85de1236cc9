"""Time in rate windows, for many configurations at once.

A window is 100 ms long and carries a fixed number of pages with content; what finds the window
full waits for its end.  Zero pages cost time but hardly any budget, so they fill waiting time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .table import SLICE_S, WINDOW_S, Table

if TYPE_CHECKING:
    from .table import Floats


class Pace:
    """Where each configuration stands in time and in its window.

    Attributes:
        now_s: time since ``migrate``.
        windows: rate windows that have ended, for framing bytes.
        begin_s: when the current window began.
        used: what it has carried, in pages with content.
        speed: bytes per second of the last window that has ended, which sets the threshold; 0 in
            the first one.
        full_speed: the same for a window full of pages with content.
        paced: whether the budget of a window fills before its time.
        cap: pages between two looks at the threshold: a window's, or a slice's on a slow host.
        zero_share: budget that a zero page takes, in pages with content.
    """

    def __init__(self, table: Table) -> None:
        n = len(table)
        self.now_s: Floats = table.setup_s.copy()
        self.windows: Floats = np.zeros(n)
        self.begin_s: Floats = np.zeros(n)
        self.used: Floats = np.zeros(n)
        self.speed: Floats = np.zeros(n)
        self._set(table)

    def _set(self, table: Table) -> None:
        self._page_s = table.page_s
        self.zero_share = table.zero_bytes / table.page_bytes
        least = self.zero_share * WINDOW_S / table.cap_pages
        self._zero_s = np.maximum(table.zero_s, least)
        self._length = WINDOW_S + table.late_s
        paced = table.cap_pages * table.page_s < self._length
        slice_pages = np.maximum(1.0, np.floor(SLICE_S / table.page_s))
        self.cap = np.where(paced, table.cap_pages, slice_pages)
        self._turn_s = np.where(paced, self._length, self.cap * table.page_s)
        span_s = np.where(paced, np.floor(self._length * 1000 + 1e-3) / 1000, self._turn_s)
        self.full_speed = self.cap * table.page_bytes / span_s
        self._page_bytes = table.page_bytes
        self.paced = paced

    def take(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], table: Table) -> None:
        """Keep only ``rows``; ``table`` is already cut."""
        self.now_s, self.windows = self.now_s[rows], self.windows[rows]
        self.begin_s, self.used = self.begin_s[rows], self.used[rows]
        self.speed = self.speed[rows]
        self._set(table)

    def left(self) -> Floats:
        """Return how many pages the current window still takes."""
        return np.maximum(self.cap - self.used, 0.0)

    def send(self, pages: Floats) -> None:
        """Let ``pages`` with content go out, waiting where the window is full."""
        here = np.minimum(pages, self.left())
        rest = pages - here
        turns = np.ceil(rest / self.cap)
        last = rest - (turns - 1) * self.cap
        moved = turns > 0
        begin = np.maximum(
            self.begin_s + self._turn_s, self.now_s + here * self._page_s * ~self.paced
        )
        begin = np.where(moved, begin + (turns - 1) * self._turn_s, self.begin_s)
        self.now_s = np.where(moved, begin + last * self._page_s, self.now_s + here * self._page_s)
        self.windows += turns
        self.speed = np.where(moved, self.full_speed, self.speed)
        self.used = np.where(moved, last, self.used + here)
        self.begin_s = begin

    def skip(self, pages: Floats) -> None:
        """Let zero pages go by."""
        self.now_s = self.now_s + pages * self._zero_s
        share = pages * self.zero_share
        over = self.now_s >= self.begin_s + self._length
        turns = np.where(over, np.floor((self.now_s - self.begin_s) / self._length), 0.0)
        self.begin_s = np.where(over, self.begin_s + turns * self._length, self.begin_s)
        closed = np.where(turns > 1, self._length / self._zero_s * self.zero_share, self.used)
        self.speed = np.where(over, closed * self._page_bytes / self._length, self.speed)
        inside = (self.now_s - self.begin_s) / self._zero_s * self.zero_share
        self.used = np.where(over, inside, self.used + share)
        self.windows += turns

    def wait(self, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """Wait for the next window where this one is full and something is left to send."""
        full = where & (self.used >= self.cap)
        begin = np.where(self.paced, self.begin_s + self._turn_s, self.now_s)
        self.begin_s = np.where(full, np.maximum(begin, self.begin_s), self.begin_s)
        self.now_s = np.where(full, np.maximum(self.now_s, self.begin_s), self.now_s)
        self.used = np.where(full, 0.0, self.used)
        self.speed = np.where(full, self.full_speed, self.speed)
        self.windows += full

    def spend(self, seconds: Floats) -> None:
        """Let time pass that sends nothing."""
        self.now_s = self.now_s + seconds
