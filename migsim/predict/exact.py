"""The page-exact prediction: the simulated machine itself, with RAM that is only bitmaps.

This adapter is the one part of the package that runs the engines.  It builds a machine of the
inputs, lets it migrate into a channel that counts, and reads off what QEMU would report.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ..channel.counting import CountingOutput
from ..clock import VirtualClock, picoseconds
from ..errors import ParameterError, StateError
from ..guest.workloads import HotCold, Idle, SequentialSweep, Uniform
from ..machine.config import MachineConfig
from ..machine.driver import VirtualDriver
from ..machine.machine import Machine
from ..migration.source import MigrationSource
from ..qapi.enums import MigrationStatus, RunState
from ..ram.backends import BackendKind, BackendSpec, PhantomBackend
from ..units import PAGE_SIZE
from .costs import Costs
from .formats import CountedOut, PacketPages, PlacedPages
from .hostmodel import REFERENCE, HostModel
from .inputs import Inputs, Pattern
from .result import DowntimeParts, Prediction, TrajectoryPoint
from .small import predict_without_ram
from .throttling import effective_share

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..guest.workload import Workload
    from ..migration.work import Work

CPR_SWITCHES_OFF = frozenset({"mapped-ram", "multifd"})
"""Capabilities that the adapter accounts for itself; the engine never hears of them."""
_RAM = "ram0"


def predict_exact(
    inputs: Inputs, host: HostModel = REFERENCE, *, seed: int = 1, trajectory: bool = False
) -> Prediction:
    """Return what the simulated migration of ``inputs`` on ``host`` does.

    Deterministic: the same inputs, host and seed give the same answer.

    Raises:
        ParameterError: a parameter or capability that is not modelled, or out of range.
    """
    check_modelled(inputs)
    if not inputs.copies_ram:
        return replace(predict_without_ram(inputs, host, "exact"), seed=seed)
    with _PredictedMachine(inputs, host, seed) as machine:
        points: list[TrajectoryPoint] = []
        machine.migrate(CountingOutput())
        with contextlib.suppress(StateError):
            machine.run_until(
                lambda: machine.ended(points if trajectory else None), inputs.time_limit_s
            )
        return _answer(machine, inputs, host, seed, tuple(points))


def workload_of(inputs: Inputs, seed: int) -> Workload:
    """Return the guest's writes as a workload; a measured curve becomes a hot and a cold set."""
    if inputs.curve is not None:
        return _workload_of_curve(inputs, seed)
    first, pages = inputs.working_set
    rate = inputs.rate_pages_per_s
    if not rate or not pages:
        return Idle()
    last = first + pages - 1
    hot = int(inputs.hot_fraction * pages)
    if inputs.pattern is Pattern.SEQUENTIAL:
        return SequentialSweep(first, last, rate_pages_per_s=rate)
    if inputs.pattern is Pattern.HOT_COLD and 0 < hot < pages:
        return HotCold(
            first,
            last,
            rate_pages_per_s=rate,
            hot_pages=hot,
            hot_share=inputs.hot_share,
            seed=seed,
        )
    return Uniform(first, last, rate_pages_per_s=rate, seed=seed)


def _workload_of_curve(inputs: Inputs, seed: int) -> Workload:
    assert inputs.curve is not None
    (hot, hot_rate), (cold, cold_rate) = inputs.curve.mixture(inputs.pages)
    rate = hot_rate + cold_rate
    total = min(inputs.pages, max(1, round(hot + cold)))
    first = min(inputs.working_set[0], inputs.pages - total)
    if not rate:
        return Idle()
    hot_pages = round(hot)
    if not 0 < hot_pages < total:
        return Uniform(first, first + total - 1, rate_pages_per_s=rate, seed=seed)
    return HotCold(
        first,
        first + total - 1,
        rate_pages_per_s=rate,
        hot_pages=hot_pages,
        hot_share=hot_rate / rate,
        seed=seed,
    )


class _Source(MigrationSource):
    """The engine with the accounting of another stream kind."""

    def __init__(self, machine: _PredictedMachine) -> None:
        super().__init__(machine)
        self._machine = machine

    def connect(
        self, channel: OutputChannel, now: float, further: tuple[OutputChannel, ...] = ()
    ) -> None:
        """Connect, then put the other accounting into place."""
        super().connect(channel, now, further)
        inputs = self._machine.inputs
        run = self.run
        if run is None or run.transfer is None or not inputs.copies_ram:
            return
        out = CountedOut(channel)
        if inputs.multifd_channels:
            writer: PlacedPages | PacketPages = PacketPages(out, inputs.multifd_channels)
        elif inputs.mapped_ram:
            writer = PlacedPages(out)
        else:
            return
        run.transfer = replace(run.transfer, out=out, writer=writer)

    def sync(self, now: float, *, first: bool = False, in_loop: bool = True) -> Work:
        writer = self.transfer().writer
        if isinstance(writer, PacketPages):
            writer.flush_packet()
        return super().sync(now, first=first, in_loop=in_loop)


