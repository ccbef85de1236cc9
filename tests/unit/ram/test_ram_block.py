"""RAM blocks and the order of their list."""

from __future__ import annotations

import time

import numpy as np
import pytest

from migsim.errors import ConfigError, StateError
from migsim.ram import (
    DirtyBitmap,
    FileBackend,
    MemfdBackend,
    PhantomBackend,
    RamBackend,
    RAMBlock,
    RAMList,
)
from migsim.ram.block import consecutive

PAGE = 4096
TIB = 1 << 40


@pytest.fixture
def block():
    with RamBackend("ram0", 512 * PAGE) as backend:
        yield RAMBlock("ram0", backend)


@pytest.mark.parametrize(
    ("pfns", "expected"),
    [
        ([], False),
        ([4], True),
        ([4, 5, 6], True),
        ([4, 6], False),
        ([4, 4], False),
        ([6, 5, 4], False),
        ([4, 6, 5, 7], False),
        ([4, 4, 6], False),
    ],
)
def test_consecutive(pfns, expected):
    assert consecutive(np.array(pfns, np.int64)) is expected


def test_the_view_is_the_memory(block):
    view = block.view()
    assert view.shape == (512, PAGE)
    view[3, 5] = 9
    assert block.backend.array()[3 * PAGE + 5] == 9


def test_the_view_ends_with_the_used_length():
    with RamBackend("acpi", 16 * PAGE) as backend:
        block = RAMBlock("acpi", backend, 4 * PAGE, resizable=True)
        assert (block.pages, block.max_pages, block.max_bytes) == (4, 16, 16 * PAGE)
        assert block.view().shape == (4, PAGE)


def test_reading_pages(block):
    block.view()[:, 0] = np.arange(512) % 256
    assert block.read(np.array([7, 3, 3]))[:, 0].tolist() == [7, 3, 3]
    assert block.read(np.array([3, 4, 5]))[:, 0].tolist() == [3, 4, 5]
    assert block.read(np.empty(0, np.int64)).shape == (0, PAGE)
    assert np.shares_memory(block.read(np.arange(4)), block.view())


@pytest.mark.parametrize("pfns", [[-1], [0, 512]])
def test_pages_outside_are_refused(block, pfns):
    for method in (block.read, block.zero_mask, block.check):
        with pytest.raises(IndexError):
            method(np.array(pfns))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kind", [RamBackend, MemfdBackend])
def test_zero_mask_against_the_bytes(kind, share):
    rng = np.random.default_rng(2)
    with kind("r", 2048 * PAGE, share=share) as backend:
        block = RAMBlock("r", backend)
        used = np.flatnonzero(rng.random(2048) < 0.4)
        block.view()[used[::2], 0] = 1
        block.view()[used[1::2]] = 0  # touched, and zero all the same
        expected = np.ones(2048, np.bool_)
        expected[used[::2]] = False
        for pfns in (np.arange(2048), np.arange(50, 60), used, used[::-1], np.array([5, 5, 2047])):
            assert block.zero_mask(pfns).tolist() == expected[pfns].tolist()
        assert block.zero_mask(np.empty(0, np.int64)).size == 0
        far = np.array([0, 2047])
        assert block.zero_mask(far).tolist() == expected[far].tolist()


def test_zero_mask_of_full_memory():
    with MemfdBackend("r", 64 * PAGE) as backend:
        block = RAMBlock("r", backend)
        block.view()[:] = 1
        block.view()[[3, 63]] = 0
        assert np.flatnonzero(block.zero_mask(np.arange(64))).tolist() == [3, 63]
        assert np.flatnonzero(block.zero_mask(np.arange(63, -1, -1))).tolist() == [0, 60]


def test_zero_mask_does_not_touch_holes():
    with MemfdBackend("r", 1 << 30) as backend:
        block = RAMBlock("r", backend)
        block.view()[1000] = 1
        mask = block.zero_mask(np.arange(block.pages))
        assert np.flatnonzero(~mask).tolist() == [1000]
        assert backend.data_extents().tolist() == [[1000 * PAGE, 1001 * PAGE]]


def test_zero_mask_of_phantom_memory():
    block = RAMBlock("r", PhantomBackend("r", TIB))
    block.backend.nonzero.set_range(10, 12)
    assert block.zero_mask(np.array([9, 10, 11, 12])).tolist() == [True, False, False, True]
    with pytest.raises(StateError):
        block.read(np.array([3]))
    with pytest.raises(StateError):
        block.view()


def test_a_block_of_a_tebibyte_costs_as_little_as_a_small_one(tmp_path):
    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    before, begin = resident(), time.thread_time()
    with FileBackend("r", TIB, tmp_path / "r", share=True) as backend:
        block = RAMBlock("r", backend)
        assert block.ignorable
        assert block.pages == TIB // PAGE
        assert RAMList([block]).total_bytes == TIB
        block.log.mark_range(0, 1 << 28)
        block.log.stop()
        assert time.thread_time() - begin < 0.5
        assert resident() - before < 4 << 20


def test_lengths_must_fit():
    with RamBackend("r", 16 * PAGE) as backend:
        for used in (0, -PAGE, PAGE + 1, 17 * PAGE):
            with pytest.raises(ConfigError):
                RAMBlock("r", backend, used)


def test_resizing():
    with RamBackend("acpi", 16 * PAGE) as backend:
        block = RAMBlock("acpi", backend, 4 * PAGE, resizable=True)
        block.resize(8 * PAGE)
        assert block.pages == block.log.pages == 8
        with pytest.raises(ConfigError):
            block.resize(17 * PAGE)
        block.log.start()
        block.resize(8 * PAGE)
        with pytest.raises(StateError):
            block.resize(4 * PAGE)
        assert block.log.sync(DirtyBitmap(8)) == 0
        assert block.used_bytes == 8 * PAGE


def test_a_fixed_block_keeps_its_length(block):
    block.resize(block.used_bytes)
    with pytest.raises(ConfigError):
        block.resize(PAGE)
    assert repr(block) == f"RAMBlock('ram0', {512 * PAGE} of {512 * PAGE} bytes)"


def phantom(name, pages, used=None, **more):
    return RAMBlock(name, PhantomBackend(name, pages * PAGE), used, **more)


def test_order_is_by_largest_length_then_age():
    blocks = RAMList(
        [
            phantom("pc.rom", 32),
            phantom("pc.bios", 64),
            phantom("ram0", 512),
            phantom("/rom@etc/acpi/tables", 512, 32 * PAGE, resizable=True),
            phantom("vga", 64),
        ]
    )
    names = ["ram0", "/rom@etc/acpi/tables", "pc.bios", "vga", "pc.rom"]
    assert [block.name for block in blocks] == names
    assert blocks.total_bytes == (512 + 32 + 64 + 64 + 32) * PAGE


def test_list_lookup():
    hidden = phantom("hidden", 4, migratable=False)
    blocks = RAMList([phantom("a", 2), hidden])
    assert "a" in blocks
    assert "b" not in blocks
    assert blocks["hidden"] is hidden
    assert blocks.get("b") is None
    assert [block.name for block in blocks.migratable()] == ["a"]
    assert blocks.total_bytes == 2 * PAGE
    with pytest.raises(ConfigError):
        blocks.add(phantom("a", 9))
    with pytest.raises(KeyError):
        blocks["b"]
    assert blocks.remove("hidden") is hidden
    assert len(blocks) == 1
    with pytest.raises(KeyError):
        blocks.remove("hidden")


def test_closing_the_list_closes_the_backends(block):
    blocks = RAMList([block])
    blocks.close()
    with pytest.raises(StateError):
        block.view()
