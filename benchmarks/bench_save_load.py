"""Saving and loading shared file RAM; rates are bytes of RAM per second."""

from __future__ import annotations

import pytest

from benchmarks.machines import fill, machine_on_file
from benchmarks.reference import MIB, raw_copy, raw_write, scaled

SIZE = scaled(256 * MIB, 8 * MIB)


@pytest.mark.benchmark(group="save 256 MiB")
@pytest.mark.parametrize("zero", ["none", "half"])
def test_save(against, folder, zero):
    state = folder / "state"

    def setup():
        state.unlink(missing_ok=True)
        return (f"file:{state}",), {}

    with machine_on_file(folder / "ram", SIZE) as vm:
        fill(vm, zero)
        vm.stop()

        def save(uri):
            result = vm.save(uri)
            vm.cont()
            vm.stop()
            return result

        raw = raw_write(folder / "raw", SIZE)
        result = against(raw, save, size=SIZE, setup=setup)
    assert result["status"] == "completed"
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.benchmark(group="load 256 MiB")
@pytest.mark.parametrize("zero", ["none", "half"])
def test_load(against, folder, zero):
    state = folder / "state"
    with machine_on_file(folder / "ram", SIZE) as vm:
        fill(vm, zero)
        vm.save(f"file:{state}")
        expected = vm.ram_sha256()
    targets = []

    def setup():
        while targets:
            targets.pop().kill()
        (folder / "target").unlink(missing_ok=True)
        targets.append(machine_on_file(folder / "target", SIZE, incoming="defer"))
        return (targets[0],), {}

    raw = raw_copy(folder, SIZE)
    against(raw, lambda target: target.load(f"file:{state}"), size=SIZE, setup=setup)
    assert targets[0].ram_sha256() == expected
    targets.pop().kill()
    for path in folder.iterdir():
        path.unlink()
