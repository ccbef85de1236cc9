"""The sending engine: one outgoing migration at a time, stepped.

Each `MigrationSource.step` does one bounded piece of work and returns it as `Work`; whoever
drives the engine decides what that means in time and lets the guest run for exactly that long.
Commands fall between steps.

::

    migrate -> [CPR: guest stops] -> SETUP -> ITERATE (n parts) -> switchover: guest stops
            -> [pre-switchover: waits for migrate-continue] -> FINAL_RAM -> DEVICES -> FINISH

The loop, its order and its numbers are those of spec lifecycle.md section 6 (QEMU 10.0).
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import AbortError, ChannelError, DeviceError, MigsimError, StateError, TransitionError
from ..qapi.enums import Capability, MigMode, MigrationStatus, RunState, ZeroPageDetection
from ..qapi.transitions import IDLE_STATUSES, POSTCOPY_STATUSES, RUNNING_STATUSES, live_states
from ..stream.items import BlockInfo
from ..stream.options import StreamOptions
from ..stream.outfile import OutFile
from ..stream.wire import EOS_BYTES, CommandKind, SectionType
from ..stream.writer import StreamWriter
from ..units import PAGE_SIZE
from .convergence import Convergence, elapsed_ms
from .modes import ModePolicy, policy_for
from .notifiers import Notice, NotifyEvent
from .ram_sender import RamSender
from .statistics import DirtyRate, RamCounters
from .status import StatusVariable
from .work import Phase, Work

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..ram.block import RAMBlock
    from .environment import MachineView

RAM_SECTION_ID = 1
"""Number under which every machine registers its RAM (spec stream.md section 4.2)."""
DEVICE_STATUS_SINCE = "10.0"
"""The release from which every migration passes through ``device`` (spec modes.md 8)."""
FAILING_SINCE = "11.0"
"""The release from which a failure is ``failing`` until everything is cleaned up."""
SUSPENDED_SINCE = "9.0"
"""The release from which a suspended guest stays suspended; before, switchover woke it up."""
EARLY_STOP_SINCE = "9.0"
"""The release from which strict profile finds the early stop by the mode of the moment."""
LOOP_COUNTS_SINCE = "11.1"
"""The release from which the loop, not every dirty sync, counts and reports passes.

The sync of setup is pass 1 without an event, the one of switchover is none; and the loop syncs
before every switchover, however short the migration (event order of 11.1.3).
"""
REMAINING_SINCE = "11.1"
"""The release from which ``query-migrate`` has a member ``remaining`` beside that of ``ram``."""


class Stage(enum.Enum):
    """Where an outgoing migration stands."""

    SETUP = "setup"
    ACTIVATE = "activate"
    ITERATE = "iterate"
    PRE_SWITCHOVER = "pre-switchover"
    FINAL_SYNC = "final-sync"
    FINAL_RAM = "final-ram"
    DEVICES = "devices"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The open end of a migration: channel, accounting, records, and the scan over RAM."""

    channel: OutputChannel
    out: OutFile
    writer: StreamWriter
    sender: RamSender


@dataclass(slots=True)
class Run:
    """Everything that belongs to one migration and is new with the next.

    Attributes:
        policy: the decisions of the mode, latched when ``migrate`` was given.
        started_s: when ``migrate`` was given.
        stage: what the next step does.
        counters: pages and bytes of RAM.
        convergence: rate window and switchover threshold.
        dirty_rate: dirty rate and throttle.
        setup_ms, downtime_ms, total_ms: as ``query-migrate`` shows them, once known.
        old_state: the guest's run state before migration stopped it, or None.
        transfer: the open channel and what writes to it; None before and after.
        transferred: bytes that have left, as QEMU's file object counts them.
        total_bytes: RAM that this migration copies.
    """

    policy: ModePolicy
    started_s: float
    convergence: Convergence
    stage: Stage = Stage.SETUP
    counters: RamCounters = field(default_factory=RamCounters)
    dirty_rate: DirtyRate = field(default_factory=DirtyRate)
    transfer: Transfer | None = None
    transferred: int = 0
    worker_s: float = 0.0
    stopped_s: float | None = None
    setup_ms: int = 0
    downtime_ms: int | None = None
    total_ms: int | None = None
    final_mbps: float | None = None
    old_state: RunState | None = None
    old_was_suspended: bool = False


