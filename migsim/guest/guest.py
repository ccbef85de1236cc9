"""A guest: a workload that runs against a block of memory for spans of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from migsim.clock import PS_PER_S
from migsim.errors import ConfigError, StateError
from migsim.ram.watch import Gate

if TYPE_CHECKING:
    from migsim.ram.block import RAMBlock

    from .workload import Workload

# Time is summed in units of 2^-32 ps, so that the rounding of a million small spans stays far
# below half a picosecond.
_FRACTION_BITS = 32
_HALF = 1 << (_FRACTION_BITS - 1)
_TOUCHES_AT_ONCE = 1 << 18
_UNITS_PER_S = float(PS_PER_S << _FRACTION_BITS)


class Guest:
    """Runs a workload in guest time and applies its writes to a RAM block.

    Guest time is a sum of integers, read as the nearest picosecond.  However it is cut into
    calls of ``run``, the writes done after guest time t are those that the workload has ``due``
    by t: ``floor(rate * t)`` at a constant rate, with t in whole picoseconds.  So three times 0.1 s
    are 0.3 s, and three thirds of a second are one.

    Attributes:
        workload: what is written and when.
        clock_ahead_ps: how far the machine's clock is ahead of guest time, in picoseconds.
        stalled_ps: time lost waiting for pages that had not arrived, in picoseconds.
        block: the memory; None for a machine without any, whose guest must be idle.

    Raises:
        ConfigError: the workload writes beyond the block.
    """

    __slots__ = ("_time", "block", "clock_ahead_ps", "stalled_ps", "workload")

    def __init__(self, workload: Workload, block: RAMBlock | None) -> None:
        pages = 0 if block is None else block.pages
        if workload.last_pfn >= pages:
            reason = f"it writes page {workload.last_pfn} of a block of {pages} pages"
            raise ConfigError("workload", reason)
        self.workload = workload
        self.block = block
        self._time = 0
        self.clock_ahead_ps = 0
        self.stalled_ps = 0

    def run(self, seconds: float, share: float = 1.0) -> int:
        """Let the guest run for ``seconds`` with ``share`` (0 to 1) of its processors' time.

        Returns the number of page writes done.  A sleeping guest does nothing, and no guest time
        passes for it; one that falls asleep leaves the rest of the span unused.

        Raises:
            ConfigError: a negative time or share.
        """
        span = seconds * share
        if not 0 <= span < float("inf"):
            raise ConfigError("guest", f"it cannot run for {seconds} s at a share of {share}")
        return self._run(int(span * _UNITS_PER_S))

    def run_ps(self, span_ps: int, percent: int = 100) -> int:
        """Let the guest run for ``span_ps`` whole picoseconds; otherwise as `run`, and exact.

        ``percent`` is its share of its processors' time, 0 to 100.

        Raises:
            ConfigError: a negative time, or no percentage.
        """
        if span_ps < 0 or not 0 <= percent <= 100:
            raise ConfigError("guest", f"it cannot run for {span_ps} ps at {percent} %")
        return self._run((span_ps * percent << _FRACTION_BITS) // 100)

    def _run(self, units: int) -> int:
        workload, block = self.workload, self.block
        if workload.asleep:
            return 0
        self._time += units
        count = workload.due(self.time_ps) - workload.position
        if count <= 0 or block is None:
            return 0
        gate = block.watch
        if isinstance(gate, Gate):
            count = self._passable(gate, count, self._time - units)
            if count <= 0:
                return 0
        done = workload.write(block, count)
        if self.asleep:
            self._time = self._first_time_of(workload.position)
        return done

    def _passable(self, gate: Gate, count: int, begin: int) -> int:
        """Return how many of the next writes can be done; time stops before the one that cannot."""
        workload = self.workload
        looked_at = workload.looked_at(count)
        passable = count if gate.room_for(looked_at) == looked_at.size else 0
        at_once = min(passable, _TOUCHES_AT_ONCE)
        if passable:
            position = workload.position
            touched = workload.take(at_once)
            workload.seek(position)
            passable = gate.room_for(touched)
        if passable < count:
            stopped = self._first_time_of(workload.position + passable + 1)
            stopped = max(begin, stopped - (1 << _FRACTION_BITS))
            self.stalled_ps += (self._time - stopped) >> _FRACTION_BITS
            self._time = stopped
        return passable

    @property
    def time_ps(self) -> int:
        """Guest time since boot in picoseconds."""
        return (self._time + _HALF) >> _FRACTION_BITS

    @property
    def time_s(self) -> float:
        """Guest time since boot in seconds."""
        return self.time_ps / PS_PER_S

    @property
    def writes(self) -> int:
        """Page writes since boot."""
        return self.workload.position

    @property
    def asleep(self) -> bool:
        """Whether the guest has put itself to sleep (run state ``suspended``)."""
        return self.workload.asleep

    def wakeup(self) -> None:
        """Boot the guest again after it slept; guest time starts anew.

        Raises:
            StateError: the guest is not asleep.
        """
        if not self.workload.asleep:
            raise StateError("wakeup", "running", ("suspended",))
        self.workload.wakeup()
        self._time = 0

    def reset(self) -> None:
        """Boot the guest anew, as a reset of the machine does; its memory stays as it is."""
        self.workload.wakeup()
        self._time = 0

    def arrived(self, *, suspended: bool) -> None:
        """Told after a load: go on where the memory is, and sleep on if ``suspended``.

        The memory decides where the stream comes from a real machine, whose time says nothing
        about the guest; one that suspends itself sleeps on.  In postcopy the memory is still to
        come, so the time decides.
        """
        if self.block is not None and not isinstance(self.block.watch, Gate):
            position = self.workload.position_in(self.block)
            if position != self.workload.position:
                self.continue_at(position)
        if suspended:
            self.workload.stay_asleep()

    def take_serial(self) -> bytes:
        """Return what the guest has printed on its serial port since the last call."""
        return self.workload.take_serial()

    def resume_at(self, time_ps: int) -> None:
        """Go on from guest time ``time_ps`` (picoseconds): the writes due by then are done.

        The memory is not touched: it came with the time.
        """
        position = self.workload.due(time_ps)
        self.workload.set_state(self.workload.get_state() | {"position": position})
        self._time = time_ps << _FRACTION_BITS
        self.clock_ahead_ps = 0

    def continue_at(self, position: int) -> None:
        """Go on from the write number ``position``; the machine's clock stays where it is.

        The memory is not touched: it came with the position.
        """
        before = self.time_ps + self.clock_ahead_ps
        self._time = self._first_time_of(position)
        self.workload.set_state(self.workload.get_state() | {"position": position})
        self.clock_ahead_ps = before - self.time_ps

    def get_state(self) -> dict[str, int]:
        """Return what must travel with a migration: whole numbers below 2^64 by name."""
        picoseconds, fraction = divmod(self._time, 1 << _FRACTION_BITS)
        return {"time_ps": picoseconds, "time_fraction": fraction} | self.workload.get_state()

    def set_state(self, state: Mapping[str, int]) -> None:
        """Go on where the guest that ``get_state`` was taken from stood.

        Raises:
            ConfigError: the numbers do not belong to this workload; nothing was changed.
        """
        before = self.get_state()
        self._apply(state)
        if self.workload.due(self.time_ps) != self.workload.position:
            self._apply(before)
            raise ConfigError("guest", "the state was saved under another workload")

    def _apply(self, state: Mapping[str, int]) -> None:
        self.workload.set_state(dict(state))
        self._time = (state["time_ps"] << _FRACTION_BITS) + state["time_fraction"]

    def _first_time_of(self, position: int) -> int:
        """Return the earliest time at which ``position`` writes are due."""
        low, high = 0, max(self.time_ps, 1)
        while self.workload.due(high) < position:
            high *= 2
        while low < high:
            middle = (low + high) // 2
            if self.workload.due(middle) >= position:
                high = middle
            else:
                low = middle + 1
        return low << _FRACTION_BITS
