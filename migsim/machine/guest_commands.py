"""Commands that concern the guest and the process around it."""

from __future__ import annotations

from ..errors import AbortError
from ..qapi.enums import RunState
from .parts import MachineParts
from .process import ProcessExit, command


class GuestCommands(MachineParts):
    """Pause, resume, reset and end a guest."""

    @command
    def stop(self) -> None:
        """Pause the guest."""
        self.run.command_stop()

    @command
    def cont(self) -> None:
        """Let the guest run.

        Raises:
            StateError: a reset is needed first, or a migration is finishing.
            AbortError: strict profile: QEMU aborts for a suspended guest after a migration.
        """
        try:
            self.run.command_cont()
        except AbortError as error:
            self.end_process(ProcessExit(None, str(error), error.signal))
            raise

    @command
    def system_reset(self) -> None:
        """Reset the guest."""
        self.run.command_reset()
        self.guest.reset()

    @command
    def system_powerdown(self) -> None:
        """Press the power button."""
        self.emit("POWERDOWN", {})

    @command
    def system_wakeup(self) -> None:
        """Wake a suspended guest.

        Raises:
            StateError: it is not suspended.
        """
        self.wake_guest()

    def wake_guest(self) -> None:
        """Make a suspended guest run again, or raise `StateError`; for the sending engine too."""
        self.run.command_wakeup()
        if self.guest.asleep:
            self.guest.wakeup()

    @command
    def suspend(self) -> None:
        """The guest suspends itself (S3), as if its operating system had.

        Raises:
            StateError: it is not running.
        """
        self.run.guest_suspends()

    @command
    def quit(self, reason: str = "host-qmp-quit") -> None:
        """End the process; a migration that runs is cancelled.

        ``reason`` is why, as the event SHUTDOWN has it.
        """
        self.emit("SHUTDOWN", {"guest": False, "reason": reason})
        if self.source.running:
            self.source.cancel()
        self.end_process(ProcessExit(0, "quit"))

    def kill(self) -> None:
        """End the process as the host's reboot or a SIGKILL does: at once, without an event."""
        if self.exited is None:
            self.end_process(ProcessExit(None, "killed", "SIGKILL"))

    @command
    def query_status(self) -> dict[str, object]:
        """Return run state and whether the guest's processors run."""
        state = self.run.state
        return {"running": state is RunState.RUNNING, "status": state.value}
