"""Time as the core sees it: somebody else's number.

The core never reads a clock.  Drivers own one of these and pass ``now`` in.  Times are float
seconds since the clock was made.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time in seconds, and a way to let it pass."""

    @property
    def now(self) -> float:
        """Seconds since the clock's own beginning."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        ...


class VirtualClock:
    """Time that passes only when told to; exact, and the same on every machine."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    @property
    def now(self) -> float:
        """Seconds since the clock's own beginning."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move time forward by ``seconds`` at once."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += seconds

    def set(self, now: float) -> None:
        """Move time forward to ``now``; an earlier time is refused."""
        if now < self._now:
            raise ValueError("time does not run backwards")
        self._now = now


class WallClock:
    """The host's monotonic clock, beginning at zero."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._start

    def sleep(self, seconds: float) -> None:
        """Block for ``seconds`` of real time."""
        if seconds > 0:
            time.sleep(seconds)