class _PredictedMachine(Machine):
    """A machine made of inputs, whose guest is held up as a real one would be."""

    source: MigrationSource

    def __init__(self, inputs: Inputs, host: HostModel, seed: int) -> None:
        self.inputs = inputs
        self.host = host
        memory = BackendSpec(BackendKind.PHANTOM, _RAM, inputs.ram_bytes)
        super().__init__(MachineConfig(memory=memory, workload=workload_of(inputs, seed)))
        assert isinstance(self.clock, VirtualClock)
        self.costs = Costs(inputs, host, lambda: self.clock.now)
        self.driver = VirtualDriver(self, self.clock, self.costs)
        self.source = _Source(self)
        self.throttled = 0
        backend = self.ram[_RAM].backend
        assert isinstance(backend, PhantomBackend)
        for first, count in inputs.ranges():
            backend.nonzero.set_range(first, first + count)
        if inputs.curve is None and inputs.pattern is Pattern.SEQUENTIAL:
            self.guest.run_ps(picoseconds(inputs.settle_s))
        self.set_parameters(
            {
                "max-bandwidth": inputs.max_bandwidth,
                "downtime-limit": inputs.downtime_limit_ms,
                "mode": inputs.mode,
            }
        )
        self.set_parameters(
            {k: v for k, v in inputs.parameters.items() if not k.startswith("multifd")}
        )
        known = inputs.capabilities - CPR_SWITCHES_OFF - {"events", "x-ignore-shared"}
        self.set_capabilities([(name, True) for name in sorted(known)])

    def step(self, now: float, max_pages: int) -> Work:
        """Do a piece of work; a sleeper wakes up late."""
        work = super().step(now, max_pages)
        self.costs.guest_stopped = (
            not self.inputs.stops_first and self.run.state is not RunState.RUNNING
        )
        if work.wake_at is not None:
            work.wake_at += self.host.wake_late_s
        return work

    def run_guest(self, span_ps: int) -> int | None:
        """Let the guest run; a throttled one makes good part of what it missed."""
        percentage = self.source.throttle_percentage
        if not percentage or self.run.state is not RunState.RUNNING:
            return super().run_guest(span_ps)
        share = effective_share(percentage, self.inputs.catch_up_ms)
        self.guest.run_ps(round(span_ps * share))
        return None

    def ended(self, points: list[TrajectoryPoint] | None) -> bool:
        """Return whether the migration is over; note where it stands."""
        self.throttled = self.source.throttle_percentage or self.throttled
        if points is not None:
            self._note(points)
        return not self.source.running

    def _note(self, points: list[TrajectoryPoint]) -> None:
        run = self.source.run
        if run is None or run.transfer is None:
            return
        last = points[-1] if points else None
        moved = run.transferred
        passes = run.counters.dirty_sync_count
        if last and last.transferred_bytes == moved and last.passes == passes:
            return
        remaining = run.transfer.sender.dirty_pages * PAGE_SIZE
        points.append(
            TrajectoryPoint(
                (self.clock.now - run.started_s) * 1000,
                remaining,
                moved,
                passes,
                self.source.throttle_percentage,
            )
        )


def _answer(
    machine: _PredictedMachine,
    inputs: Inputs,
    host: HostModel,
    seed: int,
    points: tuple[TrajectoryPoint, ...],
) -> Prediction:
    run = machine.source.run
    assert run is not None
    done = machine.source.status.value is MigrationStatus.COMPLETED
    counters = run.counters
    more = _beside(inputs, machine) if done else 0
    parts = DowntimeParts()
    total = downtime = None
    if done:
        assert run.total_ms is not None
        assert run.downtime_ms is not None
        total, downtime = float(run.total_ms), float(run.downtime_ms)
        fixed = 1000 * (host.stop_s + host.device_s)
        device = 1000 * host.device_s
        load = 1000 * host.load_after_s(inputs, counters.normal, counters.duplicate)
        parts = DowntimeParts(max(0.0, downtime - fixed), device, 1000 * host.stop_s, load)
    return Prediction(
        model="exact",
        status="completed" if done else "cancelled",
        total_time_ms=total,
        downtime_ms=downtime,
        transferred_bytes=run.transferred + more,
        dirty_sync_count=counters.dirty_sync_count,
        normal_pages=counters.normal + (inputs.own_pages[0] if done else 0),
        zero_pages=counters.duplicate + (inputs.own_pages[1] if done else 0),
        expected_downtime_ms=run.convergence.expected_downtime_ms,
        throttle=machine.throttled,
        downtime=parts,
        trajectory=points,
        assumed=inputs.assumed,
        host=host.name,
        seed=seed,
    )


def _beside(inputs: Inputs, machine: _PredictedMachine) -> int:
    """Return the bytes that the simulated machine leaves out: devices and small blocks."""
    normal, zero = inputs.own_pages
    ram = normal * (PAGE_SIZE + 8) + zero * 9
    bitmap = inputs.pages // 8 if inputs.mapped_ram else 0
    return inputs.device_state_bytes + ram + bitmap - BARE_STREAM_BYTES


BARE_STREAM_BYTES = 1350
"""Stream of a simulated machine without devices, which the real one's state replaces."""


def check_modelled(inputs: Inputs) -> None:
    """Refuse capabilities whose effect on time and bytes is not modelled.

    Raises:
        ParameterError: one of them is on.
    """
    known = {"events", "auto-converge", "x-ignore-shared", *CPR_SWITCHES_OFF}
    known |= {"return-path", "late-block-activate", "validate-uuid", "switchover-ack"}
    unknown = sorted(inputs.capabilities - known)
    if unknown:
        raise ParameterError("capabilities", ", ".join(unknown), "capabilities that are modelled")
