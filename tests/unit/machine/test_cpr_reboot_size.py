"""cpr-reboot with RAM left in place: what it costs does not depend on the size of RAM.

Compared are 1 MiB and 1 TiB of sparse shared file RAM, with the same guest in the first MiB: bytes
in the file, virtual time, and the memory that this process takes for it.  Wall time is compared by
``benchmarks/bench_cpr_reboot.py``, where a noisy machine breaks nothing.
"""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import dataclass

import pytest

from migsim.guest.workloads import Uniform
from migsim.host import Host
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

MIB = 1 << 20
SIZES = {"small": MIB, "large": MIB * MIB}


@dataclass
class Update:
    """One live update."""

    file_bytes: int
    save_s: float
    load_s: float
    downtime_ms: int
    total_ms: int
    peak_bytes: int
    disk_bytes: int
    first_mib: bytes
    writes: int


def machine(ram, size, **more):
    vm = VM(
        MachineConfig(
            memory=BackendSpec(BackendKind.FILE, "ram0", size, mem_path=str(ram), share=True),
            workload=Uniform(0, 255, rate_pages_per_s=3000.0, seed=4),
            **more,
        )
    )
    vm.set_capabilities([("x-ignore-shared", True)])
    vm.set_parameters({"mode": "cpr-reboot"})
    return vm


def update(root, size) -> Update:
    host = Host(root)
    ram, state = host.path("pkram", "ram"), host.path("disk", "state")
    tracemalloc.start()
    try:
        with machine(ram, size) as vm:
            host.attach(vm)
            vm.advance(0.5)
            begin = vm.clock.now
            info = vm.save(f"file:{state}", limit_s=1.0)
            save_s = vm.clock.now - begin
            before = bytes(vm.ram["ram0"].view()[:256].data)
        host.sync()
        host.kexec()
        with machine(ram, size, incoming="defer") as vm:
            begin = vm.clock.now
            vm.load(f"file:{state}")
            load_s = vm.clock.now - begin
            assert vm.run.state == "running"
            after, writes = bytes(vm.ram["ram0"].view()[:256].data), vm.guest.writes
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert before == after
    assert not host.lost
    return Update(
        state.stat().st_size,
        save_s,
        load_s,
        info["downtime"],
        info["total-time"],
        peak_bytes,
        os.stat(ram).st_blocks * 512,
        after,
        writes,
    )


@pytest.fixture(scope="module")
def updates(tmp_path_factory):
    update(tmp_path_factory.mktemp("first"), MIB)  # what is made once does not count
    return {name: update(tmp_path_factory.mktemp(name), size) for name, size in SIZES.items()}


@pytest.mark.parametrize(
    "quantity", ["file_bytes", "save_s", "load_s", "downtime_ms", "total_ms", "disk_bytes"]
)
def test_within_10_percent(updates, quantity):
    small, large = (getattr(updates[name], quantity) for name in SIZES)
    assert small > 0
    assert large == pytest.approx(small, rel=0.1)


def test_the_guest_is_the_same(updates):
    small, large = updates["small"], updates["large"]
    assert (small.first_mib, small.writes) == (large.first_mib, large.writes)
    assert any(small.first_mib)


def test_no_table_of_all_pages_is_made(updates):
    # A bitmap of a 1 TiB guest has 32 MiB; it need not be touched to cost time.
    assert updates["large"].peak_bytes < updates["small"].peak_bytes + MIB
