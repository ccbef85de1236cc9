"""The outgoing and incoming migration status: one variable each, moved by compare-and-swap.

A transition whose starting point no longer holds is dropped without a word, so that a cancel wins
over a success that comes later (spec lifecycle.md section 1, QEMU 10.0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..qapi.enums import MigrationStatus
from ..qapi.transitions import check_incoming, check_outgoing

if TYPE_CHECKING:
    from ..qapi.release import Release

StatusListener = Callable[[MigrationStatus], None]


class StatusVariable:
    """A migration status with its transition table and a listener for every change.

    Attributes:
        value: the current status.
    """

    def __init__(self, *, incoming: bool, release: Release, on_change: StatusListener) -> None:
        self.value = MigrationStatus.NONE
        self._check = check_incoming if incoming else check_outgoing
        self._release = release
        self._on_change = on_change

    def move(self, old: MigrationStatus, new: MigrationStatus) -> bool:
        """Move from ``old`` to ``new`` and tell the listener; False if ``old`` no longer holds.

        Raises:
            TransitionError: the table has no such transition (a bug in the engine).
        """
        if self.value is not old:
            return False
        self._check(old, new, self._release)
        self.value = new
        self._on_change(new)
        return True

    def reset(self, value: MigrationStatus = MigrationStatus.NONE) -> None:
        """Forget the past: go to ``value`` without telling anybody."""
        self.value = value
