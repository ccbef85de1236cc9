"""The guest's run state: stop, start, and everything else that moves it.

A live guest is running or suspended.  Stopping a live guest emits STOP and remembers whether it
was suspended; stopping any other only changes the state.  Starting emits RESUME before the state
changes (spec lifecycle.md section 2, QEMU 10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import AbortError, StateError
from ..qapi.enums import RunState
from ..qapi.transitions import check_runstate, live_states

if TYPE_CHECKING:
    from ..qapi.release import Release

Emit = Callable[[str, Mapping[str, object]], None]

_NEEDS_RESET = frozenset({RunState.INTERNAL_ERROR, RunState.SHUTDOWN})
_RESET_KEEPS = frozenset({RunState.RUNNING, RunState.INMIGRATE, RunState.FINISH_MIGRATE})


class RunStateMachine:
    """One guest's run state.

    Attributes:
        state: the current run state.
        was_suspended: the guest was suspended when it was stopped, and starts suspended again.
        autostart: what an incoming migration does with a live guest at its end.
    """

    def __init__(
        self, emit: Emit, state: RunState, *, autostart: bool, strict: bool, release: Release
    ) -> None:
        self.state = state
        self.was_suspended = False
        self.autostart = autostart
        self._emit = emit
        self._strict = strict
        self._release = release

    @property
    def live(self) -> bool:
        """Whether the guest is running or suspended; before 9.0 only running counts."""
        return self.state in live_states(self._release)

    def set(self, new: RunState) -> None:
        """Change the state; setting the current one again does nothing.

        Raises:
            TransitionError: the table does not hold this move; QEMU would abort.
        """
        if new is not self.state:
            check_runstate(self.state, new, self._release)
            self.state = new

    def stop(self, new: RunState) -> None:
        """Stop a live guest into ``new`` and emit STOP; any other guest stays as it is."""
        if not self.live:
            return
        self.was_suspended = self.state is RunState.SUSPENDED
        self.set(new)
        self._emit("STOP", {})

    def force(self, new: RunState) -> None:
        """Stop a live guest into ``new``; move any other there without an event."""
        if self.live:
            self.stop(new)
        else:
            self.set(new)

    def start(self) -> None:
        """Start the guest: RESUME, then running, or suspended if it was stopped suspended.

        Raises:
            AbortError: strict profile, postmigrate and stopped suspended: QEMU 10.0 aborts.
        """
        if self.live:
            return
        target = RunState.SUSPENDED if self.was_suspended else RunState.RUNNING
        if self.state is RunState.POSTMIGRATE and target is RunState.SUSPENDED:
            self._start_suspended_postmigrate()
        self._emit("RESUME", {})
        self.set(target)
        self.was_suspended = False

    def _start_suspended_postmigrate(self) -> None:
        """Postmigrate -> suspended is missing from QEMU's table; we step over prelaunch instead."""
        if self._strict:
            raise AbortError(
                "cont", self.state.value, "QEMU 10.0 has no way from postmigrate to suspended"
            )
        self.set(RunState.PRELAUNCH)

    # Monitor commands and guest actions, by their QMP names.

    def command_stop(self) -> None:
        """``stop``: pause a live guest; on a waiting destination, switch automatic start off."""
        if self.state is RunState.INMIGRATE:
            self.autostart = False
        else:
            self.stop(RunState.PAUSED)

    def command_cont(self) -> None:
        """``cont``: start the guest; on a waiting destination, switch automatic start on.

        Raises:
            StateError: a reset is needed first, or a migration is finishing.
            AbortError: see `start`.
        """
        if self.state in _NEEDS_RESET:
            raise StateError("cont", self.state.value, hint="reset the machine first")
        if self.state is RunState.FINISH_MIGRATE:
            raise StateError("cont", self.state.value, hint="wait for the migration, or cancel it")
        if self.state is RunState.INMIGRATE:
            self.autostart = True
        elif self.state is not RunState.SUSPENDED:
            self.start()

    def command_reset(self) -> None:
        """``system_reset``: RESET, and prelaunch unless running, inmigrate or finish-migrate."""
        self._emit("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
        if self.state not in _RESET_KEEPS:
            self.was_suspended = False
            self.set(RunState.PRELAUNCH)

    def command_wakeup(self) -> None:
        """``system_wakeup``: a suspended guest runs again.

        Raises:
            StateError: the guest is not suspended.
        """
        if self.state is not RunState.SUSPENDED:
            raise StateError("system_wakeup", self.state.value, [RunState.SUSPENDED.value])
        self.set(RunState.RUNNING)
        self._emit("WAKEUP", {})

    def guest_suspends(self) -> None:
        """The guest enters S3: suspended, SUSPEND.

        Raises:
            StateError: only a running guest can suspend itself.
        """
        if self.state is not RunState.RUNNING:
            raise StateError("suspend", self.state.value, [RunState.RUNNING.value])
        self.set(RunState.SUSPENDED)
        self._emit("SUSPEND", {})
