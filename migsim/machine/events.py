"""Events that a machine emits, with the time at which it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """One asynchronous event under its QMP name.

    Attributes:
        name: ``STOP``, ``RESUME``, ``MIGRATION``, ...
        data: its members; empty when QMP sends none.
        time: when it happened, in seconds of the machine's clock.
    """

    name: str
    data: Mapping[str, object] = field(default_factory=dict)
    time: float = 0.0

    def qmp(self, epoch_s: float = 0.0) -> dict[str, object]:
        """Return the event as a QMP message.

        ``epoch_s`` is the Unix time, in seconds, of the clock's beginning.
        """
        seconds, fraction = divmod(epoch_s + self.time, 1.0)
        message: dict[str, object] = {
            "timestamp": {"seconds": int(seconds), "microseconds": int(fraction * 1e6)},
            "event": self.name,
        }
        if self.data:
            message["data"] = dict(self.data)
        return message

    def __str__(self) -> str:
        members = " ".join(f"{key}={value}" for key, value in self.data.items())
        return f"{self.name} {members}".rstrip()
