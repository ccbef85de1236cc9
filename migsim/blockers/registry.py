"""The per-mode registry of reasons why a machine cannot be migrated (spec blockers.md 1 and 2).

The registry knows no device and no machine: features bring their reasons and take them away, a
predicate supplied by the owner says when no reason may be added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..errors import BlockedError, BusyError, ConfigError, OnlyMigratableError
from ..qapi.enums import MigMode, MigrationStatus, RunState
from ..qapi.transitions import RUNNING_STATUSES

DEVICE_REASON: Final = "non-migratable device: {}"
"""How ``blocked-reasons`` names a device that has no saved state (spec blockers.md section 2)."""

DEVICE_ERROR: Final = "the state of device {} cannot be saved, and that blocks every mode"
"""How a refused ``migrate`` names the same device; QEMU words the two differently as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocker:
    """A reason as it stands in the registry: the handle to take it out again.

    Two blockers are the same only when they are the same object, however equal their texts.

    Attributes:
        reason: what blocks, in words.
        modes: the blocked modes, or None for every mode, also one that a later release adds.
        internal: registered by ``add_internal``.
    """

    reason: str
    modes: frozenset[MigMode] | None = None
    internal: bool = False

    def blocks(self, mode: MigMode) -> bool:
        """Return whether a migration in ``mode`` is blocked."""
        return self.modes is None or mode in self.modes


@dataclass(frozen=True, slots=True, eq=False)
class UnmigratableDevice:
    """A device without saved state as it stands in the registry; the handle to unregister it.

    Attributes:
        section_name: ``<bus path>/<description name>``, or the bare name without a bus path.
    """

    section_name: str

    @property
    def reason(self) -> str:
        """The text by which ``blocked-reasons`` lists the device."""
        return DEVICE_REASON.format(self.section_name)


class BlockerAction(StrEnum):
    """What happened to a reason, for an event log."""

    ADDED = "added"
    REFUSED = "refused"
    REMOVED = "removed"


Watcher = Callable[[BlockerAction, Blocker | UnmigratableDevice], None]
"""Called after every change and refusal; the caller adds the time, which nobody knows here."""


def refuses_blockers(run_state: RunState, status: MigrationStatus) -> bool:
    """Return whether a machine is busy in the sense of the registry (spec blockers.md section 1).

    It is while an internal snapshot is saved and while an outgoing migration runs, in whatever
    mode.  A machine that waits for an incoming migration is not.
    """
    return run_state is RunState.SAVE_VM or status in RUNNING_STATUSES


