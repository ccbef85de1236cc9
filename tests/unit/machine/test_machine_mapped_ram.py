"""The engines write RAM to fixed places of a file, and read it from there."""

from __future__ import annotations

import pytest
from vms import MIB, fill, like, make, ram

from migsim.channel import CountingOutput
from migsim.errors import ChannelError, ConfigError
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig
from migsim.ram.backends import RamBackend
from migsim.ram.block import RAMBlock
from migsim.vm import VM


def mapped(vm: VM, *more: str) -> VM:
    vm.set_capabilities([("mapped-ram", True), *((name, True) for name in more)])
    return vm


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
@pytest.mark.parametrize("offset", ["", ",offset=0x5000"])
def test_what_is_saved_is_loaded(tmp_path, mode, offset):
    blocks = (RAMBlock("video", RamBackend("video", 65536)),)
    workload = Uniform(0, 511, rate_pages_per_s=20_000.0, seed=9)
    vm = mapped(make(4 * MIB, workload=workload, extra_blocks=blocks))
    fill(vm, 3, name="video", first=5)
    vm.set_parameters({"mode": mode, "max-bandwidth": 8 * MIB})
    vm.advance(0.05)
    uri = f"file:{tmp_path}/state{offset}"
    info = vm.save(uri)
    target = mapped(
        like(vm, workload=None, extra_blocks=(RAMBlock("video", RamBackend("v", 65536)),))
    )
    target.load(uri)
    assert target.ram_sha256() == vm.ram_sha256()
    assert info["ram"]["normal"] >= 3
    assert info["ram"]["normal"] + info["ram"]["duplicate"] >= 1024 + 16


def test_pages_are_where_the_layout_says(tmp_path):
    vm = mapped(make(MIB))
    fill(vm, 1, value=0x5A, first=7)
    vm.save(f"file:{tmp_path}/state")
    data = (tmp_path / "state").read_bytes()
    assert data[MIB + 7 * 4096 : MIB + 8 * 4096] == b"\x5a" * 4096
    assert not any(data[MIB : MIB + 7 * 4096])


def test_a_counting_channel_has_no_places():
    vm = mapped(make(MIB))
    with pytest.raises(ConfigError, match="seeked"):
        vm.migrate(CountingOutput())
    assert vm.query_migrate() == {}


def test_one_side_alone_is_refused(tmp_path):
    vm = mapped(make(MIB))
    vm.save(f"file:{tmp_path}/state")
    target = like(vm)
    with pytest.raises(Exception, match="mapped-ram"):
        target.load(f"file:{tmp_path}/state")
    assert target.run.state.value == "inmigrate"


def test_a_shared_block_that_is_left_out_fails_at_the_end(tmp_path):
    memory = ram(MIB, tmp_path / "ram", share=True)
    with mapped(VM(MachineConfig(memory=memory)), "x-ignore-shared") as vm:
        with pytest.raises(ChannelError, match="ram0 is shared"):
            vm.save(f"file:{tmp_path}/state")
        assert vm.query_migrate()["status"] == "failed"
        assert vm.run.state.value == "running"
