"""What the counters of a running migration promise: when it ends, and how long the stop will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..units import PAGE_SIZE

if TYPE_CHECKING:
    from .sample import Sample

WINDOW_S: Final = 2.0
"""Time over which the rate of sending is taken."""
PASSES_AT_MOST: Final = 1000
_RUNNING: Final = ("setup", "active")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected if rates stay as they are.

    Attributes:
        converges: whether the rest gets small enough; None while nothing is known about the guest's
            writes.
        left_s: seconds until the end, or at most until that of the first pass; None if it does not
            end.
        stop_ms: how long the guest will stand still for its last pages.
        rate_bytes_per_s: rate of sending that this rests on.
    """

    converges: bool | None
    left_s: float | None
    stop_ms: float | None
    rate_bytes_per_s: float


def forecast(samples: Sequence[Sample], downtime_limit_ms: int) -> Forecast | None:
    """Return the forecast behind the last of ``samples``, or None where no migration is sending.

    Each pass sends what the guest dirtied in the one before it, at rates that stay (spec
    lifecycle.md section 6); the guest stops when the rest fits into the downtime limit.  The
    guest's rate is the one that QEMU counted in the last whole pass, so in the first pass there
    is none, and all that is known is how long the rest of that pass takes if no page of it is zero.
    """
    last = samples[-1]
    if last.status not in _RUNNING or not last.passes:
        return None
    rate = sending_rate(samples)
    if not rate:
        return None
    dirtied = last.dirty_pages_per_s * PAGE_SIZE
    if not dirtied and last.passes == 1:
        return Forecast(None, last.remaining_bytes / rate, None, rate)
    passed, rest = 0.0, float(last.remaining_bytes)
    for _ in range(PASSES_AT_MOST):
        if rest / rate * 1000 <= downtime_limit_ms:
            stop_s = rest / rate
            return Forecast(True, passed + stop_s, stop_s * 1000, rate)
        passed += rest / rate
        after = rest / rate * dirtied
        if after >= rest:
            break
        rest = after
    return Forecast(False, None, None, rate)


def sending_rate(samples: Sequence[Sample]) -> float:
    """Return the bytes sent per second over the last `WINDOW_S` seconds of ``samples``."""
    last = samples[-1]
    for one in reversed(samples[:-1]):
        first = one
        if last.time_s - one.time_s >= WINDOW_S or not one.passes:
            break
    else:
        if len(samples) == 1:
            return last.mbps * 1e6 / 8
    seconds = last.time_s - first.time_s
    sent = last.transferred_bytes - first.transferred_bytes
    return sent / seconds if seconds > 0 and sent > 0 else last.mbps * 1e6 / 8
