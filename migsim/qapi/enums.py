"""Closed sets of names.  The value of a member is its spelling in QMP.

Which release knows which member is in the tables (``STATUS_SINCE`` and ``MODE_SINCE`` here,
``capabilities.CAPABILITIES``, ``parameters.PARAMETERS``); an enum holds the union.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from .release import Release


class MigMode(StrEnum):
    """What a migration is for (spec modes.md section 1)."""

    NORMAL = "normal"
    CPR_REBOOT = "cpr-reboot"
    CPR_TRANSFER = "cpr-transfer"
    CPR_EXEC = "cpr-exec"

    @property
    def is_cpr(self) -> bool:
        """Whether the guest stays on its host and is stopped before any RAM is looked at."""
        return self is not MigMode.NORMAL

    @property
    def keeps_ram(self) -> bool:
        """Whether RAM is handed over in place, so that no block is ever in the stream."""
        return self in (MigMode.CPR_TRANSFER, MigMode.CPR_EXEC)


class MigrationStatus(StrEnum):
    """Where a migration stands, outgoing or incoming (spec lifecycle.md section 1)."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    POSTCOPY_DEVICE = "postcopy-device"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER_SETUP = "postcopy-recover-setup"
    POSTCOPY_RECOVER = "postcopy-recover"
    COMPLETED = "completed"
    FAILING = "failing"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    WAIT_UNPLUG = "wait-unplug"


class RunState(StrEnum):
    """What the guest's processors are doing, or why they are not (spec lifecycle.md section 2)."""

    DEBUG = "debug"
    INMIGRATE = "inmigrate"
    INTERNAL_ERROR = "internal-error"
    IO_ERROR = "io-error"
    PAUSED = "paused"
    POSTMIGRATE = "postmigrate"
    PRELAUNCH = "prelaunch"
    FINISH_MIGRATE = "finish-migrate"
    RESTORE_VM = "restore-vm"
    RUNNING = "running"
    SAVE_VM = "save-vm"
    SHUTDOWN = "shutdown"
    SUSPENDED = "suspended"
    WATCHDOG = "watchdog"
    GUEST_PANICKED = "guest-panicked"
    COLO = "colo"


class Capability(StrEnum):
    """A switch that changes how a migration works (spec parameters.md section 4).

    QEMU 10.0 has all of them but ``block`` and ``compress``, which went with 9.1; 11.1 has no
    ``zero-blocks`` either.  ``capabilities.capabilities_of(release)`` gives those of one release.
    """

    XBZRLE = "xbzrle"
    RDMA_PIN_ALL = "rdma-pin-all"
    AUTO_CONVERGE = "auto-converge"
    ZERO_BLOCKS = "zero-blocks"
    COMPRESS = "compress"
    EVENTS = "events"
    POSTCOPY_RAM = "postcopy-ram"
    X_COLO = "x-colo"
    RELEASE_RAM = "release-ram"
    BLOCK = "block"
    RETURN_PATH = "return-path"
    PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover"
    MULTIFD = "multifd"
    DIRTY_BITMAPS = "dirty-bitmaps"
    POSTCOPY_BLOCKTIME = "postcopy-blocktime"
    LATE_BLOCK_ACTIVATE = "late-block-activate"
    X_IGNORE_SHARED = "x-ignore-shared"
    VALIDATE_UUID = "validate-uuid"
    BACKGROUND_SNAPSHOT = "background-snapshot"
    ZERO_COPY_SEND = "zero-copy-send"
    POSTCOPY_PREEMPT = "postcopy-preempt"
    SWITCHOVER_ACK = "switchover-ack"
    DIRTY_LIMIT = "dirty-limit"
    MAPPED_RAM = "mapped-ram"


class MultiFDCompression(StrEnum):
    """Codec of multifd payload.

    ``qpl`` and ``uadk`` (9.1) and ``qatzip`` (9.2) exist in QEMU only in builds with the matching
    library; migsim has none of them, as the builds it was compared with, so they are no values.
    """

    NONE = "none"
    ZLIB = "zlib"
    ZSTD = "zstd"


class ZeroPageDetection(StrEnum):
    """Who looks for pages of zeroes: nobody, the migration thread, or the multifd threads."""

    NONE = "none"
    LEGACY = "legacy"
    MULTIFD = "multifd"


MODE_SINCE: Final[dict[MigMode, str]] = {
    MigMode.NORMAL: "8.2",
    MigMode.CPR_REBOOT: "8.2",
    MigMode.CPR_TRANSFER: "10.0",
    MigMode.CPR_EXEC: "10.2",
}
"""First release that takes a mode as the value of the parameter (spec modes.md section 1)."""

STATUS_SINCE: Final[dict[MigrationStatus, str]] = {
    MigrationStatus.POSTCOPY_RECOVER_SETUP: "9.1",
    MigrationStatus.POSTCOPY_DEVICE: "10.2",
    MigrationStatus.FAILING: "11.0",
}
"""First release that reports a status, for those that 8.2 does not know."""


def modes_of(release: Release = Release.DEFAULT) -> tuple[MigMode, ...]:
    """Return the modes that ``release`` knows, in QMP order."""
    return tuple(mode for mode, since in MODE_SINCE.items() if release.has(since))


def statuses_of(release: Release = Release.DEFAULT) -> tuple[MigrationStatus, ...]:
    """Return the migration statuses that ``release`` knows, in QMP order."""
    return tuple(s for s in MigrationStatus if release.has(STATUS_SINCE.get(s)))


def spellings(members: Iterable[StrEnum]) -> str:
    """Return ``members`` as a list for people: ``none, zlib or zstd``."""
    names = [member.value for member in members]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
