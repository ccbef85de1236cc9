"""What a prediction says: status, times, parts of the stop, bytes, passes, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Interval:
    """The range that a quantity falls into with the stated probability.

    Attributes:
        low, high: the bounds, in the unit of the quantity.
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class DowntimeParts:
    """Where the stop goes, in milliseconds.

    Attributes:
        ram_ms: the last pass over RAM.
        device_ms: saving and sending device state.
        fixed_ms: stopping the guest and ending the stream.
        load_ms: what the target still does after the source has finished; not part of QEMU's own
            number.
    """

    ram_ms: float = 0.0
    device_ms: float = 0.0
    fixed_ms: float = 0.0
    load_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class TrajectoryPoint:
    """One rate window or dirty sync of the migration.

    Attributes:
        time_ms: since ``migrate``.
        remaining_bytes: dirty RAM.
        transferred_bytes: sent so far.
        passes: dirty syncs so far.
        throttle: per cent by which the guest is held back.
    """

    time_ms: float
    remaining_bytes: int
    transferred_bytes: int
    passes: int
    throttle: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of one model.

    Attributes:
        model: ``exact``, ``fluid`` or the name of a baseline.
        status: ``completed``, or ``cancelled`` when it does not end within the time limit.
        total_time_ms, downtime_ms: as QEMU reports them; None when it does not end.
        transferred_bytes: all bytes; so far, when it does not end.
        normal_pages, zero_pages: pages sent with and without content.
        dirty_sync_count: passes as QEMU counts them.
        expected_downtime_ms: what QEMU itself would have shown last.
        throttle: per cent by which the guest was held back at the end.
        downtime: the parts of the stop.
        trajectory: the way there, for models that know it.
        intervals: by name of the quantity, at `level`.
        why: short sentences, the deciding one first.
        assumed: inputs that were defaults.
        host: name of the set of host constants.
        seed: decides what is random.
    """

    model: str
    status: str
    total_time_ms: float | None
    downtime_ms: float | None
    transferred_bytes: int
    dirty_sync_count: int
    normal_pages: int = 0
    zero_pages: int = 0
    expected_downtime_ms: int | None = None
    throttle: int = 0
    downtime: DowntimeParts = field(default_factory=DowntimeParts)
    trajectory: tuple[TrajectoryPoint, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    level: float = 0.9
    why: tuple[str, ...] = ()
    assumed: tuple[tuple[str, str], ...] = ()
    host: str = ""
    seed: int = 0

    @property
    def converges(self) -> bool:
        """Whether it ends by itself."""
        return self.status == "completed"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        values = asdict(self)
        values["intervals"] = {
            name: [bounds.low, bounds.high] for name, bounds in self.intervals.items()
        }
        values["assumed"] = dict(self.assumed)
        return values
