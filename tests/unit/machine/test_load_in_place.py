"""A mapped-ram file as guest RAM: no page is read when it is loaded, none of the file changes."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.channel import FileInput
from migsim.errors import ConfigError, MigsimError, StreamError
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.stream import RamBlocks, StreamReader
from migsim.vm import VM

MIB = 1 << 20
SIZE = 8 * MIB


def machine(in_place: bool = False, size: int = SIZE, **more) -> VM:
    spec = BackendSpec(BackendKind.RAM, "ram0", size, in_place=in_place)
    vm = VM(MachineConfig(memory=spec, start_stopped=True, **more))
    vm.set_capabilities([("mapped-ram", True)])
    vm.set_parameters({"max-bandwidth": 0})
    return vm


@pytest.fixture
def saved(tmp_path):
    vm = machine()
    ram = vm.ram["ram0"].view()
    rng = np.random.default_rng(1)
    ram[rng.integers(0, len(ram), 900)] = rng.integers(0, 256, 4096, np.uint8)
    content = ram.copy()
    vm.save(f"file:{tmp_path / 'state'}")
    vm.kill()
    return tmp_path / "state", content


def region_of(path):
    for item in StreamReader(FileInput(path)):
        if isinstance(item, RamBlocks):
            return item.blocks[0].mapped
    raise AssertionError


def test_ram_is_that_of_the_file_and_the_file_stays(saved):
    path, content = saved
    before = path.read_bytes()
    vm = machine(in_place=True, incoming="defer")
    vm.load(f"file:{path}")
    assert np.array_equal(vm.ram["ram0"].view(), content)
    vm.ram["ram0"].view()[:] = 7
    assert path.read_bytes() == before
    vm.save(f"file:{path.parent / 'again'}")
    vm.kill()
    other = machine(incoming="defer")
    other.load(f"file:{path.parent / 'again'}")
    assert (other.ram["ram0"].view() == 7).all()
    other.kill()


def test_no_page_is_read(saved, monkeypatch):
    path, content = saved
    read = []
    read_at = FileInput.read_at

    def watched(self, position, room):
        read.append((position, position + len(room)))
        return read_at(self, position, room)

    pages = region_of(path).pages_offset
    monkeypatch.setattr(FileInput, "read_at", watched)
    vm = machine(in_place=True, incoming="defer")
    vm.load(f"file:{path}")
    # Windows of a stream are read ahead; what lies behind the first pages is not.
    inside = [r for r in read if r[0] >= pages and r[0] < pages + SIZE]
    assert not inside
    assert np.array_equal(vm.ram["ram0"].view(), content)
    vm.kill()


def test_what_an_earlier_pass_left_does_not_count(saved):
    path, content = saved
    region = region_of(path)
    raw = bytearray(path.read_bytes())
    stored = np.frombuffer(raw, np.uint8, SIZE // 4096 // 8, region.bitmap_offset)
    bits = np.unpackbits(stored, bitorder="little")
    clear = np.flatnonzero(bits == 0)[:20]
    for pfn in clear.tolist():
        at = region.pages_offset + pfn * 4096
        raw[at : at + 4096] = b"old " * 1024
    path.write_bytes(raw)
    vm = machine(in_place=True, incoming="defer")
    vm.load(f"file:{path}")
    assert np.array_equal(vm.ram["ram0"].view(), content)
    vm.kill()


@pytest.mark.parametrize("damage", ["cut", "device"])
def test_a_load_that_fails_leaves_the_old_memory(saved, damage):
    path, _ = saved
    raw = bytearray(path.read_bytes())
    end = region_of(path).pages_offset + SIZE
    if damage == "cut":
        raw = raw[: end + 20]
    else:
        raw[end + 30] ^= 0xFF
    path.write_bytes(raw)
    vm = machine(in_place=True, incoming="defer")
    with pytest.raises(MigsimError):
        vm.load(f"file:{path}")
    assert not vm.ram["ram0"].view().any()
    vm.ram["ram0"].view()[0] = 1
    assert path.read_bytes() == bytes(raw)
    vm.kill()


def test_a_bit_behind_the_last_page_is_refused(tmp_path):
    vm = machine(size=3 * 4096)
    vm.save(f"file:{tmp_path / 'state'}")
    vm.kill()
    raw = bytearray((tmp_path / "state").read_bytes())
    raw[region_of(tmp_path / "state").bitmap_offset + 7] = 0x80
    (tmp_path / "state").write_bytes(raw)
    vm = machine(in_place=True, size=3 * 4096, incoming="defer")
    with pytest.raises(StreamError, match="no bit set behind"):
        vm.load(f"file:{tmp_path / 'state'}")
    vm.kill()


def test_only_private_memory_without_a_name_takes_a_file_in_place(tmp_path):
    with pytest.raises(ConfigError, match="in_place"):
        BackendSpec(BackendKind.MEMFD, "r", MIB, in_place=True).create()
    with pytest.raises(ConfigError, match="private"):
        BackendSpec(BackendKind.RAM, "r", MIB, share=True, in_place=True).create()
