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
from typing import TYPE_CHECKING

from ..errors import ChannelError, DeviceError, MigsimError, StateError
from ..qapi.enums import MigrationStatus
from ..qapi.transitions import IDLE_STATUSES, POSTCOPY_STATUSES, RUNNING_STATUSES
from . import postcopy
from .convergence import Convergence
from .incoming import PAUSABLE
from .modes import policy_for
from .notifiers import NotifyEvent
from .opening import open_transfer
from .outgoing import Outgoing
from .phases import phases_for
from .run import Run
from .since import FAILING_SINCE, REMAINING_SINCE
from .work import Phase, Work

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..stream.return_path import Message


class MigrationSource(Outgoing):
    """The outgoing side of one machine: commands, steps and endings."""

    @property
    def running(self) -> bool:
        """Whether an outgoing migration is under way."""
        return self.status.value in RUNNING_STATUSES

    @property
    def reports_remaining(self) -> bool:
        """Whether what remains is also told for the whole machine, not for RAM alone."""
        return self.vm.release.has(REMAINING_SINCE)

    @property
    def throttle_percentage(self) -> int:
        """Share of time that the guest's CPUs are held back, 0 to 99."""
        return self.run.dirty_rate.throttle.percentage if self.run and self.running else 0

    # Commands.

    def prepare(self, now: float) -> None:
        """Begin a migration: statistics are zeroed, the status is ``setup``, nothing is open."""
        params = self.vm.parameters
        self.error = None
        self.run = Run(
            policy=policy_for(params.mode),
            started_s=now,
            convergence=Convergence(params.downtime_limit),
            phases=phases_for(self.vm),
        )
        self.status.move(self.status.value, MigrationStatus.SETUP)

    def connect(
        self, channel: OutputChannel, now: float, further: tuple[OutputChannel, ...] = ()
    ) -> None:
        """Take the open channels, tell the notifiers, and in a CPR mode stop the guest.

        ``further`` are the channels of multifd.

        A veto ends the migration as ``failed`` with the guest untouched; `error` holds it.
        """
        if self.status.value is MigrationStatus.POSTCOPY_RECOVER_SETUP:
            self._resume(channel, now)
            return
        run = self.current()
        try:
            self.notify(NotifyEvent.SETUP)
        except DeviceError as veto:
            self.fail_early(veto)
            self.notify(NotifyEvent.FAILED)
            for each in (channel, *further):
                with contextlib.suppress(ChannelError):
                    each.close()
            return
        run.transfer = open_transfer(self, channel, further)
        if run.policy.stops_first(self.vm.release):
            self.stop_guest(now)

    def fail_early(self, error: MigsimError) -> None:
        """End a migration that never got a channel: setup, failed; the guest is untouched."""
        self.error = error
        if self.status.move(
            MigrationStatus.POSTCOPY_RECOVER_SETUP, MigrationStatus.POSTCOPY_PAUSED
        ):
            return
        if self.vm.release.has(FAILING_SINCE):
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
            if self.current().transfer is None:
                self._end_cancelled()  # nothing is open yet that would have to be closed

    @property
    def waits_for_channel(self) -> bool:
        """Whether a migration has begun whose channel is still being connected."""
        setup = self.status.value in _CONNECTING
        return setup and self.run is not None and self.run.transfer is None

    def resume_from(self, state: MigrationStatus) -> None:
        """Go on behind pre-switchover (``migrate-continue``).

        Raises:
            StateError: the status is not ``state``.
        """
        if self.status.value is not state:
            raise StateError("migrate-continue", self.status.value, [state.value])
        if self.status.move(MigrationStatus.PRE_SWITCHOVER, MigrationStatus.DEVICE):
            self.current().stage = self.current().behind_switchover

    # Postcopy.

    def start_postcopy(self) -> None:
        """Have the target run ahead of its RAM as soon as the loop comes round.

        Raises:
            StateError: the capability is off, or no migration was ever started.
        """
        postcopy.check_may_start(self)
        if self.running:
            self.current().postcopy_wanted = True

    def pause_postcopy(self) -> None:
        """Give up the channel of a postcopy, to go on over another one.

        Raises:
            StateError: there is no postcopy that could be paused.
        """
        if self.status.value not in PAUSABLE:
            wanted = [status.value for status in PAUSABLE]
            raise StateError("migrate-pause", self.status.value, wanted)
        postcopy.pause(self, ChannelError("migrate-pause", "write", "it was asked for"))

    def prepare_resume(self) -> None:
        """Begin to connect to the target of a paused postcopy.

        Raises:
            StateError: there is none.
        """
        if self.status.value is not MigrationStatus.POSTCOPY_PAUSED:
            hint = "there is no paused postcopy migration to resume"
            raise StateError("migrate", self.status.value, [MigrationStatus.POSTCOPY_PAUSED], hint)
        self.status.move(MigrationStatus.POSTCOPY_PAUSED, MigrationStatus.POSTCOPY_RECOVER_SETUP)

    def _resume(self, channel: OutputChannel, now: float) -> None:
        try:
            postcopy.resume(self, channel, now)
        except ChannelError as error:
            postcopy.pause(self, error)

    def heed(self, message: Message) -> None:
        """Do what the target asks for on the return path."""
        postcopy.heed(self, message)

    # Stepping.

    def step(self, now: float, max_pages: int) -> Work:
        """Do the next piece of work; at most ``max_pages`` pages.

        Raises:
            AbortError: strict profile, where QEMU itself aborts.
        """
        if not self.running or self.waits_for_channel:
            return Work(idle=True)
        run = self.current()
        try:
            self.listen()
            if self.status.value is MigrationStatus.CANCELLING:
                return self._end_cancelled()
            return run.phases[run.stage](self, now, max_pages)
        except ChannelError as error:
            if self.status.value in POSTCOPY_STATUSES:
                return postcopy.pause(self, error)
            return self._end_failed(error)
        except DeviceError as error:
            return self._end_failed(error)

    # Endings.

    def _end_cancelled(self) -> Work:
        self.resume_guest()
        self.status.move(MigrationStatus.CANCELLING, MigrationStatus.CANCELLED)
        self.notify(NotifyEvent.FAILED)
        self.abandon()
        return Work(phase=Phase.CLEANUP)

    def _end_failed(self, error: MigsimError) -> Work:
        """Fail and put the guest back: until 11.0 ``failed`` precedes RESUME, then it follows."""
        self.error = error
        # A setup that breaks is seen by the loop, which begins as active.
        self.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
        late = self.vm.release.has(FAILING_SINCE)
        self.status.move(
            self.status.value, MigrationStatus.FAILING if late else MigrationStatus.FAILED
        )
        self.resume_guest()
        if late:
            self.status.move(MigrationStatus.FAILING, MigrationStatus.FAILED)
        self.notify(NotifyEvent.FAILED)
        self.abandon()
        return Work(phase=Phase.CLEANUP)

    def abandon(self) -> None:
        """Let go of a channel that is of no use any more; its last words do not matter."""
        if self.run is None:
            return
        if self.run.transfer is not None:
            try:
                self.run.transfer.close()
            except ChannelError as error:
                self.error = self.error or error
        self.release()


_CONNECTING = (MigrationStatus.SETUP, MigrationStatus.POSTCOPY_RECOVER_SETUP)
"""Statuses in which a channel may be waited for."""


def may_start(status: MigrationStatus) -> bool:
    """Return whether a new outgoing migration may begin in ``status``."""
    return status in IDLE_STATUSES