class BlockerRegistry:
    """Reasons per mode, and the devices that cannot be saved; QEMU 10.0.

    The order of checks, of reasons and of errors is that of spec blockers.md sections 1 and 2.
    Nothing is deduplicated: whoever wants one reason per process keeps one handle.

    Args:
        only_migratable: refuse whatever would block mode normal (``-only-migratable``).
        busy: says whether reasons are refused at the moment; see ``refuses_blockers``.
        watcher: told of every change.
    """

    def __init__(
        self,
        only_migratable: bool = False,
        busy: Callable[[], bool] = lambda: False,
        watcher: Watcher | None = None,
    ) -> None:
        self.only_migratable = only_migratable
        self._busy = busy
        self._watcher = watcher
        # Dictionaries keep the order of registration and find a handle in constant time.
        self._blockers: dict[Blocker, None] = {}
        self._devices: dict[UnmigratableDevice, None] = {}

    def add(self, reason: str, modes: Iterable[MigMode] | None = None) -> Blocker:
        """Register ``reason`` for every mode, or for ``modes``; return the handle.

        Raises:
            OnlyMigratableError: the machine must stay migratable and mode normal is covered.
            BusyError: a migration or snapshot runs, in whatever mode.
            ConfigError: an empty reason or no mode at all.
        """
        return self._add(Blocker(reason, None if modes is None else frozenset(modes)))

    def add_normal(self, reason: str) -> Blocker:
        """Register ``reason`` for mode normal only; raises like ``add``."""
        return self.add(reason, (MigMode.NORMAL,))

    def add_modes(self, reason: str, modes: Iterable[MigMode]) -> Blocker:
        """Register ``reason`` for ``modes``; raises like ``add``."""
        return self.add(reason, modes)

    def add_internal(self, reason: str) -> Blocker:
        """Register ``reason`` for every mode, also on a machine that must stay migratable.

        Raises:
            BusyError: a migration or snapshot runs.
            ConfigError: an empty reason.
        """
        return self._add(Blocker(reason, internal=True))

    def remove(self, blocker: Blocker | None) -> None:
        """Take a reason out of every mode; never fails, also not while busy.

        None and a handle that is not registered (any more) are ignored.
        """
        if blocker is not None and blocker in self._blockers:
            del self._blockers[blocker]
            self._tell(BlockerAction.REMOVED, blocker)

    def register_unmigratable(self, section_name: str) -> UnmigratableDevice:
        """Register a device that has no saved state; it blocks every mode.  Return its handle.

        Not refused while busy: hot plugging is, and that is the machine's to say.

        Raises:
            OnlyMigratableError: the machine must stay migratable, so no such device is created.
            ConfigError: an empty name.
        """
        if not section_name:
            raise ConfigError("non-migratable device", "its section name is empty")
        device = UnmigratableDevice(section_name)
        if self.only_migratable:
            self._tell(BlockerAction.REFUSED, device)
            cause = "only-migratable was given, so this device cannot be created"
            raise OnlyMigratableError([f"{cause}: {section_name}"])
        self._devices[device] = None
        self._tell(BlockerAction.ADDED, device)
        return device

    def unregister(self, device: UnmigratableDevice | None) -> None:
        """Forget a device that is gone; None and an unknown handle are ignored."""
        if device is not None and device in self._devices:
            del self._devices[device]
            self._tell(BlockerAction.REMOVED, device)

    def __contains__(self, handle: Blocker | UnmigratableDevice) -> bool:
        return handle in self._blockers or handle in self._devices

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """Every explicit blocker of whatever mode, oldest first."""
        return tuple(self._blockers)

    @property
    def devices(self) -> tuple[UnmigratableDevice, ...]:
        """Every device without saved state, first registered first."""
        return tuple(self._devices)

    def reasons(self, mode: MigMode) -> tuple[str, ...]:
        """Return what ``blocked-reasons`` lists in ``mode``; empty when nothing blocks.

        Explicit reasons come oldest first, then devices, last registered first.
        """
        explicit = (blocker.reason for blocker in self._blockers if blocker.blocks(mode))
        return (*explicit, *(device.reason for device in reversed(self._devices)))

    def first_error(self, mode: MigMode) -> str | None:
        """Return the one reason with which ``migrate`` in ``mode`` is refused, or None.

        It is the first registered device if there is one, else the newest explicit reason.
        """
        for device in self._devices:
            return DEVICE_ERROR.format(device.section_name)
        for blocker in reversed(self._blockers):
            if blocker.blocks(mode):
                return blocker.reason
        return None

    def check(self, mode: MigMode) -> None:
        """Do nothing if a migration, or an internal snapshot, in ``mode`` may begin.

        Raises:
            BlockedError: something blocks.  ``reasons[0]`` is ``first_error(mode)``, the others
                are the rest of ``reasons(mode)``; ``mode`` is None when one of them blocks every
                mode, so that no other mode would help.
        """
        first = self.first_error(mode)
        if first is None:
            return
        # Whatever ``first_error`` picks is the last one that ``reasons`` lists.
        rest = self.reasons(mode)[:-1]
        everywhere = self._devices or any(blocker.modes is None for blocker in self._blockers)
        raise BlockedError([first, *rest], None if everywhere else mode)

    def _add(self, blocker: Blocker) -> Blocker:
        if not blocker.reason:
            raise ConfigError("migration blocker", "its reason is empty")
        if blocker.modes is not None and not blocker.modes:
            raise ConfigError("migration blocker", f"no mode is blocked by: {blocker.reason}")
        if self.only_migratable and not blocker.internal and blocker.blocks(MigMode.NORMAL):
            self._tell(BlockerAction.REFUSED, blocker)
            cause = "only-migratable was given, so nothing may block mode normal"
            raise OnlyMigratableError([f"{cause}: {blocker.reason}"])
        if self._busy():
            self._tell(BlockerAction.REFUSED, blocker)
            cause = "a migration or snapshot is in progress, so no blocker can be added"
            raise BusyError([f"{cause}: {blocker.reason}"])
        self._blockers[blocker] = None
        self._tell(BlockerAction.ADDED, blocker)
        return blocker

    def _tell(self, action: BlockerAction, handle: Blocker | UnmigratableDevice) -> None:
        if self._watcher is not None:
            self._watcher(action, handle)
