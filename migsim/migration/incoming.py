"""The receiving engine: waits, loads one stream, starts the guest.

::

    migrate-incoming -> SETUP -> LOAD (all or nothing) -> START: run state as stored -> completed

The incoming status is a variable of its own, and RESUME comes before ``completed`` (spec
lifecycle.md sections 1 and 3, QEMU 10.0).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..channel.group import InputGroup
from ..errors import AbortError, MigsimError, StateError
from ..qapi.enums import Capability, MigrationStatus, RunState
from ..qapi.transitions import live_states
from .answers import Replies
from .loader import Loaded, Loader, LoaderView
from .since import PACKAGE_STATUS_SINCE
from .status import StatusVariable
from .work import Phase, Work

if TYPE_CHECKING:
    from ..channel.base import InputChannel


class IncomingView(LoaderView, Protocol):
    """The machine, as the receiving engine sees it."""

    def guest_arrived(self) -> None:
        """Told when RAM and devices are loaded, before the guest is started."""
        ...

    def load_failed(self, *, exit_on_error: bool) -> None:
        """Told when a load has failed; a QEMU process ends unless it was asked not to."""
        ...


PAUSABLE = (MigrationStatus.POSTCOPY_ACTIVE, MigrationStatus.POSTCOPY_RECOVER)
"""Statuses in which a lost channel, or ``migrate-pause``, pauses."""


class Stage(enum.Enum):
    """Where an incoming migration stands."""

    LISTEN = "listen"
    LOAD = "load"
    START = "start"


@dataclass(slots=True)
class _Run:
    group: InputGroup
    replies: Replies
    exit_on_error: bool
    stage: Stage = Stage.LISTEN
    loaded: Loaded | None = None
    begun: bool = False
    over: bool = False
    problem: BaseException | None = None
    loader: Loader | None = None
    notes: deque[Callable[[], None]] = field(default_factory=deque)
    in_postcopy: bool = False


class MigrationIncoming:
    """The incoming side of one machine.

    Attributes:
        status: the incoming migration status.
        error: why the last load failed, or None.
        addresses: where the machine listens for a source, as ``query-migrate`` shows it.
        background: runs a load that waits for a source aside, so that the machine can be watched
            meanwhile; None loads in one step, as a file is loaded always.  The driver has to step
            again when the load is over.
        wake: called by a load that runs aside when `step` has something to do.
        postcopied: the last load let the guest run before all of its RAM was there.
    """

    def __init__(self, vm: IncomingView) -> None:
        self._vm = vm
        self.status = StatusVariable(
            incoming=True, release=vm.release, on_change=self._status_changed
        )
        self.error: MigsimError | None = None
        self.addresses: list[dict[str, object]] = []
        self.background: Callable[[Callable[[], None]], None] | None = None
        self._run: _Run | None = None
        self.wake: Callable[[], None] = lambda: None
        self.postcopied = False
        self._before: tuple[MigrationStatus, MigsimError | None] = (MigrationStatus.NONE, None)

    @property
    def running(self) -> bool:
        """Whether a load is under way."""
        return self._run is not None

    def prepare(self) -> None:
        """Pass to setup: the address was understood, nothing is open yet.

        What an earlier attempt left behind is forgotten.
        """
        self._before = (self.status.value, self.error)
        self.error = None
        self.status.reset()
        self.status.move(MigrationStatus.NONE, MigrationStatus.SETUP)

    def give_up(self) -> None:
        """Take `prepare` back: the source could not be opened; another attempt can follow."""
        status, self.error = self._before
        self.status.reset(status)

    def connect(self, origin: InputChannel | InputGroup, *, exit_on_error: bool) -> None:
        """Take the open channel or channels; loading begins with the next step, or goes on."""
        group = origin if isinstance(origin, InputGroup) else InputGroup(origin)
        if self.status.value is MigrationStatus.POSTCOPY_PAUSED and self._run is not None:
            self._recover(self._run, group)
            return
        self.postcopied = False
        self._run = _Run(group, Replies(group.main), exit_on_error)

    def fail_early(self, error: MigsimError, *, exit_on_error: bool) -> None:
        """End a migration whose channels do not come as they should; nothing was touched."""
        self.error = error
        self.status.move(MigrationStatus.SETUP, MigrationStatus.FAILED)
        self._vm.load_failed(exit_on_error=exit_on_error)

    def step(self) -> Work:
        """Do the next piece of work.

        Raises:
            AbortError: strict profile, where QEMU itself aborts.
        """
        run = self._run
        if run is None:
            return Work(idle=True)
        if run.stage is Stage.LISTEN:
            self.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
            run.stage = Stage.LOAD
            return Work()
        if run.stage is Stage.LOAD:
            while run.notes:
                run.notes.popleft()()
            return self._load(run)
        assert run.loaded is not None
        self._run = None
        self._start_guest(run.loaded)
        self.addresses.clear()
        self.status.move(MigrationStatus.ACTIVE, MigrationStatus.COMPLETED)
        self._say_goodbye(run, failed=False)
        return Work()

    def abandon(self) -> None:
        """Let go of the source without loading it."""
        run, self._run = self._run, None
        if run is not None:
            run.group.close()

    def _load(self, run: _Run) -> Work:
        if not run.begun:
            run.begun = True
            if self.background is None or run.group.main.seekable() is not None:
                self._load_now(run)
            else:
                self.background(lambda: self._load_now(run))
        if not run.over:
            return Work(idle=True)
        while run.notes:
            run.notes.popleft()()
        if run.in_postcopy:
            return self._end_postcopy(run)
        if isinstance(run.problem, MigsimError) and not isinstance(run.problem, AbortError):
            self._fail(run, run.problem)
            return Work(phase=Phase.CLEANUP)
        if run.problem is not None:
            self._run = None
            raise run.problem
        assert run.loaded is not None
        run.stage = Stage.START
        # What starting costs passes before the guest runs, not after.
        return Work(loaded_bytes=run.loaded.size_bytes, phase=Phase.START)

    def _load_now(self, run: _Run) -> None:
        """Load the whole stream; the outcome is kept for the next step."""
        watched = self.background is not None and run.group.main.seekable() is None
        notes = _Notes(self, run) if watched else None
        run.loader = Loader(run.group, self._vm, run.replies, notes)
        self._guard(run, run.loader.run)

    def _guard(self, run: _Run, load: Callable[[], Loaded]) -> None:
        try:
            run.loaded = load()
        except BaseException as problem:
            run.problem = problem
        finally:
            if not run.replies.is_open:
                run.group.close()
            run.over = True

    def _fail(self, run: _Run, error: MigsimError) -> None:
        self._run = None
        self.error = error
        self.addresses.clear()
        self.status.move(self.status.value, MigrationStatus.FAILED)
        self._say_goodbye(run, failed=True)
        self._vm.load_failed(exit_on_error=run.exit_on_error)

    # Postcopy.

    def listening(self, run: _Run) -> None:
        """There is no way back any more."""
        device = self._vm.release.has(PACKAGE_STATUS_SINCE)
        run.in_postcopy = self.postcopied = True
        self.status.move(
            MigrationStatus.ACTIVE,
            MigrationStatus.POSTCOPY_DEVICE if device else MigrationStatus.POSTCOPY_ACTIVE,
        )

    def run_ahead(self, loaded: Loaded) -> None:
        """Let the guest run while its RAM arrives."""
        self.status.move(MigrationStatus.POSTCOPY_DEVICE, MigrationStatus.POSTCOPY_ACTIVE)
        self._start_guest(loaded)

    def resumed(self) -> None:
        """Pages come again."""
        self.status.move(MigrationStatus.POSTCOPY_RECOVER, MigrationStatus.POSTCOPY_ACTIVE)

    def pause_postcopy(self) -> None:
        """Give up the channel of a postcopy, to go on over another one.

        Raises:
            StateError: there is no postcopy that could be paused.
        """
        if self.status.value not in PAUSABLE or self._run is None:
            wanted = [status.value for status in PAUSABLE]
            raise StateError("migrate-pause", self.status.value.value, wanted)
        self._run.group.interrupt()

    def check_recoverable(self) -> None:
        """Do nothing if a source may come back to a paused postcopy.

        Raises:
            StateError: none is paused.
        """
        if self.status.value is not MigrationStatus.POSTCOPY_PAUSED:
            paused = MigrationStatus.POSTCOPY_PAUSED.value
            raise StateError("migrate-recover", self.status.value.value, [paused])

    def _recover(self, run: _Run, group: InputGroup) -> None:
        run.group, run.replies = group, Replies(group.main)
        run.over, run.problem = False, None
        self.error = None
        self.addresses.clear()
        self.status.move(MigrationStatus.POSTCOPY_PAUSED, MigrationStatus.POSTCOPY_RECOVER)
        loader = run.loader
        assert loader is not None
        assert self.background is not None
        self.background(lambda: self._guard(run, lambda: loader.resume(run.group, run.replies)))

    def _end_postcopy(self, run: _Run) -> Work:
        """Complete what has arrived, or wait for a source that comes back."""
        if run.problem is None:
            self._run = None
            self.addresses.clear()
            self._say_goodbye(run, failed=False)
            self.status.move(MigrationStatus.POSTCOPY_ACTIVE, MigrationStatus.COMPLETED)
            return Work()
        if not isinstance(run.problem, MigsimError):
            self._run = None
            raise run.problem
        if run.loader is None or not run.loader.in_postcopy:
            self._fail(run, run.problem)
            return Work(phase=Phase.CLEANUP)
        if self.status.value in PAUSABLE:
            self.error = run.problem
            run.group.close()
            self.status.move(self.status.value, MigrationStatus.POSTCOPY_PAUSED)
        return Work(idle=True)

    @staticmethod
    def _say_goodbye(run: _Run, *, failed: bool) -> None:
        """Tell a source that listens how it ended, and hang up."""
        run.replies.shut(failed=failed)
        run.group.close()

    def _start_guest(self, loaded: Loaded) -> None:
        """Enter the stored state; a live guest starts, or stays paused without autostart."""
        control = self._vm.run
        state = loaded.runstate
        live = live_states(self._vm.release)
        control.was_suspended = loaded.was_suspended or state is RunState.SUSPENDED
        self._vm.guest_arrived()
        if state not in live:
            control.set(state)
        elif control.autostart:
            control.start()
        else:
            control.set(RunState.PAUSED)

    def _status_changed(self, status: MigrationStatus) -> None:
        if Capability.EVENTS in self._vm.capabilities:
            self._vm.emit("MIGRATION", {"status": status.value})


@dataclass(frozen=True, slots=True)
class _Notes:
    """Passes what the reader of a stream meets on to the engine, which may run elsewhere."""

    engine: MigrationIncoming
    of: _Run

    def listening(self) -> None:
        """Note that the package has begun."""
        self._leave(lambda: self.engine.listening(self.of))

    def run(self, loaded: Loaded) -> None:
        """Note that the guest is to run."""
        self._leave(lambda: self.engine.run_ahead(loaded))

    def resumed(self) -> None:
        """Note that pages come again."""
        self._leave(self.engine.resumed)

    def wake(self) -> None:
        """Have the guest look again."""
        self.engine.wake()

    def _leave(self, note: Callable[[], None]) -> None:
        self.of.notes.append(note)
        self.engine.wake()
