"""Machines built after a stream of a real machine: RAM real, devices carried as they are."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

import pytest

from migsim.channel import FileInput, MemoryInput, MemoryOutput
from migsim.errors import DeviceError, IncompatibleError, StreamError
from migsim.machine.config import MachineConfig
from migsim.machine.from_stream import needs_of
from migsim.stream.items import DeviceSection
from migsim.stream.reader import StreamReader
from migsim.vm import VM

STREAMS = Path(__file__).parents[2] / "data" / "streams"
SAMPLES = {s["name"]: s for s in json.loads((STREAMS / "manifest.json").read_text())["samples"]}
FULL = ["pc-8m", "q35-8m", "microvm-8m"]


@pytest.fixture
def sample(tmp_path):
    def unpack(name: str) -> Path:
        path = tmp_path / f"{name}.state"
        path.write_bytes(lzma.decompress((STREAMS / f"{name}.bin.xz").read_bytes()))
        return path

    return unpack


def sections(channel) -> list[DeviceSection]:
    return [item for item in StreamReader(channel) if isinstance(item, DeviceSection)]


@pytest.mark.parametrize("name", FULL)
def test_a_real_machine_is_loaded_and_written_out_again(sample, name):
    path = sample(name)
    needs = needs_of(path)
    assert needs.machine.startswith(name.split("-")[0]) or "-" in needs.machine
    out = MemoryOutput()
    with VM(needs.config()) as vm:
        vm.load(f"file:{path}")
        digests = vm.ram_sha256()
        for block, facts in SAMPLES[name]["blocks"].items():
            assert digests[block] == facts["sha256"], block
        assert vm.run.state.value == SAMPLES[name]["runstate_before"]
        vm.save(out)
    before = sections(FileInput(path))
    after = sections(MemoryInput(out.getvalue()))
    assert [s.name for s in after] == [s.name for s in before]
    for old, new in zip(before, after, strict=True):
        assert (new.instance_id, new.version) == (old.instance_id, old.version)
        if old.name not in ("timer", "globalstate"):
            assert (new.body, new.section_id) == (old.body, old.section_id), old.name
    assert len(out.getvalue()) == path.stat().st_size


def test_what_was_carried_is_replaced_by_the_next_load(sample):
    first = sample("q35-8m")
    with VM(needs_of(first).config()) as vm:
        vm.load(f"file:{first}")
        carried = len(vm.save_sections("paused", False))
        one, two = MemoryOutput(), MemoryOutput()
        vm.save(one)
        with VM(needs_of(first).config()) as other:
            other.load(MemoryInput(one.getvalue()))
            assert len(other.save_sections("paused", False)) == carried
            other.save(two)
    assert hashlib.sha256(one.getvalue()).digest() == hashlib.sha256(two.getvalue()).digest()


def test_a_machine_without_devices_of_its_own_refuses_them(sample):
    path = sample("q35-8m")
    data = bytearray(path.read_bytes())
    name = needs_of(path).machine
    # The same stream under the name of machine none: the configuration alone is changed.
    at = data.index(name.encode())
    data[at - 4 : at + len(name)] = (4).to_bytes(4, "big") + b"none"
    config = needs_of(path).config()
    with VM(
        MachineConfig(memory=config.memory, extra_blocks=config.extra_blocks, incoming="defer")
    ) as vm:
        with pytest.raises((IncompatibleError, StreamError)):
            vm.load(MemoryInput(bytes(data)))
        assert vm.save_sections("running", False)[-1].name == "globalstate"
        assert len(vm.save_sections("running", False)) == 2


def test_a_refused_load_carries_nothing(sample):
    path = sample("pc-8m")

    def refuse(device) -> None:
        raise DeviceError(device.name, "post_load", "no")

    with VM(needs_of(path).config()) as vm:
        vm.find_device("timer", 0).post_load = refuse
        with pytest.raises(DeviceError):
            vm.load(f"file:{path}")
        assert len(vm.save_sections("running", False)) == 2
        assert not vm.ram["ram0"].view().any()


def test_a_stream_that_ends_before_its_blocks_is_no_machine(tmp_path, sample):
    path = sample("pc-8m")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:40])
    with pytest.raises(StreamError) as caught:
        needs_of(tmp_path / "cut")
    assert caught.value.offset <= 40
