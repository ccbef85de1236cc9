"""What ``query-migrate`` answers (spec lifecycle.md section 4, QEMU 10.0).

Which members appear depends on the status alone; the tables below say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..qapi.enums import MigrationStatus
from ..qapi.transitions import POSTCOPY_STATUSES
from ..units import PAGE_SIZE
from .convergence import elapsed_ms

if TYPE_CHECKING:
    from .incoming import MigrationIncoming
    from .run import Run
    from .source import MigrationSource

_UNDER_WAY = frozenset(
    {
        MigrationStatus.ACTIVE,
        MigrationStatus.CANCELLING,
        MigrationStatus.PRE_SWITCHOVER,
        MigrationStatus.DEVICE,
        MigrationStatus.FAILING,
    }
)
"""Statuses that report times and RAM of a migration that is still going on."""


def query_migrate(
    source: MigrationSource,
    incoming: MigrationIncoming,
    blocked_reasons: Sequence[str],
    ram_total_bytes: int,
    now: float,
    *,
    xbzrle_cache_bytes: int | None = None,
) -> dict[str, object]:
    """Return the members of ``query-migrate``, times in whole milliseconds.

    The outgoing side is shown if it has a status, else the incoming one.  ``ram_total_bytes`` is
    worked out by the caller with the mode and capabilities of this moment, as QEMU does.
    ``xbzrle_cache_bytes`` is the size of the cache while capability xbzrle is on; that is all it
    takes for its group to appear.
    """
    info: dict[str, object] = {}
    if blocked_reasons:
        info["blocked-reasons"] = list(blocked_reasons)
    if source.status.value is MigrationStatus.NONE or source.run is None:
        if incoming.status.value is not MigrationStatus.NONE:
            info["status"] = incoming.status.value.value
            if incoming.addresses:
                info["socket-address"] = list(incoming.addresses)
            if incoming.error is not None:
                info["error-desc"] = str(incoming.error)
        return info
    status, run = source.status.value, source.run
    info["status"] = status.value
    if source.error is not None:
        info["error-desc"] = str(source.error)
    if status in _UNDER_WAY:
        info["total-time"] = elapsed_ms(run.started_s, now)
        info["setup-time"] = run.setup_ms
        info["expected-downtime"] = run.convergence.expected_downtime_ms
        if source.throttle_percentage:
            info["cpu-throttle-percentage"] = source.throttle_percentage
        info["ram"] = ram = _ram(run, ram_total_bytes)
        if source.reports_remaining:
            info["remaining"] = ram["remaining"]
    elif status in POSTCOPY_STATUSES:
        info["total-time"] = elapsed_ms(run.started_s, now)
        info["setup-time"] = run.setup_ms
        info["downtime"] = run.downtime_ms or 0
        info["ram"] = _ram(run, ram_total_bytes)
    elif status is MigrationStatus.COMPLETED:
        info["total-time"] = run.total_ms
        info["setup-time"] = run.setup_ms
        info["downtime"] = run.downtime_ms
        info["ram"] = _ram(run, ram_total_bytes)
    if xbzrle_cache_bytes is not None and "ram" in info:
        info["xbzrle-cache"] = {"cache-size": xbzrle_cache_bytes} | _xbzrle(run)
    return info


def _ram(run: Run, total_bytes: int) -> dict[str, object]:
    """All 17 members of ``ram``; the ones of features that are off are 0."""
    counters = run.counters
    done = run.transfer is None
    sender = run.parked if run.transfer is None else run.transfer.sender
    remaining = 0 if sender is None else sender.dirty_pages * PAGE_SIZE
    return {
        "transferred": run.transferred,
        "remaining": remaining,
        "total": total_bytes,
        "duplicate": counters.duplicate,
        "normal": counters.normal,
        "normal-bytes": counters.normal * PAGE_SIZE,
        "dirty-pages-rate": 0 if done else run.dirty_rate.pages_per_s,
        "mbps": run.convergence.mbps if run.final_mbps is None else run.final_mbps,
        "dirty-sync-count": counters.dirty_sync_count,
        "postcopy-requests": counters.postcopy_requests,
        "page-size": PAGE_SIZE,
        "multifd-bytes": counters.multifd_bytes,
        "pages-per-second": run.convergence.pages_per_second,
        "precopy-bytes": counters.precopy_bytes,
        "downtime-bytes": counters.downtime_bytes,
        "postcopy-bytes": counters.postcopy_bytes,
        "dirty-sync-missed-zero-copy": 0,
    }


def _xbzrle(run: Run) -> dict[str, object]:
    stats = run.counters.xbzrle
    return {
        "bytes": stats.bytes,
        "pages": stats.pages,
        "cache-miss": stats.cache_miss,
        "cache-miss-rate": stats.cache_miss_rate,
        "encoding-rate": stats.encoding_rate,
        "overflow": stats.overflow,
    }
