"""One look at a migration: what ``query-migrate`` and ``query-status`` said at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """What a source said of its migration at one moment.

    Attributes:
        time_s: seconds since the recording began.
        status: migration status by its QMP name; ``none`` before a migration.
        run_state: run state of the guest by its QMP name.
        remaining_bytes: RAM still to be sent.
        transferred_bytes: bytes sent so far.
        passes: passes over RAM begun (``dirty-sync-count``).
        mbps: rate of sending, megabits per second, as QEMU counts it.
        dirty_pages_per_s: how fast the guest dirtied pages in the last pass.
        throttle_percent: by how much auto-converge slows the guest.
        expected_downtime_ms: QEMU's own estimate of the stop; None when it gives none.
        downtime_ms: the stop, once it is over.
        total_time_ms: time of the migration so far, or in all.
    """

    time_s: float
    status: str = "none"
    run_state: str = "running"
    remaining_bytes: int = 0
    transferred_bytes: int = 0
    passes: int = 0
    mbps: float = 0.0
    dirty_pages_per_s: int = 0
    throttle_percent: int = 0
    expected_downtime_ms: int | None = None
    downtime_ms: int | None = None
    total_time_ms: int | None = None

    @classmethod
    def of(
        cls, time_s: float, migration: Mapping[str, object], status: Mapping[str, object]
    ) -> Sample:
        """Return the sample in the replies of ``query-migrate`` and ``query-status``.

        Members that a reply lacks, or that are no numbers, count as not given: the other side may
        be any release.
        """
        ram = migration.get("ram")
        ram = ram if isinstance(ram, Mapping) else {}
        return cls(
            time_s,
            str(migration.get("status", "none")),
            str(status.get("status", "running")),
            remaining_bytes=_whole(ram, "remaining") or 0,
            transferred_bytes=_whole(ram, "transferred") or 0,
            passes=_whole(ram, "dirty-sync-count") or 0,
            mbps=_number(ram, "mbps"),
            dirty_pages_per_s=_whole(ram, "dirty-pages-rate") or 0,
            throttle_percent=_whole(migration, "cpu-throttle-percentage") or 0,
            expected_downtime_ms=_whole(migration, "expected-downtime"),
            downtime_ms=_whole(migration, "downtime"),
            total_time_ms=_whole(migration, "total-time"),
        )


def _whole(members: Mapping[str, object], name: str) -> int | None:
    value = members.get(name)
    return int(value) if isinstance(value, int | float) else None


def _number(members: Mapping[str, object], name: str) -> float:
    value = members.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
