"""Counters of one outgoing migration, and the dirty rate measured between syncs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..stream.xbzrle_cache import XbzrleStats
from ..units import PAGE_SIZE
from .convergence import SYNC_PERIOD_MS, elapsed_ms
from .throttle import AutoConverge

if TYPE_CHECKING:
    from ..qapi.parameters import MigrationParameters
    from .work import Work


@dataclass(slots=True)
class RamCounters:
    """What spec lifecycle.md section 5 counts, and where each byte is booked.

    Attributes:
        normal: pages sent with content, over all passes.
        duplicate: zero pages, over all passes.
        precopy_bytes: RAM bytes sent while the guest ran.
        downtime_bytes: RAM bytes sent while it did not.
        postcopy_bytes: RAM bytes sent while the target ran the guest.
        postcopy_requests: how often the target has asked for pages.
        dirty_sync_count: dirty syncs so far, which is the number of the current pass.
        multifd_bytes: bytes written to channels of multifd.
        xbzrle: counters of the XBZRLE cache.
    """

    normal: int = 0
    duplicate: int = 0
    precopy_bytes: int = 0
    downtime_bytes: int = 0
    dirty_sync_count: int = 0
    postcopy_bytes: int = 0
    postcopy_requests: int = 0
    multifd_bytes: int = 0
    xbzrle: XbzrleStats = field(default_factory=XbzrleStats)

    def book(self, size_bytes: int, *, guest_runs: bool) -> None:
        """Book ``size_bytes`` of RAM under the phase that the guest's run state names."""
        if guest_runs:
            self.precopy_bytes += size_bytes
        else:
            self.downtime_bytes += size_bytes

    def add(self, work: Work, *, guest_runs: bool) -> None:
        """Count the pages of ``work`` and book its bytes."""
        self.normal += work.normal_pages
        self.duplicate += work.zero_pages
        self.book(work.bytes_out - work.side_bytes, guest_runs=guest_runs)

    @property
    def pages_sent(self) -> int:
        """Pages that went out, with content, without, or encoded."""
        return self.normal + self.duplicate + self.xbzrle.pages


@dataclass(slots=True)
class DirtyRate:
    """The guest's dirty rate, from syncs more than one second apart (spec lifecycle.md section 6).

    Attributes:
        pages_per_s: what ``dirty-pages-rate`` shows; 0 until the first period is over.
        bytes_last_sync: dirty RAM after the last sync.
    """

    pages_per_s: int = 0
    bytes_last_sync: int = 0
    _period_start_s: float | None = None
    _period_dirty: int = 0
    _period_bytes: int = 0
    _period_pages: int = 0
    throttle: AutoConverge = field(default_factory=AutoConverge)

    def observe(
        self,
        now: float,
        new_pages: int,
        dirty_pages: int,
        transferred: int,
        params: MigrationParameters,
        *,
        counters: RamCounters,
        auto_converge: bool,
    ) -> None:
        """Take note of one sync that found ``new_pages`` more and left ``dirty_pages`` dirty."""
        if self._period_start_s is None:
            self._period_start_s = now
        self._period_dirty += new_pages
        self.bytes_last_sync = dirty_pages * PAGE_SIZE
        span_ms = elapsed_ms(self._period_start_s, now)
        if span_ms <= SYNC_PERIOD_MS:
            return
        if auto_converge:
            moved = transferred - self._period_bytes
            self.throttle.check(moved, self._period_dirty * PAGE_SIZE, params)
        if sent := counters.pages_sent - self._period_pages:
            counters.xbzrle.end_period(sent)
        self._period_pages = counters.pages_sent
        self.pages_per_s = self._period_dirty * 1000 // span_ms
        self._period_start_s = now
        self._period_dirty = 0
        self._period_bytes = transferred
