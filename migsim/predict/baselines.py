"""What others predict with, on the same inputs and with the same kind of answer.

Each is a rule of thumb or a published closed form.  They are here to be compared with; see
docs/fidelity.md for how far off they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import ParameterError
from ..units import PAGE_SIZE
from .hostmodel import REFERENCE, HostModel
from .inputs import Inputs, Pattern
from .result import DowntimeParts, Prediction

Rounds = tuple[float, float, int, bool]
"""Seconds until the stop, bytes left then, rounds, whether it gets there."""
MAX_ROUNDS: Final = 1000


def predict_baseline(name: str, inputs: Inputs, host: HostModel = REFERENCE) -> Prediction:
    """Return the answer of the baseline ``name``.

    Raises:
        ParameterError: no such baseline.
    """
    if name not in BASELINES:
        raise ParameterError("baseline", name, f"one of {', '.join(BASELINES)}")
    speed = speed_bytes_per_s(inputs, host)
    live_s, rest, rounds, ends = BASELINES[name](inputs, speed)
    down_s = rest / speed
    total_s = live_s + down_s
    ends = ends and total_s <= inputs.time_limit_s
    if inputs.stops_first:
        down_s = total_s
    down_ms = 1000 * down_s
    sent = speed * (total_s if ends else inputs.time_limit_s)
    return Prediction(
        model=name,
        status="completed" if ends else "cancelled",
        total_time_ms=1000 * total_s if ends else None,
        downtime_ms=down_ms if ends else None,
        transferred_bytes=round(sent),
        dirty_sync_count=rounds,
        downtime=DowntimeParts(ram_ms=down_ms) if ends else DowntimeParts(),
        assumed=inputs.assumed,
        host=host.name,
    )


def speed_bytes_per_s(inputs: Inputs, host: HostModel) -> float:
    """Return the nominal speed: the limit, the wire or the host, whichever is lowest."""
    limits = [inputs.max_bandwidth, inputs.link_bytes_per_s, PAGE_SIZE / host.page_s(inputs)]
    return float(min(value for value in limits if value))


def _ram_over_bandwidth(inputs: Inputs, speed: float) -> Rounds:
    """RAM size over bandwidth, the figure on the back of every envelope."""
    return _copied(inputs) / speed, 0.0, 1, True


def _half_bandwidth(inputs: Inputs, speed: float) -> Rounds:
    """The same at half the bandwidth, to leave room for what is dirtied meanwhile."""
    return 2 * _copied(inputs) / speed, 0.0, 1, True


def _geometric(inputs: Inputs, speed: float) -> Rounds:
    """Geometric rounds: each as long as the one before times dirty rate over bandwidth."""
    return _rounds(inputs, speed, lambda seconds: _dirty_rate(inputs) * seconds)


def _capped_linear(inputs: Inputs, speed: float) -> Rounds:
    """Geometric rounds of what is not zero, in which no more than the working set gets dirty."""
    top = inputs.working_set[1] * PAGE_SIZE
    return _rounds(
        inputs,
        speed,
        lambda seconds: min(top, _dirty_rate(inputs) * seconds),
        inputs.nonzero_pages * PAGE_SIZE,
    )


def _saturating(inputs: Inputs, speed: float) -> Rounds:
    """Piecewise: the hot set saturates first, then the rest of the working set."""
    top = inputs.working_set[1] * PAGE_SIZE
    rate = _dirty_rate(inputs)
    hot, share = float(top), 1.0
    if inputs.pattern is Pattern.HOT_COLD:
        hot, share = top * inputs.hot_fraction, inputs.hot_share

    def dirtied(seconds: float) -> float:
        return min(hot, rate * share * seconds) + min(top - hot, rate * (1 - share) * seconds)

    return _rounds(inputs, speed, dirtied, inputs.nonzero_pages * PAGE_SIZE)


def _expected_downtime(inputs: Inputs, speed: float) -> Rounds:
    """QEMU's own figure before the stop: dirty bytes over bandwidth, which becomes the limit."""
    live_s, _, rounds, ends = _capped_linear(inputs, speed)
    return live_s, speed * inputs.downtime_limit_ms / 1000, rounds, ends


def _copied(inputs: Inputs) -> float:
    return float(inputs.ram_bytes if inputs.copies_ram else inputs.device_state_bytes)


def _dirty_rate(inputs: Inputs) -> float:
    if inputs.curve is not None:
        return (
            max(
                pages / time
                for time, pages in zip(inputs.curve.seconds, inputs.curve.pages, strict=True)
            )
            * PAGE_SIZE
        )
    return inputs.rate_pages_per_s * PAGE_SIZE


def _rounds(
    inputs: Inputs,
    speed: float,
    dirtied: Callable[[float], float],
    first_bytes: float | None = None,
) -> Rounds:
    left = _copied(inputs) if first_bytes is None or not inputs.copies_ram else first_bytes
    threshold = speed * inputs.downtime_limit_ms / 1000
    if inputs.stops_first:
        return left / speed, 0.0, 1, True
    live_s, rounds = 0.0, 0
    while rounds < MAX_ROUNDS:
        seconds = left / speed
        live_s += seconds
        rounds += 1
        before, left = left, dirtied(seconds)
        if left <= threshold:
            return live_s, left, rounds + 2, True
        if rounds > 1 and left >= before:
            break
    return live_s, left, rounds, False


BASELINES: Final[dict[str, Callable[[Inputs, float], Rounds]]] = {
    "ram-over-bandwidth": _ram_over_bandwidth,
    "half-bandwidth": _half_bandwidth,
    "geometric": _geometric,
    "capped-linear": _capped_linear,
    "saturating": _saturating,
    "expected-downtime": _expected_downtime,
}
"""The baselines by name."""
