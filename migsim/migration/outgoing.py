"""What the phases of an outgoing migration share: the machine, the run, and steps common to all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MigsimError, StateError
from ..qapi.enums import Capability, MigrationStatus, RunState
from ..qapi.transitions import live_states
from ..units import PAGE_SIZE
from .convergence import elapsed_ms
from .notifiers import Notice, NotifyEvent
from .since import LOOP_COUNTS_SINCE
from .status import StatusVariable
from .work import Work

if TYPE_CHECKING:
    from ..stream.return_path import Message
    from .environment import MachineView
    from .run import Run, Transfer


class Outgoing:
    """The outgoing side of one machine, as its phases see it.

    Attributes:
        vm: the machine.
        status: the outgoing migration status.
        error: why the last migration failed, or None.
        run: the current or last migration, or None before the first.
    """

    def __init__(self, vm: MachineView) -> None:
        self.vm = vm
        self.status = StatusVariable(
            incoming=False, release=vm.release, on_change=self._status_changed
        )
        self.error: MigsimError | None = None
        self.run: Run | None = None
        self._last_stored = ""

    def stop_guest(self, now: float, into: RunState = RunState.FINISH_MIGRATE) -> None:
        """Stop the guest, remembering the state that it was in."""
        self.note_state(now)
        self.vm.run.force(into)
        self.current().old_was_suspended = self.vm.run.was_suspended

    def note_state(self, now: float) -> None:
        """Remember the state that the guest is in, and when that was."""
        run, control = self.current(), self.vm.run
        run.stopped_s = now
        run.old_state = control.state
        run.old_was_suspended = control.was_suspended
        self._last_stored = control.state.value

    def note_times(self, now: float) -> None:
        """Work out what ``query-migrate`` shows of a migration that has ended."""
        run = self.current()
        run.total_ms = elapsed_ms(run.started_s, now)
        sending_ms = run.total_ms - run.setup_ms
        if sending_ms > 0:
            run.final_mbps = 8.0 * run.transferred / sending_ms / 1000

    def sync(self, now: float, *, first: bool = False, in_loop: bool = True) -> Work:
        """Fetch the dirty logs: a new pass begins.

        ``first`` is the sync of setup; ``in_loop`` is False where the loop did not ask for it.
        """
        run, to = self.current(), self.transfer()
        counted = in_loop or not self.loop_counts
        run.counters.dirty_sync_count += counted
        new = to.sender.sync()
        if to.xbzrle is not None:
            to.xbzrle.dirty_sync_count = run.counters.dirty_sync_count
        run.dirty_rate.observe(
            now,
            new,
            to.sender.dirty_pages,
            to.writer.transferred,
            self.vm.parameters,
            counters=run.counters,
            auto_converge=Capability.AUTO_CONVERGE in self.vm.capabilities,
        )
        told = counted and not (first and self.loop_counts)
        if told and Capability.EVENTS in self.vm.capabilities:
            self.vm.emit("MIGRATION_PASS", {"pass": run.counters.dirty_sync_count})
        return Work(synced_pages=to.sender.pages)

    def close_window(self, now: float) -> None:
        """Measure the window that is over and open the next one."""
        run, params = self.current(), self.vm.parameters
        run.convergence.update(
            now,
            run.transferred,
            run.counters.pages_sent,
            downtime_limit_ms=params.downtime_limit,
            switchover_bandwidth=params.avail_switchover_bandwidth,
            dirty_pages_rate=run.dirty_rate.pages_per_s,
            dirty_bytes_last_sync=run.dirty_rate.bytes_last_sync,
        )

    def notify(self, event: NotifyEvent) -> None:
        """Tell the notifiers of the mode; one that refuses raises `DeviceError`."""
        run, control = self.current(), self.vm.run
        mode = self.vm.parameters.mode if self.vm.strict else run.policy.mode
        self.vm.notifiers.notify(Notice(event, mode, control.state, control.was_suspended))

    def _status_changed(self, status: MigrationStatus) -> None:
        if Capability.EVENTS in self.vm.capabilities:
            self.vm.emit("MIGRATION", {"status": status.value})

    def current(self) -> Run:
        """Return the migration under way, or raise `StateError`."""
        if self.run is None:
            raise StateError("step", self.status.value, hint="no migration was started")
        return self.run

    def transfer(self) -> Transfer:
        """Return its open end, or raise `StateError`."""
        transfer = self.current().transfer
        if transfer is None:
            raise StateError("step", self.status.value, hint="the migration has no channel")
        return transfer

    def count_transferred(self) -> None:
        """Take note of the bytes that have left."""
        run, to = self.current(), self.transfer()
        run.transferred = run.earlier_bytes + to.writer.transferred
        run.counters.multifd_bytes = to.writer.side_bytes

    def listen(self) -> None:
        """Take in what the target has said on the return path."""
        to = self.run.transfer if self.run is not None else None
        if to is not None and to.answers is not None:
            for message in to.answers.listen():
                self.heed(message)

    def heed(self, message: Message) -> None:
        """Do what the target asks for on the return path."""

    @property
    def can_switch_over(self) -> bool:
        """Whether a running guest may be stopped: with ``switchover-ack`` the target decides."""
        if Capability.SWITCHOVER_ACK not in self.vm.capabilities or not self.guest_runs:
            return True
        answers = self.transfer().answers
        return answers is not None and answers.switchover_acked

    @property
    def may_postcopy(self) -> bool:
        """Whether the target may be told to run ahead of its RAM."""
        return Capability.POSTCOPY_RAM in self.vm.capabilities

    @property
    def wants_answers(self) -> bool:
        """Whether the target is to answer."""
        return self.may_postcopy or Capability.RETURN_PATH in self.vm.capabilities

    def add(self, work: Work) -> None:
        """Count the pages of a step of postcopy, and book its bytes."""
        counters = self.current().counters
        counters.normal += work.normal_pages
        counters.duplicate += work.zero_pages
        counters.postcopy_bytes += work.bytes_out

    @property
    def pending_bytes(self) -> int:
        """RAM that is dirty by the bitmaps, in bytes."""
        return self.transfer().sender.dirty_pages * PAGE_SIZE

    @property
    def loop_counts(self) -> bool:
        """Whether passes are counted by the loop alone (since 11.1)."""
        return self.vm.release.has(LOOP_COUNTS_SINCE)

    @property
    def stored_state(self) -> str:
        """Name of the run state that the stream carries.

        QEMU notes it when it stops the guest; if it never does, because the mode was changed in
        the middle, the stream has that of an earlier migration, or none and cannot be loaded.
        """
        if self.vm.strict:
            return self._last_stored
        return (self.current().old_state or self.vm.run.state).value

    @property
    def guest_runs(self) -> bool:
        """Whether the guest runs, which decides where bytes are booked."""
        return self.vm.run.state is RunState.RUNNING

    @property
    def mapped_ram(self) -> bool:
        """Whether RAM goes to fixed places of a file."""
        return Capability.MAPPED_RAM in self.vm.capabilities

    @property
    def ignore_shared(self) -> bool:
        """Whether shared files are left to the target."""
        return Capability.X_IGNORE_SHARED in self.vm.capabilities

    def resume_guest(self) -> None:
        """Give the guest back the state that migration took from it."""
        old, control = self.current().old_state, self.vm.run
        if old is None:
            return
        if old in live_states(self.vm.release):
            control.start()
        elif control.state is RunState.FINISH_MIGRATE:
            control.set(old)

    def release(self) -> None:
        """Stop logging, let the guest run freely, drop the bitmaps."""
        run = self.current()
        run.dirty_rate.throttle.stop()
        if run.transfer is not None:
            run.transfer.sender.end()
            run.transfer = None
