"""QEMU's migration core without QEMU.

::

    from migsim import VM, MachineConfig

    vm = VM(MachineConfig())
    vm.hmp("info status")

Names are looked up when they are first used, so that importing the package costs nothing; what
they need beyond the standard library is numpy.  Everything else is in the sub-packages.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blockers.registry import BlockerRegistry
    from .channel.counting import CountingOutput
    from .clock import VirtualClock, WallClock
    from .errors import MigsimError
    from .guest.devices import Device
    from .guest.workloads import HotCold, PageCounter, SequentialSweep, Uniform
    from .host import Host, HostEvent, RamKind
    from .machine.config import MachineConfig, Profile
    from .machine.timing import HostTiming
    from .qapi.enums import Capability, MigMode, MigrationStatus, RunState
    from .qapi.release import Release
    from .ram.backends import BackendKind, BackendSpec
    from .stream.check import check_stream
    from .vm import VM

__version__ = "0.1.0"

__all__ = [
    "VM",
    "BackendKind",
    "BackendSpec",
    "BlockerRegistry",
    "Capability",
    "CountingOutput",
    "Device",
    "Host",
    "HostEvent",
    "HostTiming",
    "HotCold",
    "MachineConfig",
    "MigMode",
    "MigrationStatus",
    "MigsimError",
    "PageCounter",
    "Profile",
    "RamKind",
    "Release",
    "RunState",
    "SequentialSweep",
    "Uniform",
    "VirtualClock",
    "WallClock",
    "check_stream",
]

_HOMES = {
    "vm": ("VM",),
    "machine.config": ("MachineConfig", "Profile"),
    "machine.timing": ("HostTiming",),
    "ram.backends": ("BackendKind", "BackendSpec"),
    "guest.workloads": ("HotCold", "PageCounter", "SequentialSweep", "Uniform"),
    "guest.devices": ("Device",),
    "host": ("Host", "HostEvent", "RamKind"),
    "blockers.registry": ("BlockerRegistry",),
    "channel.counting": ("CountingOutput",),
    "stream.check": ("check_stream",),
    "qapi.enums": ("Capability", "MigMode", "MigrationStatus", "RunState"),
    "qapi.release": ("Release",),
    "clock": ("VirtualClock", "WallClock"),
    "errors": ("MigsimError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a checker would take it as leave to accept any name

    def __getattr__(name: str) -> object:
        """Import the home of a public name when it is first asked for."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
