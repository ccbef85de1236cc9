"""cpr-reboot with RAM left in place: 1 TiB of sparse shared file RAM against 1 MiB.

Here the unit is a whole save and load instead of a byte, so the ratio is 1 when time does not
depend on the size of RAM.
"""

from __future__ import annotations

import pytest

from benchmarks.machines import machine_on_file
from benchmarks.reference import MIB, Reference

pytestmark = pytest.mark.benchmark(group="cpr-reboot")


def save_and_load(folder, size_bytes):
    ram, state = folder / f"ram{size_bytes}", folder / f"state{size_bytes}"
    with machine_on_file(ram, size_bytes) as vm:
        _in_place(vm)
        vm.save(f"file:{state}")
    with machine_on_file(ram, size_bytes, incoming="defer") as vm:
        _in_place(vm)
        vm.load(f"file:{state}")


def _in_place(vm):
    vm.set_capabilities([("x-ignore-shared", True)])
    vm.set_parameters({"mode": "cpr-reboot"})


def test_save_and_load_1_tib(against, folder):
    small = Reference("1 MiB", 1, lambda: save_and_load(folder, MIB))
    against(small, lambda: save_and_load(folder, MIB * MIB), size=1, rounds=50)
    for path in folder.iterdir():
        path.unlink()
