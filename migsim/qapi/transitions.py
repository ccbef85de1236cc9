"""The state machines as tables: run states, outgoing and incoming migration status.

Nothing here holds a state.  An owner asks ``runstate_allows`` or ``outgoing_allows`` before it
moves, or calls ``check_runstate`` and lets a wrong move raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..errors import TransitionError
from .enums import MigrationStatus, RunState
from .release import Release

LIVE_STATES: Final = frozenset({RunState.RUNNING, RunState.SUSPENDED})
"""Run states from which a stop emits STOP and to which a start emits RESUME."""


def live_states(release: Release = Release.DEFAULT) -> frozenset[RunState]:
    """Return the run states that a stop stops; before 9.0 a suspended guest was none of them."""
    return LIVE_STATES if release.has("9.0") else frozenset({RunState.RUNNING})


def _run_states(text: str) -> frozenset[RunState]:
    return frozenset(map(RunState, text.split()))


RUNSTATE_TRANSITIONS: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PRELAUNCH: _run_states("inmigrate suspended running finish-migrate"),
    RunState.INMIGRATE: _run_states(
        "internal-error io-error paused running shutdown suspended watchdog guest-panicked"
        " finish-migrate prelaunch postmigrate colo"
    ),
    RunState.PAUSED: _run_states("running finish-migrate postmigrate prelaunch colo suspended"),
    RunState.POSTMIGRATE: _run_states("running finish-migrate prelaunch"),
    RunState.FINISH_MIGRATE: _run_states(
        "running paused postmigrate prelaunch colo internal-error io-error shutdown suspended"
        " watchdog guest-panicked"
    ),
    RunState.RUNNING: _run_states(
        "debug internal-error io-error paused finish-migrate restore-vm save-vm shutdown watchdog"
        " guest-panicked colo suspended"
    ),
    RunState.SUSPENDED: _run_states(
        "running finish-migrate prelaunch colo paused save-vm restore-vm shutdown"
    ),
    RunState.SAVE_VM: _run_states("running suspended"),
    RunState.RESTORE_VM: _run_states("running prelaunch suspended"),
    RunState.IO_ERROR: _run_states("running finish-migrate prelaunch"),
    RunState.WATCHDOG: _run_states("running finish-migrate prelaunch colo"),
    RunState.GUEST_PANICKED: _run_states("running finish-migrate prelaunch"),
    RunState.DEBUG: _run_states("running finish-migrate prelaunch suspended"),
    RunState.INTERNAL_ERROR: _run_states("paused finish-migrate prelaunch"),
    RunState.SHUTDOWN: _run_states("paused finish-migrate prelaunch colo"),
    RunState.COLO: _run_states("running prelaunch shutdown"),
}
"""Every legal change of run state (spec lifecycle.md section 2, QEMU 10.0)."""

SINCE_9_0: Final = frozenset(
    {
        (RunState.PRELAUNCH, RunState.SUSPENDED),
        (RunState.PAUSED, RunState.SUSPENDED),
        (RunState.SUSPENDED, RunState.PAUSED),
        (RunState.SUSPENDED, RunState.SAVE_VM),
        (RunState.SUSPENDED, RunState.RESTORE_VM),
        (RunState.SUSPENDED, RunState.SHUTDOWN),
        (RunState.SAVE_VM, RunState.SUSPENDED),
        (RunState.RESTORE_VM, RunState.SUSPENDED),
    }
)
"""Changes of run state that came with the preservation of suspended guests in 9.0."""


def runstate_allows(old: RunState, new: RunState, release: Release = Release.DEFAULT) -> bool:
    """Return whether a guest in ``old`` may be put into ``new``; the same state always may."""
    if old is new:
        return True
    if (old, new) in SINCE_9_0 and not release.has("9.0"):
        return False
    return new in RUNSTATE_TRANSITIONS[old]


def check_runstate(old: RunState, new: RunState, release: Release = Release.DEFAULT) -> None:
    """Do nothing if the change is legal; QEMU ends with SIGABRT where this raises.

    Raises:
        TransitionError: the table does not hold the change.
    """
    if not runstate_allows(old, new, release):
        wanted = [state.value for state in RunState if runstate_allows(state, new, release)]
        raise TransitionError(f"change to run state {new}", old, wanted)


def info_status(state: RunState) -> str:
    """Return what ``info status`` prints after ``VM status:`` (spec lifecycle.md section 2)."""
    if state in (RunState.RUNNING, RunState.PAUSED):
        return state.value
    return f"paused ({state})"


class StatusTransition(NamedTuple):
    """One row of a migration status machine.

    Attributes:
        old: status before.
        new: status after.
        trigger: what makes it happen, in words.
        since: first release that does it, or None for 8.2 and before.
        until: first release that does not any more, or None.
    """

    old: MigrationStatus
    new: MigrationStatus
    trigger: str
    since: str | None = None
    until: str | None = None


IDLE_STATUSES: Final = frozenset(
    {
        MigrationStatus.NONE,
        MigrationStatus.CANCELLED,
        MigrationStatus.COMPLETED,
        MigrationStatus.FAILED,
    }
)
"""Outgoing statuses in which a new migration may begin."""

RUNNING_STATUSES: Final = frozenset(MigrationStatus) - IDLE_STATUSES
"""Outgoing statuses in which one runs: no second one, no change of capabilities."""

POSTCOPY_STATUSES: Final = frozenset(s for s in MigrationStatus if s.startswith("postcopy-"))
"""Statuses in which ``migrate_cancel`` is refused: the target may own the guest already."""


def _rows(
    olds: str, news: str, trigger: str, since: str | None = None, until: str | None = None
) -> tuple[StatusTransition, ...]:
    """Return one row for every pair out of two lists of statuses."""
    return tuple(
        StatusTransition(MigrationStatus(old), MigrationStatus(new), trigger, since, until)
        for old in olds.split()
        for new in news.split()
    )


OUTGOING_TRANSITIONS: Final[tuple[StatusTransition, ...]] = (
    *_rows("none cancelled completed failed", "setup", "migrate, or an internal snapshot"),
    *_rows("setup", "active", "setup sections written"),
    *_rows("setup", "wait-unplug", "a failover primary is still plugged"),
    *_rows("wait-unplug", "active", "the failover primary is unplugged"),
    *_rows("setup", "completed", "internal snapshot saved"),
    *_rows("setup", "failed", "internal snapshot could not be saved; no channel before 11.0"),
    *_rows("setup", "failing", "no channel, a notifier's veto, cpr channel error", "11.0"),
    *_rows("active", "completed", "background snapshot saved; end of precopy before 10.0"),
    *_rows("active", "device", "switchover begins"),
    *_rows("active", "pre-switchover", "switchover begins with pause-before-switchover"),
    *_rows("pre-switchover", "device", "migrate-continue"),
    *_rows("device", "completed", "end of precopy"),
    *_rows("active", "postcopy-active", "postcopy package sent", None, "10.0"),
    *_rows("device", "postcopy-active", "postcopy package sent", None, "10.2"),
    *_rows("device", "postcopy-device", "postcopy package sent", "10.2"),
    *_rows("postcopy-device", "postcopy-active", "the target runs the guest", "10.2"),
    *_rows("active pre-switchover device", "failed", "channel or device error", None, "11.0"),
    *_rows("active pre-switchover device", "failing", "channel or device error", "11.0"),
    *_rows("postcopy-device", "failed", "channel or device error", "10.2", "11.0"),
    *_rows("postcopy-device", "failing", "channel or device error", "11.0"),
    *_rows("postcopy-active", "failed", "an error that is not the channel's", None, "11.0"),
    *_rows("postcopy-active", "failing", "an error that is not the channel's", "11.0"),
    *_rows("failing", "failed", "cleaned up", "11.0"),
    *_rows("setup wait-unplug active pre-switchover device", "cancelling", "migrate_cancel, quit"),
    *_rows("cancelling", "cancelled", "cleaned up"),
    *_rows("postcopy-active", "postcopy-paused", "channel error or migrate-pause"),
    *_rows("postcopy-paused", "postcopy-recover-setup", "migrate with resume", "9.1"),
    *_rows("postcopy-recover-setup", "postcopy-recover", "connected", "9.1"),
    *_rows("postcopy-recover-setup", "postcopy-paused", "connecting failed", "9.1"),
    *_rows("postcopy-paused", "postcopy-recover", "migrate with resume", None, "9.1"),
    *_rows("postcopy-recover", "postcopy-active", "the target acknowledged"),
    *_rows("postcopy-recover", "postcopy-paused", "channel error or migrate-pause"),
    *_rows("postcopy-active", "completed", "all pages sent, return path closed"),
    *_rows("completed", "failed", "the command of cpr-exec could not be run", "10.2"),
    *_rows("active", "colo", "checkpointing begins", None, "10.0"),
    *_rows("colo", "completed", "failover", None, "10.0"),
)
"""The outgoing machine (spec lifecycle.md section 1; rows of 11.x: compared with 11.1.3).

