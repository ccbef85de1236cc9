"""Faults of channels as values: what breaks, where, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ...channel.faults import Fault, FaultKind, FaultyInput, FaultyOutput

if TYPE_CHECKING:
    from ...channel.base import InputChannel, OutputChannel


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Breaks the writing or the reading side of a channel, or (``fault`` None) neither."""

    fault: Fault | None = None
    when_reading: bool = False

    def output(self, inner: OutputChannel) -> OutputChannel:
        """Return ``inner``, or what breaks around it."""
        if self.fault is None or self.when_reading:
            return inner
        return FaultyOutput(inner, self.fault)

    def input(self, inner: InputChannel) -> InputChannel:
        """Return ``inner``, or what breaks around it."""
        if self.fault is None or not self.when_reading:
            return inner
        return FaultyInput(inner, self.fault)


@st.composite
def fault_plans(draw: st.DrawFn, most_bytes: int = 600_000) -> FaultPlan:
    """Return a fault within the first ``most_bytes`` bytes, or none; shrinks to none."""
    if draw(st.booleans()):
        kind = draw(st.sampled_from(FaultKind))
        return FaultPlan(Fault(draw(st.integers(0, most_bytes)), kind), draw(st.booleans()))
    return FaultPlan()
