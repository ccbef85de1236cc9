"""The description of one machine: what a command line says, as values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..qapi.release import Release
from .timing import HostTiming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..channel.uri import ChannelAddress
    from ..guest.devices import Device
    from ..guest.guest import Guest
    from ..guest.workload import Workload
    from ..ram.backends import BackendSpec
    from ..ram.block import RAMBlock


class Profile(enum.Enum):
    """What to do where QEMU itself misbehaves.

    SAFE never aborts: the mode is latched when ``migrate`` is given, a failed incoming migration
    can be tried again.  STRICT reports what QEMU does: `AbortError` where QEMU ends with a
    signal, an incoming status that stays where QEMU leaves it.  ANSWERING gives QEMU's answers
    like STRICT and never aborts, as SAFE: what a front-end wants.
    """

    SAFE = "safe"
    STRICT = "strict"
    ANSWERING = "answering"

    @property
    def aborts(self) -> bool:
        """Whether the process ends where QEMU's does."""
        return self is Profile.STRICT

    @property
    def forgives(self) -> bool:
        """Whether an incoming migration that failed can be tried again."""
        return self is Profile.SAFE


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """One machine, before it is built.

    Attributes:
        machine: machine type or alias (``none``, ``microvm``, ``pc``, ``q35``).
        memory: the main RAM as a backend description; None for a machine without RAM.
        ram_name: name of the main RAM block; None means the backend's id.
        extra_blocks: further RAM blocks, ready made.
        devices: synthetic devices in the order of their creation.
        board: returns the devices that the machine has by itself, called with its guest when one is
            first needed; None for a machine of which only ``devices`` are known.
        board_is_complete: the machine has no other device, so that an unknown section of a stream
            is wrong; else it is carried as it is.
        workload: what the guest writes while it runs; None for an idle guest.
        incoming: None, ``defer``, or the URI or address to load from.
        handed_over: memory came from another process in mode cpr-transfer, so that the stream has
            no pages.
        start_stopped: ``-S``: stay in prelaunch, or paused after an incoming migration.
        only_migratable: refuse devices and blockers that keep normal mode from working.
        name: the guest's name; no other meaning.
        uuid: 16 bytes, or None.
        release: which QEMU to behave like.
        profile: what to do where QEMU misbehaves.
        seed: decides everything that is random.
        timing: what work costs in virtual time.
        globals: ``-global migration.NAME=VALUE`` pairs of property name and text, in order.
        suppress_vmdesc: leave the description out of streams (a machine property).
    """

    machine: str = "none"
    memory: BackendSpec | None = None
    ram_name: str | None = None
    extra_blocks: tuple[RAMBlock, ...] = ()
    devices: tuple[Device, ...] = ()
    board: Callable[[Guest], Iterable[Device]] | None = None
    board_is_complete: bool = True
    workload: Workload | None = None
    incoming: str | ChannelAddress | None = None
    handed_over: bool = False
    start_stopped: bool = False
    only_migratable: bool = False
    name: str = ""
    uuid: bytes | None = None
    release: Release = Release.DEFAULT
    profile: Profile = Profile.SAFE
    seed: int = 0
    timing: HostTiming = field(default_factory=HostTiming)
    globals: tuple[tuple[str, str], ...] = ()
    suppress_vmdesc: bool = False
