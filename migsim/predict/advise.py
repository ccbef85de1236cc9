"""Settings from goals: which way of migrating keeps a longest stop and time, and why not others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .compare import ways
from .fluid import predict_fluid_many
from .hostmodel import REFERENCE, HostModel
from .models import predict_with

if TYPE_CHECKING:
    from .inputs import Inputs
    from .result import Prediction

LIMITS_MS: Final = (20, 50, 100, 300, 1000, 2000)
"""Values of downtime-limit that are tried, as far as the goal allows."""
CONFIRMED: Final = 5
"""Settings whose answer is worked out page by page before they are recommended."""


@dataclass(frozen=True, slots=True)
class Goals:
    """What a user wants.

    Attributes:
        stop_ms: longest stop of the guest.
        total_s: longest time in all.
        throttle: whether the guest may be slowed down.
        modes: migration modes that are possible.
    """

    stop_ms: float
    total_s: float
    throttle: bool = True
    modes: frozenset[str] = frozenset({"normal", "cpr-reboot"})


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting and how it does.

    Attributes:
        label: the way to migrate.
        settings: parameters by QMP name.
        prediction: what is expected.
        rejected: why it does not meet the goals; empty when it does.
    """

    label: str
    settings: dict[str, Any]
    prediction: Prediction
    rejected: str = ""


def advise(
    inputs: Inputs, goals: Goals, host: HostModel = REFERENCE, *, seed: int = 1
) -> tuple[Advice, ...]:
    """Return settings for ``inputs``: those that meet the goals first, the best of them first.

    All are judged by the fluid model at the pessimistic end; the best are confirmed by the
    page-exact one.
    """
    limited = inputs.with_settings(time_limit_s=max(goals.total_s, 1e-3))
    candidates = [
        (way.label, way.inputs.with_settings(downtime_limit_ms=limit))
        for way in ways(limited)
        for limit in _limits(way.inputs, goals)
    ]
    answers = predict_fluid_many([one for _, one in candidates], host)
    judged = [
        Advice(label, _settings(one), answer, _reason(one, answer, goals))
        for (label, one), answer in zip(candidates, answers, strict=True)
    ]
    by_rank = sorted(range(len(judged)), key=lambda i: _rank(judged[i]))
    out = [judged[i] for i in by_rank]
    for place, index in enumerate(by_rank[:CONFIRMED]):
        label, one = candidates[index]
        answer = predict_with("exact", one, host, seed=seed)
        out[place] = Advice(label, _settings(one), answer, _reason(one, answer, goals))
    return tuple(sorted(out, key=_rank))


def _limits(inputs: Inputs, goals: Goals) -> list[int]:
    if inputs.stops_first:
        return [inputs.downtime_limit_ms]
    return [limit for limit in LIMITS_MS if limit <= goals.stop_ms] or [max(1, int(goals.stop_ms))]


def _settings(inputs: Inputs) -> dict[str, Any]:
    settings: dict[str, Any] = {"mode": inputs.mode, "max-bandwidth": inputs.max_bandwidth}
    if not inputs.stops_first:
        settings["downtime-limit"] = inputs.downtime_limit_ms
    settings["capabilities"] = sorted(inputs.capabilities)
    return settings


def _reason(inputs: Inputs, answer: Prediction, goals: Goals) -> str:
    """Return why the goals are missed, or nothing."""
    if inputs.mode not in goals.modes:
        return f"mode {inputs.mode} is not wanted"
    if inputs.auto_converge and not goals.throttle:
        return "the guest must not be slowed down"
    if not answer.converges:
        return f"does not end within {goals.total_s:g} s"
    stop, total = answer.downtime_ms or 0.0, answer.total_time_ms or 0.0
    bounds = answer.intervals
    stop = max(stop, bounds["downtime_ms"].high) if "downtime_ms" in bounds else stop
    total = max(total, bounds["total_time_ms"].high) if "total_time_ms" in bounds else total
    if stop > goals.stop_ms:
        return f"may stop the guest for {stop:.0f} ms, more than {goals.stop_ms:.0f}"
    if total > 1000 * goals.total_s:
        return f"may take {total / 1000:.1f} s, more than {goals.total_s:g}"
    return ""


def _rank(advice: Advice) -> tuple[bool, bool, float, float]:
    answer = advice.prediction
    never = float("inf")
    total = never if answer.total_time_ms is None else answer.total_time_ms
    stop = never if answer.downtime_ms is None else answer.downtime_ms
    return bool(advice.rejected), bool(answer.throttle), total + 10 * stop, stop
