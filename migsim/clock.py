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


PS_PER_S = 10**12
"""Picoseconds in a second: the grain of virtual time."""


def picoseconds(seconds: float) -> int:
    """Return ``seconds`` as the nearest whole number of picoseconds."""
    return round(seconds * PS_PER_S)


class VirtualClock:
    """Time that passes only when told to; exact, and the same on every machine.

    It counts whole picoseconds, so that three times 0.1 s are 0.3 s.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now_ps = picoseconds(start)

    @property
    def now(self) -> float:
        """Seconds since the clock's own beginning."""
        return self._now_ps / PS_PER_S

    @property
    def now_ps(self) -> int:
        """Picoseconds since the clock's own beginning."""
        return self._now_ps

    def sleep(self, seconds: float) -> None:
        """Move time forward by ``seconds`` at once."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now_ps += picoseconds(seconds)

    def set(self, now: float) -> None:
        """Move time forward to ``now`` (seconds); an earlier time is refused."""
        self.set_ps(picoseconds(now))

    def set_ps(self, now_ps: int) -> None:
        """Move time forward to ``now_ps`` (picoseconds); an earlier time is refused."""
        if now_ps < self._now_ps:
            raise ValueError("time does not run backwards")
        self._now_ps = now_ps


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
