"""Drivers: what turns steps into time.

The virtual driver asks a `HostTiming` how long each step took and lets the guest run for exactly
that long.  The wall driver does the work as fast as it can and lets the guest run by the real
clock.  Both only ever call ``step`` and ``run_guest`` of a `Steppable`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..clock import picoseconds
from ..errors import StateError
from ..migration.convergence import SLICE_S
from ..migration.work import Work

if TYPE_CHECKING:
    from ..clock import VirtualClock, WallClock
    from .timing import Timing

WALL_SLICE_PAGES = 2048
"""Pages sent between two looks at the real clock: about 3 ms of work."""
WALL_TICK_S = 0.01
"""How long the wall driver sleeps when nothing is to be done, in seconds."""


class Steppable(Protocol):
    """What a driver drives."""

    @property
    def busy(self) -> bool:
        """Whether an engine has something to do, now or later."""
        ...

    def step(self, now: float, max_pages: int) -> Work:
        """Do the next piece of engine work."""
        ...

    def run_guest(self, span_ps: int) -> int | None:
        """Let the guest run for ``span_ps`` picoseconds, if its run state lets it.

        Returns after how many of them it put itself to sleep, or None if it did not.
        """
        ...

    def guest_slept(self) -> None:
        """Told, at the moment that `run_guest` returned, to suspend the guest."""
        ...


class VirtualDriver:
    """Deterministic time: same machine, same seed, same calls, same events and bytes.

    ``advance(a)`` then ``advance(b)`` is the same as ``advance(a + b)``: a step whose time is not
    over yet stays under way, and all sums of time are sums of whole picoseconds.
    """

    def __init__(self, machine: Steppable, clock: VirtualClock, timing: Timing) -> None:
        self._machine = machine
        self.clock = clock
        self.timing = timing
        self._busy_until_ps = clock.now_ps
        self._slice_pages = timing.pages_in(SLICE_S)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        deadline_ps = self.clock.now_ps + picoseconds(seconds)
        while self.clock.now_ps < deadline_ps:
            if not self._turn(deadline_ps):
                self._pass_to(deadline_ps)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Let time pass until ``done()``, checked after every step.

        Raises:
            StateError: it was not done within ``limit_s`` seconds of virtual time, or no engine
                is left that could bring it about without a command.
        """
        deadline_ps = self.clock.now_ps + picoseconds(limit_s)
        while not done():
            if self.clock.now_ps >= deadline_ps or not self._machine.busy:
                raise StateError("run_until", "unfinished", hint=f"not done after {limit_s} s")
            if not self._turn(deadline_ps):
                raise StateError("run_until", "waiting", hint="the migration waits for a command")

    def catch_up(self) -> None:
        """Do nothing: virtual time does not pass between calls."""

    def turn(self) -> bool:
        """Go on to the end of the step under way, or do the next step of an engine.

        Returns False, and no time passes, when an engine waits for something else than time.
        """
        now_ps = self.clock.now_ps
        if self._busy_until_ps <= now_ps and not self._turn(now_ps):
            return False
        self._pass_to(self._busy_until_ps)
        return True

    def _turn(self, deadline_ps: int) -> bool:
        """Go on to the end of the step under way, or do the next one; False if there is none."""
        if self._busy_until_ps > self.clock.now_ps:
            self._pass_to(min(self._busy_until_ps, deadline_ps))
            return True
        if not self._machine.busy:
            return False
        now = self.clock.now
        work = self._machine.step(now, self._slice_pages)
        if work.idle:
            return False
        if work.wake_at is not None:
            self._busy_until_ps = max(picoseconds(work.wake_at), self.clock.now_ps + 1)
        else:
            self._busy_until_ps = self.clock.now_ps + picoseconds(self.timing.seconds(work))
        return True

    def _pass_to(self, moment_ps: int) -> None:
        before_ps = self.clock.now_ps
        if moment_ps <= before_ps:
            return
        slept_ps = self._machine.run_guest(moment_ps - before_ps)
        if slept_ps is not None:
            self.clock.set_ps(before_ps + slept_ps)
            self._machine.guest_slept()
        self.clock.set_ps(moment_ps)


class WallDriver:
    """Real time: work as fast as the machine can, a guest that runs by the real clock."""

    def __init__(self, machine: Steppable, clock: WallClock) -> None:
        self._machine = machine
        self.clock = clock
        self._guest_until = clock.now

    def advance(self, seconds: float) -> None:
        """Work and sleep for ``seconds`` of real time."""
        deadline = self.clock.now + seconds
        self._loop(lambda: self.clock.now >= deadline, deadline)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Work until ``done()``, checked after every step.

        Raises:
            StateError: it was not done within ``limit_s`` seconds.
        """
        deadline = self.clock.now + limit_s
        self._loop(lambda: done() or self.clock.now >= deadline, deadline)
        if not done():
            raise StateError("run_until", "unfinished", hint=f"not done after {limit_s} s")

    def catch_up(self) -> None:
        """Let the guest run up to the present; needed before its run state changes."""
        now = self.clock.now
        if now > self._guest_until:
            slept_ps = self._machine.run_guest(picoseconds(now - self._guest_until))
            self._guest_until = now
            if slept_ps is not None:
                self._machine.guest_slept()

    def turn(self) -> float | None:
        """Do one piece of work, without sleeping.

        Returns after how many seconds the next one is due; None when an engine waits for
        something else, or has nothing to do.
        """
        self.catch_up()
        if not self._machine.busy:
            return None
        work = self._machine.step(self.clock.now, WALL_SLICE_PAGES)
        if work.wake_at is not None:
            return max(0.0, work.wake_at - self.clock.now)
        return None if work.idle else 0.0

    def _loop(self, over: Callable[[], bool], deadline: float) -> None:
        while True:
            self.catch_up()
            if over():
                return
            work = Work(idle=True)
            if self._machine.busy:
                work = self._machine.step(self.clock.now, WALL_SLICE_PAGES)
            if work.idle:
                self.clock.sleep(min(WALL_TICK_S, deadline - self.clock.now))
            elif work.wake_at is not None:
                self.clock.sleep(min(work.wake_at, deadline) - self.clock.now)
