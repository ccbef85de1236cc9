"""The fluid model: expected values instead of pages, one step per pass, many guests at once.

It follows the same loop as the page-exact simulation (spec lifecycle.md section 6) without
knowing it: rate windows, a threshold from the measured speed, a sync when what is left falls below
the threshold, lazily cleared logs, the throttle.  What a guest dirties in t seconds is the expected
number of distinct pages.  It is not built on the simulation; tests compare the two.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ..units import PAGE_SIZE
from .hostmodel import REFERENCE, HostModel
from .pacing import Pace
from .result import DowntimeParts, Prediction
from .ring import Sweeps
from .scan import Scan
from .small import predict_without_ram
from .table import WINDOW_S, Table, table_of
from .throttling import effective_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .inputs import Inputs
    from .table import Floats

MAX_PASSES: Final = 2000
PART_FRAMING_BYTES: Final = 18
"""Section header, end word and footer around the pages of one window."""
BATCH_ROWS: Final = 65536
"""Rows worked on together: enough that few are left in long tails do not matter."""
TIMER_S: Final = 5.0
"""An auto-converging pass that takes longer is synced in between."""


@dataclass(slots=True)
class FluidResult:
    """Answers by row.

    Attributes:
        converged: ends within the time limit.
        total_s, downtime_s: infinity where it does not end.
        transferred_bytes: all bytes, or those until the time limit.
        passes: dirty syncs.
        normal_pages, zero_pages: pages sent.
        throttle: per cent at the end.
    """

    converged: NDArray[np.bool_]
    total_s: Floats
    downtime_s: Floats
    transferred_bytes: Floats
    passes: Floats
    normal_pages: Floats
    zero_pages: Floats
    throttle: Floats


def predict_fluid(inputs: Inputs, host: HostModel = REFERENCE) -> Prediction:
    """Return the fluid model's answer for one configuration."""
    return predict_fluid_many([inputs], host)[0]


def predict_fluid_many(many: Sequence[Inputs], host: HostModel = REFERENCE) -> list[Prediction]:
    """Return the fluid model's answers for many configurations."""
    if not many:
        return []
    result = solve(table_of(many, host))
    return [
        _prediction(i, inputs, host, result)
        if inputs.copies_ram
        else predict_without_ram(inputs, host, "fluid")
        for i, inputs in enumerate(many)
    ]


def solve(table: Table) -> FluidResult:
    """Return the answers of all rows, worked out in batches that share the processors."""
    starts = range(0, len(table), BATCH_ROWS)
    batches = [table.take(slice(low, low + BATCH_ROWS)).trimmed() for low in starts]
    if len(batches) > 1:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pieces = list(pool.map(lambda batch: _Batch(batch).run(), batches))
    else:
        pieces = [_Batch(batch).run() for batch in batches]
    names = FluidResult.__slots__
    return FluidResult(*(np.concatenate([getattr(p, n) for p in pieces]) for n in names))


_BY_ROW: Final = (
    *("rows", "at", "left", "left_zero", "plain", "dirty", "normal", "zero", "passes"),
    *("percent", "high", "period", "before", "stuck", "short"),
)
"""Arrays of a batch that have one entry per row."""


