"""Which kind of RAM outlives what, as a table.

Nothing in QEMU or here enforces that RAM survives between the save and the load of a cpr-reboot
(spec modes.md section 6): the table says what happens to it, and the host makes it happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class RamKind(StrEnum):
    """What guest RAM, or a file, lies in."""

    ANONYMOUS = "anonymous"
    """Memory of the process alone; also a private mapping of a file, whose writes are not in it."""
    MEMFD = "memfd"
    """A file without a name: there as long as someone holds it open."""
    TMPFS = "tmpfs"
    """A named file in memory, such as below ``/dev/shm``."""
    TMPFS_PKRAM = "tmpfs-pkram"
    """A tmpfs whose pages the old kernel hands to the new one (PKRAM, a kernel patch set)."""
    DAX = "dax"
    """Persistent memory, mapped directly; a lost file there is a device full of zeroes."""
    MEMFD_LUO = "memfd-luo"
    """A memfd preserved by the kernel's live update orchestrator (LUO, over KHO)."""
    DISK = "disk"
    """A file on a disk, behind the page cache."""


class HostEvent(StrEnum):
    """What can happen to a process or to the host under it."""

    PROCESS_QUIT = "process quit"
    KEXEC = "kexec"
    POWER_LOSS = "power loss"


class Fate(StrEnum):
    """What an event does to the contents of some RAM."""

    KEPT = "kept"
    LOST = "lost"
    IF_SYNCED = "kept if synced"
    """Kept when nothing was written since the last ``Host.sync``, lost otherwise."""


@dataclass(frozen=True, slots=True)
class SurvivalRow:
    """What becomes of one kind of RAM.

    Attributes:
        kind: the kind.
        quit: fate when the process that has it mapped ends, in whatever way.
        kexec: fate when the host boots another kernel after an orderly shutdown, which syncs.
        power_loss: fate when the host loses power.
        then: what is left to find after a loss.
        found_by: how the next process reaches what was kept.
    """

    kind: RamKind
    quit: Fate
    kexec: Fate
    power_loss: Fate
    then: str
    found_by: str

    def fate(self, event: HostEvent) -> Fate:
        """Return what ``event`` does to this kind."""
        if event is HostEvent.PROCESS_QUIT:
            return self.quit
        return self.kexec if event is HostEvent.KEXEC else self.power_loss


_KEPT, _LOST, _IF_SYNCED = Fate.KEPT, Fate.LOST, Fate.IF_SYNCED

SURVIVAL: Final = (
    SurvivalRow(RamKind.ANONYMOUS, _LOST, _LOST, _LOST, "nothing", "not at all"),
    SurvivalRow(
        RamKind.MEMFD,
        _LOST,
        _LOST,
        _LOST,
        "nothing",
        "a descriptor that another process was given before",
    ),
    SurvivalRow(RamKind.TMPFS, _KEPT, _LOST, _LOST, "an empty mount: the file is gone", "its path"),
    SurvivalRow(
        RamKind.TMPFS_PKRAM, _KEPT, _KEPT, _LOST, "an empty mount: the file is gone", "its path"
    ),
    SurvivalRow(RamKind.DAX, _KEPT, _KEPT, _IF_SYNCED, "the device, full of zeroes", "its path"),
    SurvivalRow(
        RamKind.MEMFD_LUO,
        _KEPT,
        _KEPT,
        _LOST,
        "nothing",
        "the name of its session, after the kexec",
    ),
    SurvivalRow(
        RamKind.DISK,
        _KEPT,
        _KEPT,
        _IF_SYNCED,
        "zeroes where an older version was synced, else no file",
        "its path",
    ),
)
"""One row per kind of RAM."""

SURVIVES: Final[Mapping[tuple[RamKind, HostEvent], Fate]] = MappingProxyType(
    {(row.kind, event): row.fate(event) for row in SURVIVAL for event in HostEvent}
)
"""The fate of each kind of RAM at each event; derived from ``SURVIVAL``."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is gone.

    Attributes:
        at: time of the host's clock, in seconds.
        event: what took it.
        kind: what it lay in.
        what: the path of the file, or the id of the memory backend or session without one.
        size_bytes: how much it was.
        holders: names of the processes that had it mapped or open as RAM.
    """

    at: float
    event: HostEvent
    kind: RamKind
    what: str
    size_bytes: int
    holders: tuple[str, ...] = ()

    def __str__(self) -> str:
        users = f" of {', '.join(self.holders)}" if self.holders else ""
        return f"{self.at:.3f} s: {self.event} took {self.kind} {self.what}{users}"
