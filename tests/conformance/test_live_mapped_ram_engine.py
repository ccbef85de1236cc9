"""mapped-ram saved by the engine loads in a real QEMU, and counts as a real one counts."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

pytestmark = pytest.mark.live

SIZE = 16 << 20
MEMBERS = ("normal", "duplicate", "precopy-bytes", "downtime-bytes", "transferred", "total")


def qemu_args(path) -> list[str]:
    return [
        "-machine",
        "none,memory-backend=ram0",
        "-m",
        "16M",
        "-object",
        f"memory-backend-file,id=ram0,size=16M,mem-path={path},share=on",
    ]


def machine(path, **more) -> VM:
    memory = BackendSpec(BackendKind.FILE, "ram0", SIZE, str(path), share=True)
    vm = VM(MachineConfig(memory=memory, **more))
    vm.set_capabilities([("mapped-ram", True)])
    return vm


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
@pytest.mark.parametrize("offset", [0, 0x3000])
def test_a_mapped_ram_file_of_a_running_guest_loads(qemu, tmp_path, mode, offset):
    uri = f"file:{tmp_path}/state,offset={offset}"
    with machine(tmp_path / "a", workload=Uniform(0, 2047, rate_pages_per_s=9000.0, seed=2)) as vm:
        vm.advance(0.1)
        vm.set_parameters({"mode": mode, "max-bandwidth": 20 << 20})
        vm.save(uri)
        expected = vm.ram["ram0"].view().copy()
    target = qemu(*qemu_args(tmp_path / "b"), "-incoming", "defer")
    target.capabilities(mapped_ram=True)
    assert target.load(uri) == "completed", target.log
    assert np.array_equal(np.fromfile(tmp_path / "b", np.uint8).reshape(-1, 4096), expected)


def test_the_same_ram_counts_the_same(qemu, tmp_path):
    # Limited, so that parts end where the budget does; without a limit they end by the clock.
    bandwidth = 8 << 20
    ram = np.random.default_rng(3).integers(0, 256, SIZE, np.uint8)
    ram[SIZE // 2 :] = 0
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(ram)
    real = qemu(*qemu_args(tmp_path / "a"))
    real.capabilities(mapped_ram=True)
    real("migrate-set-parameters", max_bandwidth=bandwidth)
    real("migrate", uri=f"file:{tmp_path}/real")
    theirs = real.migration("completed", "failed")
    with machine(tmp_path / "b") as vm:
        vm.set_parameters({"max-bandwidth": bandwidth})
        ours = vm.save(f"file:{tmp_path}/ours")
    assert {m: ours["ram"][m] for m in MEMBERS} == {m: theirs["ram"][m] for m in MEMBERS}
    assert (tmp_path / "ours").stat().st_size == (tmp_path / "real").stat().st_size
