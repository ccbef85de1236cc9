"""Fixtures for pytest; loaded by its entry point where pytest is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ..vm import VM
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
