"""Machines for the benchmarks, and the content of their RAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.reference import MIB
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

_FAST = {"max-bandwidth": 0, "downtime-limit": 300}


def machine_on_file(path: Path, size_bytes: int, **more: object) -> VM:
    """Return a machine whose RAM is a shared file; ``more`` goes to its configuration."""
    spec = BackendSpec(BackendKind.FILE, "ram0", size_bytes, mem_path=str(path), share=True)
    vm = VM(MachineConfig(memory=spec, **more))  # type: ignore[arg-type]
    vm.set_parameters(_FAST)
    return vm


def fill(vm: VM, zero: str) -> None:
    """Write random bytes into RAM: everywhere (``none``) or into every other MiB (``half``)."""
    ram = vm.ram["ram0"].view().reshape(-1, MIB)
    random = np.random.default_rng(0)
    for number in range(0, len(ram), 1 if zero == "none" else 2):
        ram[number] = random.integers(1, 256, MIB, np.uint8)


def phantom(size_bytes: int, writes_per_s: float, max_bandwidth: int) -> VM:
    """Return a machine whose RAM is only a bitmap, full of data and written to at random."""
    pages = size_bytes // 4096
    vm = VM(
        MachineConfig(
            memory=BackendSpec(BackendKind.PHANTOM, "ram0", size_bytes),
            workload=Uniform(0, pages - 1, rate_pages_per_s=writes_per_s, seed=1),
        )
    )
    vm.ram["ram0"].backend.nonzero.set_all()  # type: ignore[attr-defined]
    vm.set_parameters({"max-bandwidth": max_bandwidth})
    return vm
