"""The scan over RAM of the fluid model: in order, stretch by stretch.

Where content and zero pages alternate, the windows near the end decide when the loop looks at the
dirty log, since a window that was spent on zero pages makes the threshold small.  So the end of
the first pass is followed window by window, and everything before it in one go.  The second pass
goes on from there: first the rest of RAM, then what was dirtied meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ..units import PAGE_SIZE
from .table import FLUSH_PAGES, SLICE_S, WINDOW_S, ZERO_FLUSH_PAGES

if TYPE_CHECKING:
    from .pacing import Pace
    from .table import Floats, Table

MAX_TURNS: Final = 4000
_TINY: Final = 1e-6
"""Pages below this are rounding."""
_GONE: Final = 8
"""Rows that have ended are dropped from the working arrays after so many turns."""


class Scan:
    """Where every row stands in its scan; `run` ends a pass and moves the pace along.

    Attributes:
        at: page that the scan has reached.
        reached_s: shape of ``table.reach``: when the scan came to each part's chunk.
    """

    def __init__(self, table: Table, pace: Pace, at: Floats, more: Floats) -> None:
        """Begin at page ``at``; ``more`` pages with content follow behind the end of RAM."""
        self.at = at
        self.reached_s: Floats = np.repeat(pace.now_s[:, None], table.reach.shape[1], 1)
        self.segments = np.concatenate((table.segments, -more[:, None]), axis=1)
        self._table = table
        self._pace = pace
        self._ends = np.cumsum(np.abs(self.segments), axis=1)
        self._far = bool((table.reach > at[:, None]).any())

    def run(self) -> None:
        """Send until less than the threshold is left at a look at it, or nothing is."""
        rows = np.arange(len(self._table))
        walk = _Walk(self._table, self._pace, self.at, self.segments, self._ends)
        for turn in range(MAX_TURNS):
            over = walk.look(first=turn == 0)
            if turn % _GONE == 0 or over.all():
                self._note(walk, rows)
                live = np.flatnonzero(~over)
                rows, walk = rows[live], walk.taken(live)
                if not live.size:
                    return
            before, at = walk.now, walk.at
            walk.advance()
            if self._far:
                self._reach(rows, before, at, walk)
        self._note(walk, rows)

    def left(self) -> tuple[Floats, Floats]:
        """Return the pages with content, and the zero pages, that are not sent."""
        sizes = np.abs(self.segments)
        rest = np.clip(self._ends - self.at[:, None], 0.0, sizes)
        content = self.segments < 0
        return np.where(content, rest, 0.0).sum(axis=1), np.where(content, 0.0, rest).sum(axis=1)

    def _reach(self, rows: np.ndarray, before: Floats, at: Floats, walk: _Walk) -> None:
        reach = self._table.reach[rows]
        inside = (reach > at[:, None]) & (reach <= walk.at[:, None])
        if inside.any():
            moved = np.maximum(walk.at - at, 1.0)
            speed = ((walk.now - before) / moved)[:, None]
            when = before[:, None] + (reach - at[:, None]) * speed
            self.reached_s[rows] = np.where(inside, when, self.reached_s[rows])

    def _note(self, walk: _Walk, rows: np.ndarray) -> None:
        self.at[rows] = walk.at
        walk.store(self._pace, rows)


class _Walk:
    """The rows whose pass goes on."""

    _BY_ROW: Final = (
        *("now", "begin", "used", "speed", "windows", "at", "part", "index", "over"),
        *("ends", "zeros", "pages", "cap", "page_s", "zero_s", "share"),
        *("page_bytes", "limit_s", "turn_s", "slice", "paced", "zone"),
        *("budget", "flush", "zero_flush", "extra"),
    )

    def __init__(
        self, table: Table, pace: Pace, at: Floats, segments: Floats, ends: Floats
    ) -> None:
        n = len(table)
        self.now, self.begin, self.used = pace.now_s, pace.begin_s, pace.used
        self.speed, self.windows = pace.speed, pace.windows
        self.at = at
        self.index = np.zeros(n, np.int64)
        self.over = np.zeros(n, bool)
        self.ends = ends
        self.zeros = segments >= 0
        self.pages = ends[:, -1]
        self.cap = np.where(pace.paced, pace.cap, np.inf)
        self.budget = np.where(pace.paced, table.budget_pages, np.inf)
        self.flush = table.flush_pages
        self.zero_flush = np.where(self.flush == FLUSH_PAGES, ZERO_FLUSH_PAGES, self.flush)
        whole = (np.floor(self.budget / self.flush) + 1) * self.flush
        self.extra = np.where(pace.paced, table.cap_pages, 0.0) - np.where(pace.paced, whole, 0.0)
        self.paced = pace.paced
        self.page_s, self.zero_s = table.page_s, table.zero_s
        self.share = pace.zero_share
        self.page_bytes, self.limit_s = table.page_bytes, table.limit_s
        self.turn_s = WINDOW_S + table.late_s
        self.slice = np.maximum(1.0, np.floor(SLICE_S / table.page_s))
        self.part = self.slice
        self.zone = pace.full_speed * table.limit_s / PAGE_SIZE

    def taken(self, live: np.ndarray) -> _Walk:
        """Return the walk of some rows."""
        walk = object.__new__(_Walk)
        for name in self._BY_ROW:
            setattr(walk, name, getattr(self, name)[live])
        return walk

    def store(self, pace: Pace, rows: np.ndarray) -> None:
        """Tell the pace where its rows stand."""
        pace.now_s[rows], pace.begin_s[rows], pace.used[rows] = self.now, self.begin, self.used
        pace.speed[rows], pace.windows[rows] = self.speed, self.windows

    def look(self, *, first: bool = False) -> np.ndarray:
        """Close windows that are over, and return which rows are below their threshold.

        The ``first`` look of a pass has been made before its sync.
        """
        if first:
            return self.over
        left = self.pages - self.at
        looks = ~self.over & ((self.part <= _TINY) | (left <= _TINY))
        closes = looks & (self.now >= self.begin + WINDOW_S)
        if closes.any():
            span_s = np.floor((self.now - self.begin) * 1000 + 1e-3) / 1000
            speed = self.used * self.page_bytes / np.maximum(span_s, WINDOW_S)
            self.speed = np.where(closes, speed, self.speed)
            self.begin = np.where(closes, self.now, self.begin)
            self.used = np.where(closes, 0.0, self.used)
            self.windows = self.windows + closes
        below = left * PAGE_SIZE < np.floor(self.speed * self.limit_s)
        self.over = self.over | (looks & (below | (left <= _TINY)))
        self.part = np.where(looks, self.slice, self.part)
        return self.over

    def advance(self) -> None:
        """Go on to the end of the stretch, of the window or of the slice; wait if it is full."""
        row = np.arange(self.at.size)
        for _ in range(self.ends.shape[1]):  # empty stretches
            empty = (self.ends[row, self.index] <= self.at + _TINY) & (self.at < self.pages - _TINY)
            if not empty.any():
                break
            self.index += empty
        stretch = np.maximum(self.ends[row, self.index] - self.at, 0.0)
        zero = self.zeros[row, self.index]
        far = np.maximum(np.minimum(stretch, self.pages - self.at - self.zone), 0.0)
        each_s = np.where(zero, self.zero_s, self.page_s)
        each = np.where(zero, self.share, 1.0)
        room = np.maximum(self.budget - self.used, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            flushed = (np.floor(room / self.flush) + 1) * self.flush + self.extra
            zeros = np.floor(room / each / self.zero_flush + 1) * self.zero_flush
            can = np.where(zero, np.where(each > 0, zeros, np.inf), flushed)
        pages = np.minimum(np.minimum(stretch, self.part), np.maximum(can, 1.0))
        fresh = (self.used == 0) & (self.part == self.slice) & (self.windows > 0)
        by_time = np.ceil(WINDOW_S / (self.slice * each_s)) * self.slice
        with np.errstate(divide="ignore", invalid="ignore"):
            by_budget = np.where(each > 0, self.cap / each, np.inf)
        waits = by_budget <= by_time
        per_turn = np.where(waits, by_budget, by_time)
        turn_s = np.where(waits, self.turn_s, by_time * each_s)
        turns = np.where(fresh, np.floor(far / per_turn), 0.0)
        leap = turns >= 2
        pages = np.where(leap, turns * per_turn, pages)
        spent = np.where(leap, turns * turn_s, pages * each_s)
        live = ~self.over
        pages, spent = pages * live, spent * live
        self.now = self.now + spent
        self.at = self.at + pages
        self.used = np.where(leap & live, 0.0, self.used + pages * each)
        self.part = np.where(leap, self.slice, self.part - pages)
        span_s = np.floor(turn_s * 1000 + 1e-3) / 1000
        speed = per_turn * each * self.page_bytes / span_s
        self.speed = np.where(leap & live, speed, self.speed)
        self.begin = np.where(leap & live, self.now, self.begin)
        self.windows = self.windows + np.where(leap & live, turns, 0.0)
        full = live & ~leap & self.paced & (pages >= can)
        if full.any():
            self.now = np.where(full, np.maximum(self.now, self.begin + self.turn_s), self.now)
            self.part = np.where(full, 0.0, self.part)
