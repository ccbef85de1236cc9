"""Auto-converge: slow the guest down when it dirties RAM faster than the link carries it away.

Decisions are taken at most once a second, inside a dirty sync; an extra sync every five seconds
keeps long passes from hiding the guest's rate (spec lifecycle.md section 6, QEMU 10.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..qapi.parameters import MigrationParameters

TIMER_S = 5.0
"""Seconds between looks at a pass that does not end."""
THROTTLE_MIN_PCT = 1
THROTTLE_MAX_PCT = 99


@dataclass(slots=True)
class AutoConverge:
    """Throttle state of one migration.

    Attributes:
        percentage: share of time that the guest's CPUs are kept from running, 0 to 99.
        high: periods in which the guest was too fast, since the last step.
    """

    percentage: int = 0
    high: int = 0
    _next_tick_s: float | None = None
    _tick_sync_count: int = 0

    def check(
        self, period_bytes: int, period_dirty_bytes: int, params: MigrationParameters
    ) -> None:
        """Judge one period: so many bytes went out while the guest dirtied so many.

        Two periods over the trigger, not necessarily in a row, raise the throttle by one step.
        """
        allowed = period_bytes * params.throttle_trigger_threshold // 100
        if period_dirty_bytes <= allowed:
            return
        self.high += 1
        if self.high >= 2:
            self.high = 0
            self._step(allowed, period_dirty_bytes, params)

    def _step(self, allowed: int, dirty: int, params: MigrationParameters) -> None:
        if not self.percentage:
            wanted = params.cpu_throttle_initial
        else:
            increment = params.cpu_throttle_increment
            if params.cpu_throttle_tailslow:
                running = 100 - self.percentage
                ideal = int(running * (allowed / dirty))
                increment = min(running - ideal, increment)
            wanted = min(self.percentage + increment, params.max_cpu_throttle)
        self.percentage = max(THROTTLE_MIN_PCT, min(THROTTLE_MAX_PCT, wanted))

    def start_timer(self, now: float, sync_count: int) -> None:
        """Arm the five-second timer."""
        self._next_tick_s = now + TIMER_S
        self._tick_sync_count = sync_count

    def sync_due(self, now: float, sync_count: int) -> bool:
        """Whether the timer asks for an extra sync: the pass did not change since its last tick."""
        if self._next_tick_s is None or now < self._next_tick_s:
            return False
        due = sync_count > 1 and sync_count == self._tick_sync_count
        self._next_tick_s = now + TIMER_S
        self._tick_sync_count = sync_count + due
        return due

    def stop(self) -> None:
        """Let the guest run freely again: at the end, on failure, on cancel."""
        self.percentage = 0
        self._next_tick_s = None