class _Batch:
    """One batch under way; rows that have ended are dropped from the working arrays."""

    def __init__(self, table: Table) -> None:
        n = len(table)
        self.table = table
        self.pace = Pace(table)
        self.sweeps = Sweeps(table)
        self.rows = np.arange(n)
        self.at: Floats = np.zeros(n)
        self.left: Floats = np.zeros_like(table.parts)
        self.left_zero: Floats = np.zeros(n)
        self.plain: Floats = np.zeros(n)
        self.dirty: Floats = np.zeros_like(table.parts)
        self.normal: Floats = np.zeros(n)
        self.zero: Floats = np.zeros(n)
        self.passes: Floats = np.ones(n)
        self.percent: Floats = np.zeros(n)
        self.high: Floats = np.zeros(n)
        self.period: Floats = np.zeros((n, 3))  # beginning, dirty bytes, sent bytes at beginning
        self.before: Floats = np.full(n, np.inf)
        self.stuck: Floats = np.zeros(n)
        zeros = np.zeros(n)
        self.result = FluidResult(
            zeros > 0,
            np.full(n, np.inf),
            np.full(n, np.inf),
            *(zeros.copy() for _ in range(5)),
        )

    def run(self) -> FluidResult:
        """Work until no row is left."""
        self._first_pass()
        for number in range(MAX_PASSES):
            if not self.rows.size:
                break
            self._sync()
            if self.rows.size:
                self._pass(scan=number == 0)
        if self.rows.size:
            self._end(np.ones(self.rows.size, bool), converged=False)
        return self.result

    def _threshold(self) -> Floats:
        """Return the threshold after a window full of pages with content."""
        return np.floor(self.pace.full_speed * self.table.limit_s)

    def _first_pass(self) -> None:
        """Send all RAM once, in order; note when the scan reached each part's chunk."""
        table, pace = self.table, self.pace
        n = len(table)
        scan = Scan(table, pace, np.zeros(n), np.zeros(n))
        scan.run()
        left_normal, self.left_zero = scan.left()
        self.at = scan.at
        self.normal = np.maximum(-table.segments, 0).sum(axis=1) - left_normal
        self.zero = np.maximum(table.segments, 0).sum(axis=1) - self.left_zero
        unsent = np.clip(table.first + table.parts - scan.at[:, None], 0.0, table.parts)
        self.left = np.minimum(unsent, left_normal[:, None])
        self.plain = np.maximum(left_normal - self.left.sum(axis=1), 0.0)
        quiet = np.floor(pace.speed * table.limit_s) <= 0
        self.short = quiet & (left_normal + self.left_zero <= 0)
        span = np.maximum(pace.now_s[:, None] - scan.reached_s, 0.0)
        self._dirty_since(span, span, table.parts)
        rows = self.sweeps.rows
        if rows.size:
            passed = np.clip(scan.at[rows] - table.first[rows, 0], 0.0, None)
            pages = table.parts[rows].sum(axis=1)
            left = self.left[rows].sum(axis=1)
            at = np.minimum(passed, pages)
            now_s, reached_s = pace.now_s[rows], scan.reached_s[rows]
            self._swept(self.sweeps.first_pass(at, left, now_s, reached_s))
        self._count_new()
        self.dirty[table.stops_first] = self.left[table.stops_first]

    def _dirty_since(self, seconds: Floats, cleared: Floats, old: Floats) -> None:
        """Find what the guest has dirtied since the last sync, leftovers apart.

        Pages that were dirty then (``old``) count what was written after their log was
        ``cleared``, others all of it.  Times in seconds.
        """
        table = self.table
        share = effective_shares(self.percent, table.catch_up_ms)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            per_page = np.where(table.parts > 0, table.rates * share / table.parts, 0.0)
        sent, free = np.maximum(old - self.left, 0.0), np.maximum(table.parts - old, 0.0)
        new = free * -np.expm1(-per_page * seconds) + sent * -np.expm1(-per_page * cleared)
        self.dirty = self.left + new

    def _swept(self, size: Floats) -> None:
        """Put what sweeps have left dirty into the first part."""
        rows = self.sweeps.rows
        self.dirty[rows] = 0.0
        self.dirty[rows, 0] = size

    def _count_new(self) -> None:
        new = self.dirty.sum(axis=1) - self.left.sum(axis=1)
        self.period[:, 1] += new * PAGE_SIZE

    def _sync(self) -> None:
        """Fetch the log, and stop the rows that are below their threshold."""
        self.passes += ~self.short
        self._throttle()
        pending = (self.dirty.sum(axis=1) + self.plain + self.left_zero + 1.0) * PAGE_SIZE
        threshold = np.floor(self.pace.speed * self.table.limit_s)
        done = (pending < threshold) | self.table.stops_first | self.short
        late = self.pace.now_s > self.table.time_limit_s
        unending = ~done & self._unending(pending)
        if late.any() or unending.any():
            self._end(late | unending, converged=False)
            done = done[~(late | unending)]
        if done.any():
            self._end(done, converged=True)

    def _unending(self, pending: Floats) -> NDArray[np.bool_]:
        """Return which rows have come to a standstill above their threshold."""
        same = np.abs(pending - self.before) <= 1e-4 * pending
        self.stuck = np.where(same, self.stuck + 1, 0.0)
        self.before = pending
        capped = (self.table.throttle[:, 0] == 0) | (self.percent >= self.table.throttle[:, 2])
        stuck: NDArray[np.bool_] = (self.stuck >= 4) & capped
        return stuck

    def _throttle(self) -> None:
        table = self.table
        initial, step, top, trigger = table.throttle.T
        sent = self._bytes()
        due = (initial > 0) & (self.pace.now_s > self.period[:, 0] + 1.0)
        moved = sent - self.period[:, 2]
        over = due & (self.period[:, 1] > moved * trigger / 100)
        self.high += over
        raise_it = self.high >= 2
        self.high[raise_it] = 0
        wanted = np.where(self.percent == 0, initial, np.minimum(self.percent + step, top))
        self.percent = np.where(raise_it, np.clip(wanted, 1, 99), self.percent)
        self.period[due, 0] = self.pace.now_s[due]
        self.period[due, 1] = 0
        self.period[due, 2] = sent[due]

    def _pass(self, *, scan: bool) -> None:
        """Send what is dirty until less than the threshold is left at a look at it.

        With ``scan``, zero pages may be among it.
        """
        table, pace = self.table, self.pace
        begin = pace.now_s.copy()
        total = self.dirty.sum(axis=1) + self.plain
        rest = self._go_on(total) if scan else self._send(total)
        self.normal += total - rest
        self.plain = np.maximum(self.plain - (total - rest), 0.0)
        dirty = self.dirty.sum(axis=1)
        total, sent = dirty, dirty - (rest - self.plain)
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = np.where(total > 0, (total - sent) / total, 0.0)[:, None]
            before = np.cumsum(self.dirty, axis=1) - self.dirty
            offset = np.where(total > 0, 1 / total, 0.0)[:, None] * before
        chunk_start = _chunk_offsets(offset, table.reach)
        span = (pace.now_s - begin)[:, None]
        old = self.dirty
        self.left = old * kept
        self._dirty_since(span, span * (1.0 - chunk_start), old)
        rows = self.sweeps.rows
        if rows.size:
            share = effective_shares(self.percent[rows], table.catch_up_ms[rows])
            left = self.left[rows].sum(axis=1)
            self._swept(self.sweeps.one_pass(left, span[rows, 0], share))
        self._count_new()

    def _go_on(self, total: Floats) -> Floats:
        """Scan the rest of RAM, then what was dirtied behind the scan; return what is left."""
        normal = np.maximum(-self.table.segments, 0).sum(axis=1)
        behind = np.maximum(normal - self.normal, 0.0)
        scan = Scan(self.table, self.pace, self.at, np.maximum(total - behind, 0.0))
        scan.run()
        rest, zeros = scan.left()
        self.zero += self.left_zero - zeros
        self.left_zero = zeros
        return np.minimum(rest, total)

    def _send(self, total: Floats) -> Floats:
        """Send pages with content in windows; return what is left."""
        table, pace = self.table, self.pace
        pace.skip(self.left_zero)
        self.zero += self.left_zero
        self.left_zero = np.zeros_like(total)
        least = total - self._threshold() / PAGE_SIZE
        room = pace.left()
        turns = np.maximum(np.floor((least - room) / pace.cap) + 1, 0)
        sent = np.minimum(room + turns * pace.cap, total)
        timer = np.maximum(pace.cap, np.floor(TIMER_S / WINDOW_S) * pace.cap)
        sent = np.where(table.throttle[:, 0] > 0, np.minimum(sent, timer), sent)
        pace.send(sent)
        pace.wait(sent < total)
        rest: Floats = total - sent
        return rest

    def _bytes(self) -> Floats:
        table = self.table
        framing = PART_FRAMING_BYTES * self.pace.windows
        return self.normal * table.page_bytes + self.zero * table.zero_bytes + framing

    def _end(self, which: NDArray[np.bool_], *, converged: bool) -> None:
        """Note the answers of ``which`` rows and drop them."""
        table, out, rows = self.table, self.result, self.rows[which]
        rest = self.dirty[which].sum(axis=1) + self.plain[which] + 1.0
        out.converged[rows] = converged
        final_s = rest * table.stopped_page_s[which] + self.left_zero[which] * table.zero_s[which]
        stop_s = np.where(table.stops_first[which], 0.0, table.stop_s[which])
        down = final_s + stop_s + table.device_s[which]
        total = self.pace.now_s[which] + down
        late = total > table.time_limit_s[which]
        ends = converged & ~late
        out.converged[rows] = ends
        down = np.where(table.stops_first[which], total, down)
        out.total_s[rows] = np.where(ends, total, np.inf)
        out.downtime_s[rows] = np.where(ends, down, np.inf)
        self.normal[which] += rest if converged else 0.0
        self.zero[which] += self.left_zero[which]
        missing = np.maximum(table.time_limit_s[which] - self.pace.now_s[which], 0.0)
        speed = np.minimum(self.pace.cap[which] / WINDOW_S, 1 / table.page_s[which])
        more = np.where(ends, table.fixed_bytes[which], missing * speed * table.page_bytes[which])
        out.transferred_bytes[rows] = self._bytes()[which] + more
        out.passes[rows] = self.passes[which] + (1.0 if converged else 0.0)
        out.normal_pages[rows] = self.normal[which]
        out.zero_pages[rows] = self.zero[which]
        out.throttle[rows] = self.percent[which]
        self._keep(~which)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        self.table = self.table.take(np.flatnonzero(keep))
        self.pace.take(keep, self.table)
        self.sweeps.take(keep)
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name)[keep])


