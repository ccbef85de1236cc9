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
    """

    def __init__(self, table: Table) -> None:
        n = len(table)
        self.now_s: Floats = table.setup_s.copy()
        self.windows: Floats = np.zeros(n)
        self._begin: Floats = np.zeros(n)
        self._used: Floats = np.zeros(n)
        self._set(table)

    def _set(self, table: Table) -> None:
        self._page_s = table.page_s
        self._zero_share = table.zero_bytes / table.page_bytes
        """Budget that a zero page takes, in pages with content."""
        least = self._zero_share * WINDOW_S / table.cap_pages
        self._zero_s = np.maximum(table.zero_s, least)
        self._length = WINDOW_S + table.late_s
        paced = table.cap_pages * table.page_s < self._length
        slice_pages = np.maximum(1.0, np.floor(SLICE_S / table.page_s))
        self.cap = np.where(paced, table.cap_pages, slice_pages)
        """Pages between two looks at the threshold: a window's, or a slice's on a slow host."""
        self._turn_s = np.where(paced, self._length, self.cap * table.page_s)
        self._paced = paced

    def take(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], table: Table) -> None:
        """Keep only ``rows``; ``table`` is already cut."""
        self.now_s, self.windows = self.now_s[rows], self.windows[rows]
        self._begin, self._used = self._begin[rows], self._used[rows]
        self._set(table)

    def left(self) -> Floats:
        """Return how many pages the current window still takes."""
        return np.maximum(self.cap - self._used, 0.0)

    def send(self, pages: Floats) -> None:
        """Let ``pages`` with content go out, waiting where the window is full."""
        here = np.minimum(pages, self.left())
        rest = pages - here
        turns = np.ceil(rest / self.cap)
        last = rest - (turns - 1) * self.cap
        moved = turns > 0
        begin = np.maximum(
            self._begin + self._turn_s, self.now_s + here * self._page_s * ~self._paced
        )
        begin = np.where(moved, begin + (turns - 1) * self._turn_s, self._begin)
        self.now_s = np.where(moved, begin + last * self._page_s, self.now_s + here * self._page_s)
        self.windows += turns
        self._used = np.where(moved, last, self._used + here)
        self._begin = begin

    def skip(self, pages: Floats) -> None:
        """Let zero pages go by."""
        self.now_s = self.now_s + pages * self._zero_s
        share = pages * self._zero_share
        over = self.now_s >= self._begin + self._length
        turns = np.where(over, np.floor((self.now_s - self._begin) / self._length), 0.0)
        self._begin = np.where(over, self._begin + turns * self._length, self._begin)
        inside = (self.now_s - self._begin) / self._zero_s * self._zero_share
        self._used = np.where(over, inside, self._used + share)
        self.windows += turns

    def until_look(self, normals: Floats, zeros: Floats) -> tuple[Floats, Floats]:
        """Go on until the threshold is looked at again; normals come first.

        Returns the pages of both kinds that are not sent by then.
        """
        sent = np.minimum(normals, self.left())
        self.now_s = self.now_s + sent * self._page_s
        self._used = self._used + sent
        open_s = np.where(sent < normals, 0.0, self._begin + self._length - self.now_s)
        gone = np.minimum(zeros, np.maximum(open_s, 0.0) / self._zero_s)
        self.now_s = self.now_s + gone * self._zero_s
        return normals - sent, zeros - gone

    def wait(self, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """Wait for the next window where this one is full and something is left to send."""
        full = where & (self._used >= self.cap)
        begin = np.where(self._paced, self._begin + self._turn_s, self.now_s)
        self._begin = np.where(full, np.maximum(begin, self._begin), self._begin)
        self.now_s = np.where(full, np.maximum(self.now_s, self._begin), self.now_s)
        self._used = np.where(full, 0.0, self._used)
        self.windows += full

    def spend(self, seconds: Floats) -> None:
        """Let time pass that sends nothing."""
        self.now_s = self.now_s + seconds
