"""A whole migration as values: what pictures, traces and tables are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError
from .sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STOPPED = ("finish-migrate", "postmigrate", "paused")


@dataclass(frozen=True, slots=True)
class Moment:
    """One event: its QMP name and members, and when it came, in seconds of the recording."""

    time_s: float
    name: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds of the recording, in which ``name`` held."""

    name: str
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Recording:
    """A migration from shortly before ``migrate`` to its end.

    Attributes:
        samples: looks at it in order of time, at least one.
        events: what was announced, in order of time.
        mode: migration mode by its QMP name.
        ram_bytes: RAM of the guest.
        bandwidth_bytes_per_s: ``max-bandwidth``; 0 is no limit.
        downtime_limit_ms: ``downtime-limit``.
        heat: how many pages of each stretch of RAM were still to be sent at each sample, shape
            (samples, stretches), int64; None when nobody could look.
    """

    samples: tuple[Sample, ...]
    events: tuple[Moment, ...] = ()
    mode: str = "normal"
    ram_bytes: int = 0
    bandwidth_bytes_per_s: int = 0
    downtime_limit_ms: int = 0
    heat: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)

    @property
    def end_s(self) -> float:
        """Time of the last sample."""
        return self.samples[-1].time_s

    @property
    def status(self) -> str:
        """Migration status at the end."""
        return self.samples[-1].status

    def run_states(self) -> tuple[Span, ...]:
        """Return the run states that the samples saw, one after the other."""
        return _spans(self.samples, "run_state")

    def statuses(self) -> tuple[Span, ...]:
        """Return the migration statuses that the samples saw, one after the other."""
        return _spans(self.samples, "status")

    def passes(self) -> tuple[Span, ...]:
        """Return the passes over RAM, named ``pass 1``, ``pass 2`` and so on."""
        sending = [one for one in self.samples if one.passes]
        return tuple(
            Span(f"pass {span.name}", span.start_s, span.end_s)
            for span in _spans(sending, "passes")
        )

    def stop(self) -> Span | None:
        """Return when the guest stood still because of the migration; None if it never did."""
        begun = next((one.time_s for one in self.events if one.name == "STOP"), None)
        still = [span for span in self.run_states() if span.name in _STOPPED]
        if begun is None:
            begun = still[0].start_s if still else None
        if begun is None:
            return None
        ended = [one.time_s for one in self.events if _ends_a_stop(one) and one.time_s >= begun]
        return Span("stopped", begun, ended[0] if ended else self.end_s)

    def to_dict(self) -> dict[str, Any]:
        """Return the recording as JSON values."""
        values = asdict(self)
        values["heat"] = None if self.heat is None else self.heat.tolist()
        values["events"] = [
            {"time_s": one.time_s, "name": one.name, "data": dict(one.data)} for one in self.events
        ]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recording:
        """Return the recording that `to_dict` made ``values`` from.

        Raises:
            ConfigError: they are something else.
        """
        try:
            heat = values.get("heat")
            rest = {k: values[k] for k in values if k not in ("samples", "events", "heat")}
            return cls(
                samples=tuple(Sample(**one) for one in values["samples"]),
                events=tuple(Moment(**one) for one in values["events"]),
                heat=None if heat is None else np.array(heat, np.int64),
                **rest,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError("recording", f"is no recording of a migration: {error}") from error


def _ends_a_stop(event: Moment) -> bool:
    return event.name == "RESUME" or (
        event.name == "MIGRATION" and event.data.get("status") in ("completed", "failed")
    )


def _spans(samples: Sequence[Sample], name: str) -> tuple[Span, ...]:
    """Return the stretches in which the member ``name`` of the samples stayed as it was."""
    spans: list[Span] = []
    for sample in samples:
        value = str(getattr(sample, name))
        if spans and spans[-1].name == value:
            spans[-1] = Span(value, spans[-1].start_s, sample.time_s)
        else:
            if spans:
                spans[-1] = Span(spans[-1].name, spans[-1].start_s, sample.time_s)
            spans.append(Span(value, sample.time_s, sample.time_s))
    return tuple(spans)
