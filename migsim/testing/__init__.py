"""For tests of programs that drive QEMU: machines behind QMP sockets, with faults on demand.

`Host` serves machines from a thread of the test's own process, in virtual time; `MachineProcess`
is a process of its own.  Fixtures for pytest are in ``migsim.testing.plugin``, which pytest finds
by itself: so nothing is imported here before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import (
        ConnectionReset,
        DestinationDies,
        DiesAtPass,
        DiskFull,
        DoubledEvent,
        DroppedEvent,
        Fault,
        SlowLink,
        SlowReply,
        WriteError,
        seeded,
    )
    from .hosted import Host, HostedMachine, Pair, serving
    from .process import MachineProcess, QmpClient, QmpFailed

__all__ = [
    "ConnectionReset",
    "DestinationDies",
    "DiesAtPass",
    "DiskFull",
    "DoubledEvent",
    "DroppedEvent",
    "Fault",
    "Host",
    "HostedMachine",
    "MachineProcess",
    "Pair",
    "QmpClient",
    "QmpFailed",
    "SlowLink",
    "SlowReply",
    "WriteError",
    "seeded",
    "serving",
]
_HOMES = {
    **dict.fromkeys(("Host", "HostedMachine", "Pair", "serving"), "hosted"),
    **dict.fromkeys(("MachineProcess", "QmpClient", "QmpFailed"), "process"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "faults")
    return getattr(import_module(f".{home}", __name__), name)
