"""Per-mode notifier lists: who is told that a migration sets up, is done, or has failed.

SETUP comes once, before the guest is stopped, and is the only event that may veto.  DONE and
FAILED come from the clean-up; FAILED covers cancelled as well (spec modes.md section 5, QEMU 9.0
and later; one list for all modes before).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import DeviceError
from ..qapi.enums import MigMode, RunState


class NotifyEvent(enum.Enum):
    """What happened to the migration."""

    SETUP = "setup"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notifier is told.

    Attributes:
        event: what happened.
        mode: the mode of this migration.
        runstate: the guest's run state when the notice was sent.
        was_suspended: the guest was suspended, and then stopped by the user.
    """

    event: NotifyEvent
    mode: MigMode
    runstate: RunState
    was_suspended: bool


Notifier = Callable[[Notice], str | None]
"""Returns None, or at SETUP the reason for a veto."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    notifier: Notifier
    modes: frozenset[MigMode]


class NotifierLists:
    """One list of notifiers per mode, called in the order in which they were added.

    With ``per_mode`` False it is as before 9.0: one list for all modes, and nobody may veto.
    """

    def __init__(self, *, per_mode: bool = True) -> None:
        self._per_mode = per_mode
        self._entries: list[_Entry] = []

    def add(self, name: str, notifier: Notifier, modes: Iterable[MigMode]) -> None:
        """Add ``notifier`` under ``name`` to the lists of ``modes``."""
        self._entries.append(_Entry(name, notifier, frozenset(modes)))

    def remove(self, name: str) -> None:
        """Take every notifier called ``name`` off every list; nothing happens if there is none."""
        self._entries = [entry for entry in self._entries if entry.name != name]

    def notify(self, notice: Notice) -> None:
        """Tell the list of ``notice.mode``.

        Raises:
            DeviceError: at SETUP, one notifier vetoed; those after it were not called.
        """
        for entry in tuple(self._entries):
            if self._per_mode and notice.mode not in entry.modes:
                continue
            veto = entry.notifier(notice)
            if veto is not None and self._per_mode and notice.event is NotifyEvent.SETUP:
                raise DeviceError(entry.name, "setup", veto)


def vfio_reboot_rule(notice: Notice) -> str | None:
    """Veto cpr-reboot unless the guest is suspended: the rule of the vfio container.

    A device's state is lost with the host, so the guest's own driver must have put it to rest
    (spec modes.md section 5, QEMU 9.0 and later).
    """
    if notice.event is not NotifyEvent.SETUP:
        return None
    if notice.runstate is RunState.SUSPENDED or notice.was_suspended:
        return None
    return "with vfio, cpr-reboot needs a suspended guest: suspend it first"
