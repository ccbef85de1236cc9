"""The arithmetic that decides when to stop the guest.

Everything of spec lifecycle.md section 6 that is a formula lives here, free of pages and bytes:
the 100 ms rate window, the switchover threshold, the expected downtime (QEMU 10.0, checked there).
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW_S = 0.1
"""Length of a rate-limit window in seconds; ``max-bandwidth`` is cut into tenths."""
SLICE_S = 0.05
"""Longest time one iteration sends pages for, in seconds."""
SYNC_PERIOD_MS = 1000
"""A dirty rate is computed from syncs that are more than this many milliseconds apart."""
MEANINGFUL_WINDOW_BYTES = 10_000
"""A window that moved no more than this says nothing about the expected downtime."""


@dataclass(slots=True)
class Convergence:
    """Rate window and switchover threshold of one outgoing migration.

    Times are seconds, sizes bytes, rates bytes/ms as QEMU computes them.

    Attributes:
        threshold_bytes: pending data below this lets the migration finish; 0 in the first window.
        expected_downtime_ms: what ``query-migrate`` shows.
        mbps: throughput of the last window in megabits per second.
        pages_per_second: pages of the last window, per second.
        rate_base_bytes: the transferred counter at the beginning of the rate window.
    """

    downtime_limit_ms: int
    threshold_bytes: int = 0
    expected_downtime_ms: int = 0
    mbps: float = 0.0
    pages_per_second: int = 0
    rate_base_bytes: int = 0
    window_start_s: float = 0.0
    window_bytes: int = 0
    window_pages: int = 0

    def start(self, now: float, transferred: int) -> None:
        """Open the first window at the beginning of the worker, before any byte is written."""
        self.expected_downtime_ms = self.downtime_limit_ms
        self.window_start_s = now
        self.window_bytes = self.rate_base_bytes = transferred
        self.window_pages = 0

    def budget_bytes(self, max_bandwidth: int) -> int | None:
        """Bytes of one window under ``max_bandwidth`` (bytes/s), or None for no limit.

        A bandwidth below 10 is cut to 0 a window, and 0 means no limit (seen on QEMU 10.0.2).
        """
        return max_bandwidth // 10 or None

    def exceeded(self, transferred: int, max_bandwidth: int) -> bool:
        """Whether this window's budget is used up; equal to the budget is not."""
        budget = self.budget_bytes(max_bandwidth)
        return budget is not None and transferred - self.rate_base_bytes > budget

    def window_over(self, now: float) -> bool:
        """Whether 100 ms have passed since the window was opened."""
        return now >= self.wake_at or elapsed_ms(self.window_start_s, now) >= 100

    @property
    def wake_at(self) -> float:
        """When a sender that used up its budget may go on."""
        return self.window_start_s + WINDOW_S

    def update(
        self,
        now: float,
        transferred: int,
        pages_sent: int,
        *,
        downtime_limit_ms: int,
        switchover_bandwidth: int,
        dirty_pages_rate: int,
        dirty_bytes_last_sync: int,
    ) -> None:
        """Close the window: measure it, derive the new threshold, open the next one.

        ``switchover_bandwidth`` is ``avail-switchover-bandwidth`` in bytes/s, 0 for the measured
        one; ``dirty_pages_rate`` is in pages/s.
        """
        span_ms = elapsed_ms(self.window_start_s, now)
        moved = transferred - self.window_bytes
        bandwidth = moved / span_ms
        usable = switchover_bandwidth // 1000 if switchover_bandwidth else bandwidth
        self.downtime_limit_ms = downtime_limit_ms
        self.threshold_bytes = int(usable * downtime_limit_ms)
        self.mbps = 8.0 * moved / (span_ms / 1000) / 1e6
        self.pages_per_second = int((pages_sent - self.window_pages) / (span_ms / 1000))
        if dirty_pages_rate and moved > MEANINGFUL_WINDOW_BYTES and usable:
            self.expected_downtime_ms = int(dirty_bytes_last_sync / usable)
        self.rate_base_bytes = self.window_bytes = transferred
        self.window_start_s = now
        self.window_pages = pages_sent


def elapsed_ms(start_s: float, now: float) -> int:
    """Whole milliseconds from ``start_s`` to ``now``, as QEMU's millisecond clock counts them.

    A microsecond of slack keeps 0.1 s after 0.3 s from being 99 ms in floating point, for the first
    decades of a clock.
    """
    return int((now - start_s) * 1000 + 1e-3)