def _chunk_offsets(offset: Floats, reach: Floats) -> Floats:
    """Return for each part at which share of the pass the first part of its chunk begins."""
    out = offset.copy()
    for i in range(1, out.shape[1]):
        same = reach[:, i] == reach[:, i - 1]
        out[:, i] = np.where(same, out[:, i - 1], out[:, i])
    return out


def _prediction(i: int, inputs: Inputs, host: HostModel, result: FluidResult) -> Prediction:
    done = bool(result.converged[i])
    down = float(result.downtime_s[i]) * 1000
    device = host.device_s * 1000
    fixed = 0.0 if inputs.stops_first else host.stop_s * 1000
    normal, zero = inputs.own_pages
    sent, zeros = round(float(result.normal_pages[i])), round(float(result.zero_pages[i]))
    load = 1000 * host.load_after_s(inputs, sent, zeros)
    parts = DowntimeParts(max(0.0, down - device - fixed), device, fixed, load)
    return Prediction(
        model="fluid",
        status="completed" if done else "cancelled",
        total_time_ms=_whole_ms(float(result.total_s[i])) if done else None,
        downtime_ms=_whole_ms(float(result.downtime_s[i])) if done else None,
        transferred_bytes=round(float(result.transferred_bytes[i])),
        dirty_sync_count=round(float(result.passes[i])),
        normal_pages=sent + normal,
        zero_pages=zeros + zero,
        throttle=round(float(result.throttle[i])),
        downtime=parts if done else DowntimeParts(),
        assumed=inputs.assumed,
        host=host.name,
    )


def _whole_ms(seconds: float) -> float:
    """Return whole milliseconds, as QEMU's clock counts them."""
    return float(int(seconds * 1000 + 1e-3))