class MigrationSource:
    """The outgoing side of one machine.

    Attributes:
        status: the outgoing migration status.
        error: why the last migration failed, or None.
        run: the current or last migration, or None before the first.
    """

    def __init__(self, vm: MachineView) -> None:
        self._vm = vm
        self.status = StatusVariable(
            incoming=False, release=vm.release, on_change=self._status_changed
        )
        self.error: MigsimError | None = None
        self.run: Run | None = None
        self._last_stored = ""
        self._stages = {
            Stage.SETUP: self._setup,
            Stage.ACTIVATE: self._activate,
            Stage.ITERATE: self._iterate,
            Stage.PRE_SWITCHOVER: self._wait_for_continue,
            Stage.FINAL_SYNC: self._final_sync,
            Stage.FINAL_RAM: self._final_ram,
            Stage.DEVICES: self._devices,
            Stage.FINISH: self._finish,
        }

    @property
    def running(self) -> bool:
        """Whether an outgoing migration is under way."""
        return self.status.value in RUNNING_STATUSES

    @property
    def reports_remaining(self) -> bool:
        """Whether what remains is also told for the whole machine, not for RAM alone."""
        return self._vm.release.has(REMAINING_SINCE)

    @property
    def throttle_percentage(self) -> int:
        """Share of time that the guest's CPUs are held back, 0 to 99."""
        return self.run.dirty_rate.throttle.percentage if self.run and self.running else 0

    # Commands.

    def prepare(self, now: float) -> None:
        """Begin a migration: statistics are zeroed, the status is ``setup``, nothing is open."""
        params = self._vm.parameters
        self.error = None
        self.run = Run(
            policy=policy_for(params.mode),
            started_s=now,
            convergence=Convergence(params.downtime_limit),
        )
        self.status.move(self.status.value, MigrationStatus.SETUP)

    def connect(self, channel: OutputChannel, now: float) -> None:
        """Take the open channel, tell the notifiers, and in a CPR mode stop the guest.

        A veto ends the migration as ``failed`` with the guest untouched; `error` holds it.
        """
        run = self._run()
        try:
            self._notify(NotifyEvent.SETUP)
        except DeviceError as veto:
            self.fail_early(veto)
            self._notify(NotifyEvent.FAILED)
            with contextlib.suppress(ChannelError):
                channel.close()
            return
        out = OutFile(channel)
        sender = RamSender(
            self._copied_blocks(),
            detect_zero=self._detects_zero_pages(),
            chunk_shift=self._vm.switches.clear_bitmap_shift,
        )
        run.transfer = Transfer(channel, out, self._open_writer(out), sender)
        if run.policy.stops_first(self._vm.release):
            self._stop_guest(now)

    def fail_early(self, error: MigsimError) -> None:
        """End a migration that never got a channel: setup, failed; the guest is untouched."""
        self.error = error
        if self._vm.release.has(FAILING_SINCE):
            self.status.move(MigrationStatus.SETUP, MigrationStatus.FAILING)
            self.status.move(MigrationStatus.FAILING, MigrationStatus.FAILED)
        else:
            self.status.move(MigrationStatus.SETUP, MigrationStatus.FAILED)

    def cancel(self) -> None:
        """Ask the migration to end; nothing happens when none runs.

        Raises:
            StateError: in postcopy the target may own the guest already.
        """
        if self.status.value in POSTCOPY_STATUSES:
            raise StateError("migrate_cancel", self.status.value, hint="postcopy cannot go back")
        if self.running and self.status.value is not MigrationStatus.CANCELLING:
            self.status.move(self.status.value, MigrationStatus.CANCELLING)
            if self._run().transfer is None:
                self._end_cancelled()  # nothing is open yet that would have to be closed

    @property
    def waits_for_channel(self) -> bool:
        """Whether a migration has begun whose channel is still being connected."""
        setup = self.status.value is MigrationStatus.SETUP
        return setup and self.run is not None and self.run.transfer is None

    def resume_from(self, state: MigrationStatus) -> None:
        """Go on behind pre-switchover (``migrate-continue``).

        Raises:
            StateError: the status is not ``state``.
        """
        if self.status.value is not state:
            raise StateError("migrate-continue", self.status.value, [state.value])
        if self.status.move(MigrationStatus.PRE_SWITCHOVER, MigrationStatus.DEVICE):
            self._run().stage = Stage.FINAL_SYNC

    # Stepping.

    def step(self, now: float, max_pages: int) -> Work:
        """Do the next piece of work; at most ``max_pages`` pages.

        Raises:
            AbortError: strict profile, where QEMU itself aborts.
        """
        if not self.running or self.waits_for_channel:
            return Work(idle=True)
        try:
            if self.status.value is MigrationStatus.CANCELLING:
                return self._end_cancelled()
            return self._stages[self._run().stage](now, max_pages)
        except (ChannelError, DeviceError) as error:
            return self._end_failed(error)

    def _setup(self, now: float, _max_pages: int) -> Work:
        """Write header, configuration and the block list; call all RAM dirty; first sync."""
        run, to, vm = self._run(), self._transfer(), self._vm
        run.worker_s = now
        run.convergence.start(now, to.out.transferred)
        if Capability.AUTO_CONVERGE in vm.capabilities:
            run.dirty_rate.throttle.start_timer(now, 0)
        before = to.out.position
        to.writer.header()
        if vm.switches.send_configuration:
            stored = [capability.value for capability in vm.capabilities.in_stream]
            to.writer.configuration(vm.machine_name, stored, self._stored_uuid())
        to.sender.begin()
        work = self._sync(now, first=True)
        to.writer.ram_setup(RAM_SECTION_ID, self._announcements())
        run.stage = Stage.ACTIVATE
        work.bytes_out = to.out.position - before
        work.phase = Phase.SETUP
        return work

    def _activate(self, now: float, max_pages: int) -> Work:
        run = self._run()
        run.setup_ms = elapsed_ms(run.worker_s, now)
        self.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
        run.stage = Stage.ITERATE
        return self._iterate(now, max_pages)

    def _iterate(self, now: float, max_pages: int) -> Work:
        """One turn of the precopy loop: measure, wait, finish, or send one part."""
        run, params = self._run(), self._vm.parameters
        run.transferred = self._transfer().out.transferred
        if run.convergence.window_over(now):
            self._close_window(now)
        if run.convergence.exceeded(run.transferred, params.max_bandwidth):
            return Work(wake_at=run.convergence.wake_at)
        work = Work()
        if run.dirty_rate.throttle.sync_due(now, run.counters.dirty_sync_count):
            work = self._sync(now, in_loop=False)
        if self._pending < run.convergence.threshold_bytes or (
            not self._pending and self._loop_counts
        ):
            work.synced_pages += self._sync(now).synced_pages
        if not self._pending or self._pending < run.convergence.threshold_bytes:
            stop = self._switchover(now)
            stop.synced_pages = work.synced_pages
            return stop
        part = self._send_part(max_pages)
        part.synced_pages = work.synced_pages
        return part

    def _send_part(self, max_pages: int) -> Work:
        run, to = self._run(), self._transfer()
        budget = run.convergence.budget_bytes(self._vm.parameters.max_bandwidth)
        limit = None if budget is None else run.convergence.rate_base_bytes + budget
        to.writer.begin_part(RAM_SECTION_ID)
        work = to.sender.send(to.writer, stop_above=limit, max_pages=max_pages)
        run.counters.add(work, guest_runs=self._guest_runs)
        to.writer.end_ram_part(RAM_SECTION_ID)
        run.counters.book(EOS_BYTES, guest_runs=self._guest_runs)
        run.transferred = to.out.transferred
        return work

    def _switchover(self, now: float) -> Work:
        """Stop the guest and leave the loop, to the end or to pre-switchover."""
        run, vm = self._run(), self._vm
        stopped_first = run.policy.stops_first(vm.release)
        if vm.strict and vm.release.has(EARLY_STOP_SINCE):
            # QEMU asks the parameter of this moment, not the mode the migration began with.
            stopped_first = vm.parameters.mode is not MigMode.NORMAL
        if not stopped_first:
            if vm.run.state is RunState.SUSPENDED and not vm.release.has(SUSPENDED_SINCE):
                vm.wake_guest()
            self._stop_guest(now)
        if Capability.PAUSE_BEFORE_SWITCHOVER in vm.capabilities:
            self.status.move(MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER)
            run.stage = Stage.PRE_SWITCHOVER
        else:
            if vm.release.has(DEVICE_STATUS_SINCE):
                self.status.move(MigrationStatus.ACTIVE, MigrationStatus.DEVICE)
            run.stage = Stage.FINAL_SYNC
        return Work(phase=Phase.STOP)

    def _wait_for_continue(self, _now: float, _max_pages: int) -> Work:
        return Work(idle=True)

    def _final_sync(self, now: float, max_pages: int) -> Work:
        run, to = self._run(), self._transfer()
        if self._vm.switches.send_switchover_start:
            to.writer.command(CommandKind.SWITCHOVER_START)
        to.writer.begin_part(RAM_SECTION_ID, SectionType.END)
        work = self._sync(now, in_loop=False)
        run.stage = Stage.FINAL_RAM
        sent = self._final_ram(now, max_pages)
        sent.synced_pages = work.synced_pages
        return sent

    def _final_ram(self, _now: float, max_pages: int) -> Work:
        """Send what is still dirty, as fast as the channel takes it."""
        run, to = self._run(), self._transfer()
        work = to.sender.send(to.writer, stop_above=None, max_pages=max_pages)
        run.counters.add(work, guest_runs=self._guest_runs)
        run.transferred = to.out.transferred
        if not to.sender.dirty_pages:
            self._refuse_shared_bitmaps()
            before = to.out.accounted
            to.writer.end_records()
            # The bitmaps of mapped-ram count as RAM, the end record of completion does not.
            bitmaps = to.out.accounted - before - EOS_BYTES
            run.counters.book(bitmaps, guest_runs=self._guest_runs)
            to.writer.footer(RAM_SECTION_ID)
            run.stage = Stage.DEVICES
        return work

    def _devices(self, _now: float, _max_pages: int) -> Work:
        run, to, vm = self._run(), self._transfer(), self._vm
        before = to.out.position
        for section in vm.save_sections(self._stored_state, run.old_was_suspended):
            to.writer.opaque_device(
                section.section_id,
                section.name,
                section.instance_id,
                section.version,
                section.body,
                entry=section.description,
            )
        to.writer.finish(description=not vm.suppress_vmdesc)
        run.transferred = to.out.transferred
        run.stage = Stage.FINISH
        return Work(bytes_out=to.out.position - before, phase=Phase.DEVICE)

    def _finish(self, now: float, _max_pages: int) -> Work:
        run = self._run()
        self._refuse_one_way_return_path()
        self._transfer().channel.close()
        run.downtime_ms = elapsed_ms(now if run.stopped_s is None else run.stopped_s, now)
        run.total_ms = elapsed_ms(run.started_s, now)
        sending_ms = run.total_ms - run.setup_ms
        if sending_ms > 0:
            run.final_mbps = 8.0 * run.transferred / sending_ms / 1000
        self.status.move(self.status.value, MigrationStatus.COMPLETED)
        self._enter_postmigrate()
        self._notify(NotifyEvent.DONE)
        self._release()
        return Work(phase=Phase.CLEANUP)

    def _enter_postmigrate(self) -> None:
        try:
            self._vm.run.set(RunState.POSTMIGRATE)
        except TransitionError as error:
            hint = "the mode was changed while the migration ran, so the guest was never stopped"
            raise AbortError("migrate", self._vm.run.state.value, hint) from error

    # Endings.

    def _end_cancelled(self) -> Work:
        self._resume_guest()
        self.status.move(MigrationStatus.CANCELLING, MigrationStatus.CANCELLED)
        self._notify(NotifyEvent.FAILED)
        self.abandon()
        return Work(phase=Phase.CLEANUP)

    def _end_failed(self, error: MigsimError) -> Work:
        """Fail and put the guest back: until 11.0 ``failed`` precedes RESUME, then it follows."""
        self.error = error
        # A setup that breaks is seen by the loop, which begins as active.
        self.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
        late = self._vm.release.has(FAILING_SINCE)
        self.status.move(
            self.status.value, MigrationStatus.FAILING if late else MigrationStatus.FAILED
        )
        self._resume_guest()
        if late:
            self.status.move(MigrationStatus.FAILING, MigrationStatus.FAILED)
        self._notify(NotifyEvent.FAILED)
        self.abandon()
        return Work(phase=Phase.CLEANUP)

    def _resume_guest(self) -> None:
        """Give the guest back the state that migration took from it."""
        old, control = self._run().old_state, self._vm.run
        if old is None:
            return
        if old in live_states(self._vm.release):
            control.start()
        elif control.state is RunState.FINISH_MIGRATE:
            control.set(old)

    def abandon(self) -> None:
        """Let go of a channel that is of no use any more; its last words do not matter."""
        if self.run is None:
            return
        if self.run.transfer is not None:
            try:
                self.run.transfer.channel.close()
            except ChannelError as error:
                self.error = self.error or error
        self._release()

    def _release(self) -> None:
        """Stop logging, let the guest run freely, drop the bitmaps."""
        run = self._run()
        run.dirty_rate.throttle.stop()
        if run.transfer is not None:
            run.transfer.sender.end()
            run.transfer = None

    # Parts.

    def _stop_guest(self, now: float) -> None:
        run, control = self._run(), self._vm.run
        run.stopped_s = now
        run.old_state = control.state
        self._last_stored = control.state.value
        control.force(RunState.FINISH_MIGRATE)
        run.old_was_suspended = control.was_suspended

    def _sync(self, now: float, *, first: bool = False, in_loop: bool = True) -> Work:
        """Fetch the dirty logs: a new pass begins.

        ``first`` is the sync of setup; ``in_loop`` is False where the loop did not ask for it.
        """
        run, to = self._run(), self._transfer()
        counted = in_loop or not self._loop_counts
        run.counters.dirty_sync_count += counted
        new = to.sender.sync()
        run.dirty_rate.observe(
            now,
            new,
            to.sender.dirty_pages,
            to.out.transferred,
            self._vm.parameters,
            auto_converge=Capability.AUTO_CONVERGE in self._vm.capabilities,
        )
        told = counted and not (first and self._loop_counts)
        if told and Capability.EVENTS in self._vm.capabilities:
            self._vm.emit("MIGRATION_PASS", {"pass": run.counters.dirty_sync_count})
        return Work(synced_pages=to.sender.pages)

    def _close_window(self, now: float) -> None:
        run, params = self._run(), self._vm.parameters
        run.convergence.update(
            now,
            run.transferred,
            run.counters.pages_sent,
            downtime_limit_ms=params.downtime_limit,
            switchover_bandwidth=params.avail_switchover_bandwidth,
            dirty_pages_rate=run.dirty_rate.pages_per_s,
            dirty_bytes_last_sync=run.dirty_rate.bytes_last_sync,
        )

    def _notify(self, event: NotifyEvent) -> None:
        run, control = self._run(), self._vm.run
        mode = self._vm.parameters.mode if self._vm.strict else run.policy.mode
        self._vm.notifiers.notify(Notice(event, mode, control.state, control.was_suspended))

    def _refuse_one_way_return_path(self) -> None:
        """A file or pipe cannot answer, which QEMU finds out at the very end."""
        if Capability.RETURN_PATH in self._vm.capabilities:
            raise ChannelError("return path", "read", "the channel carries bytes one way only")

    def _status_changed(self, status: MigrationStatus) -> None:
        if Capability.EVENTS in self._vm.capabilities:
            self._vm.emit("MIGRATION", {"status": status.value})

    def _run(self) -> Run:
        if self.run is None:
            raise StateError("step", self.status.value, hint="no migration was started")
        return self.run

    def _transfer(self) -> Transfer:
        transfer = self._run().transfer
        if transfer is None:
            raise StateError("step", self.status.value, hint="the migration has no channel")
        return transfer

    @property
    def _pending(self) -> int:
        return self._transfer().sender.dirty_pages * PAGE_SIZE

    @property
    def _loop_counts(self) -> bool:
        return self._vm.release.has(LOOP_COUNTS_SINCE)

    @property
    def _stored_state(self) -> str:
        """Name of the run state that the stream carries.

        QEMU notes it when it stops the guest; if it never does, because the mode was changed in
        the middle, the stream has that of an earlier migration, or none and cannot be loaded.
        """
        if self._vm.strict:
            return self._last_stored
        return (self._run().old_state or self._vm.run.state).value

    @property
    def _guest_runs(self) -> bool:
        return self._vm.run.state is RunState.RUNNING

    def _refuse_shared_bitmaps(self) -> None:
        """An ignored block has no bitmap, over which QEMU 10.0 stumbles at the very end."""
        if self._mapped_ram and self._ignore_shared:
            for block in self._vm.ram.migratable():
                if block.ignorable:
                    reason = f"block {block.name} is shared: switch x-ignore-shared off"
                    raise ChannelError("mapped-ram", "write", reason)

    @property
    def _mapped_ram(self) -> bool:
        return Capability.MAPPED_RAM in self._vm.capabilities

    @property
    def _ignore_shared(self) -> bool:
        return Capability.X_IGNORE_SHARED in self._vm.capabilities

    def _open_writer(self, out: OutFile) -> StreamWriter:
        switches = self._vm.switches
        options = StreamOptions(
            footers=switches.send_section_footer, configuration=switches.send_configuration
        )
        return StreamWriter(out, options=options, mapped_ram=self._mapped_ram)

    def _announcements(self) -> list[BlockInfo]:
        """Every migratable block, copied or not; with its address under ``x-ignore-shared``."""
        addresses = self._ignore_shared and not self._mapped_ram
        return [
            BlockInfo(block.name, block.used_bytes, block.address if addresses else None)
            for block in self._vm.ram.migratable()
        ]

    def _copied_blocks(self) -> list[RAMBlock]:
        policy, ignore = self._run().policy, self._ignore_shared
        return [block for block in self._vm.ram if policy.copies(block, ignore_shared=ignore)]

    def _detects_zero_pages(self) -> bool:
        return self._vm.parameters.zero_page_detection is not ZeroPageDetection.NONE

    def _stored_uuid(self) -> bytes | None:
        return self._vm.uuid if Capability.VALIDATE_UUID in self._vm.capabilities else None


def may_start(status: MigrationStatus) -> bool:
    """Return whether a new outgoing migration may begin in ``status``."""
    return status in IDLE_STATUSES
