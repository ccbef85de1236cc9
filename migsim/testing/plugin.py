"""Fixtures for pytest; loaded by its entry point where pytest is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ..vm import VM
    from .hosted import Host, HostedMachine, Pair
    from .process import MachineProcess


@pytest.fixture
def migsim_vm() -> Iterator[VM]:
    """A machine ``none`` without RAM, in process and in virtual time."""
    from ..machine.config import MachineConfig
    from ..vm import VM

    with VM(MachineConfig()) as vm:
        yield vm


@pytest.fixture
def migsim_process(tmp_path: Path) -> Iterator[Callable[..., MachineProcess]]:
    """Start front-end processes: call it with QEMU-style options; they end with the test."""
    from .process import MachineProcess

    running: list[MachineProcess] = []

    def start(*options: str) -> MachineProcess:
        running.append(MachineProcess(tmp_path, options or ("-machine", "none")))
        return running[-1]

    yield start
    for process in running:
        process.close()


@pytest.fixture
def migsim_host() -> Iterator[Host]:
    """Serve machines in this process: ``migsim_host.start(*options, faults=[...])``."""
    import tempfile

    from .hosted import serving

    # Not pytest's directory: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="migsim") as folder, serving(folder) as host:
        yield host


@pytest.fixture
def migsim_machine(migsim_host: Host) -> HostedMachine:
    """One machine with 16 MiB of RAM behind a QMP socket, ``migsim_machine.path``."""
    return migsim_host.start("-machine", "none", "-m", "16M")


@pytest.fixture
def migsim_pair(migsim_host: Host) -> Pair:
    """Two machines of which one can migrate to the other."""
    return migsim_host.pair("-machine", "none", "-m", "16M")
