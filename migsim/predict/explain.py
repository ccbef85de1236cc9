"""Why a prediction is what it is, in short sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import MIB, PAGE_SIZE, format_size

if TYPE_CHECKING:
    from .inputs import Inputs
    from .result import Prediction


def explain(inputs: Inputs, prediction: Prediction) -> tuple[str, ...]:
    """Return the reasons behind ``prediction``, the deciding one first."""
    reasons: list[str] = []
    if not inputs.copies_ram:
        return ("RAM stays in its shared file: only device state is sent.",)
    if inputs.stops_first:
        reasons.append(
            f"{inputs.mode} stops the guest first: the stop lasts as long as the whole copy, and"
            " downtime-limit plays no part."
        )
    dirty = inputs.rate_pages_per_s * PAGE_SIZE
    speed = _speed(inputs)
    reasons.append(_binding(inputs))
    if not prediction.converges:
        text = "it does not end within the time limit"
        if dirty and speed:
            text = (
                f"passes do not shrink: the guest writes up to {dirty / MIB:.0f} MiB/s into"
                f" {format_size(inputs.working_set[1] * PAGE_SIZE)} while {speed / MIB:.0f} MiB/s"
                " leave, and what is dirty stays above the threshold of"
                f" {format_size(speed * inputs.downtime_limit_ms / 1000)}"
            )
        reasons.insert(0, f"Not converging: {text}.")
    elif not inputs.stops_first:
        limit = "" if not speed else f" ({format_size(speed * inputs.downtime_limit_ms / 1000)})"
        reasons.append(
            f"The guest is stopped once what is dirty falls below the measured bandwidth times"
            f" downtime-limit{limit}; that was after {prediction.dirty_sync_count} passes."
        )
    if prediction.throttle:
        reasons.append(f"The guest was throttled by {prediction.throttle} % at the end.")
    return tuple(reasons)


def _speed(inputs: Inputs) -> int:
    speeds = [value for value in (inputs.max_bandwidth, inputs.link_bytes_per_s) if value]
    return int(min(speeds, default=0))


def _binding(inputs: Inputs) -> str:
    speed = _speed(inputs)
    if not speed:
        return "Nothing limits the speed but the host."
    name = "max-bandwidth" if speed == inputs.max_bandwidth else "the wire"
    return f"{name} of {speed / MIB:.0f} MiB/s limits the speed."