From 10.0 to 11.1 ``colo`` cannot be reached: switchover has moved on to ``device`` when the test
for ``active`` is made.
"""

INCOMING_TRANSITIONS: Final[tuple[StatusTransition, ...]] = (
    *_rows("none", "setup", "migrate-incoming, or -incoming, passed the checks"),
    *_rows("setup", "active", "all channels connected, loading begins"),
    *_rows("setup", "failed", "a channel of multifd says something else than it should"),
    *_rows("active", "completed", "loaded, and the guest started if it is to run"),
    *_rows("active", "failed", "load error"),
    *_rows("active", "postcopy-active", "the package says listen", None, "10.2"),
    *_rows("active", "postcopy-device", "the package says listen", "10.2"),
    *_rows("postcopy-device", "postcopy-active", "the package says run", "10.2"),
    *_rows("postcopy-device", "failed", "load error", "10.2"),
    *_rows("postcopy-active", "postcopy-paused", "channel error"),
    *_rows("postcopy-paused", "postcopy-recover", "migrate-recover and a resuming source"),
    *_rows("postcopy-recover", "postcopy-active", "pages flow again"),
    *_rows("postcopy-recover", "postcopy-paused", "channel error"),
    *_rows("postcopy-active", "completed", "the last page arrived"),
)
"""The incoming machine, a variable of its own (spec lifecycle.md section 1)."""


def outgoing_allows(
    old: MigrationStatus, new: MigrationStatus, release: Release = Release.DEFAULT
) -> bool:
    """Return whether an outgoing migration can go from ``old`` to ``new``."""
    return _allows(OUTGOING_TRANSITIONS, old, new, release)


def incoming_allows(
    old: MigrationStatus, new: MigrationStatus, release: Release = Release.DEFAULT
) -> bool:
    """Return whether an incoming migration can go from ``old`` to ``new``."""
    return _allows(INCOMING_TRANSITIONS, old, new, release)


def check_outgoing(
    old: MigrationStatus, new: MigrationStatus, release: Release = Release.DEFAULT
) -> None:
    """Do nothing if an outgoing migration can go from ``old`` to ``new``.

    Raises:
        TransitionError: the table does not hold the move.
    """
    _check(OUTGOING_TRANSITIONS, "outgoing", old, new, release)


def check_incoming(
    old: MigrationStatus, new: MigrationStatus, release: Release = Release.DEFAULT
) -> None:
    """Do nothing if an incoming migration can go from ``old`` to ``new``.

    Raises:
        TransitionError: the table does not hold the move.
    """
    _check(INCOMING_TRANSITIONS, "incoming", old, new, release)


_Table = tuple[StatusTransition, ...]


def _allows(table: _Table, old: MigrationStatus, new: MigrationStatus, release: Release) -> bool:
    return any(
        row.old is old and row.new is new and release.has(row.since, row.until) for row in table
    )


def _check(
    table: _Table, side: str, old: MigrationStatus, new: MigrationStatus, release: Release
) -> None:
    if not _allows(table, old, new, release):
        wanted = [row.old for row in table if row.new is new and release.has(row.since, row.until)]
        raise TransitionError(f"{side} status {new}", old, wanted)
