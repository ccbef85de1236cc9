"""The journal of a load: what it keeps, what it leaves alone, what it gives back."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.errors import StateError
from migsim.ram import (
    FileBackend,
    MemfdBackend,
    PhantomBackend,
    RamBackend,
    RAMBlock,
    RamJournal,
)

PAGE = 4096


def filled(count, value):
    return np.full((count, PAGE), value, np.uint8)


@pytest.fixture(params=["ram", "memfd", "file", "file-private"])
def block(request, tmp_path):
    size = 64 * PAGE
    made = {
        "ram": lambda: RamBackend("r", size),
        "memfd": lambda: MemfdBackend("r", size),
        "file": lambda: FileBackend("r", size, tmp_path / "r", share=True),
        "file-private": lambda: FileBackend("r", size, tmp_path / "r"),
    }[request.param]()
    with made:
        yield RAMBlock("r", made)


def test_contents_are_applied_at_once(block):
    journal = RamJournal([block])
    journal.write(block, np.array([3, 9, 4]), np.stack([filled(1, v)[0] for v in (1, 2, 3)]))
    journal.write(block, np.array([10, 11]), filled(2, 4))
    journal.zero(block, np.array([9, 20]))
    assert block.view()[[3, 4, 9, 10, 11, 20], 7].tolist() == [1, 3, 0, 4, 4, 0]


def test_the_last_content_of_a_page_stays(block):
    journal = RamJournal([block])
    journal.write(block, np.array([3, 3]), np.concatenate([filled(1, 1), filled(1, 2)]))
    assert (block.view()[3] == 2).all()
    journal.rollback()
    assert not block.view().any()


def test_rollback_into_untouched_memory_leaves_it_untouched(block):
    untouched = block.backend.pristine
    journal = RamJournal([block])
    journal.write(block, np.array([3, 9]), filled(2, 1))
    journal.rollback()
    assert block.backend.pristine is untouched
    assert not block.view().any()


def test_rollback_into_used_memory_restores_every_byte(block):
    block.view()[::3] = 7
    before = block.view().copy()
    journal = RamJournal([block])
    journal.write(block, np.arange(10, 20), filled(10, 1))
    journal.write(block, np.array([40, 12, 40]), filled(3, 2))
    journal.zero(block, np.arange(0, 64, 2))
    journal.write(block, np.array([0]), filled(1, 3))
    journal.rollback()
    assert np.array_equal(block.view(), before)


def test_many_runs_are_rolled_back_in_bulk(block, monkeypatch):
    monkeypatch.setattr("migsim.ram.journal._MOST_DISCARDS", 2)
    block.view()[5] = 7
    before = block.view().copy()
    journal = RamJournal([block])
    journal.write(block, np.array([1, 3, 5, 9]), filled(4, 1))
    journal.rollback()
    assert np.array_equal(block.view(), before)


def test_commit_keeps_and_begins_anew(block):
    journal = RamJournal([block])
    journal.write(block, np.array([1, 2]), filled(2, 1))
    journal.commit()
    journal.write(block, np.array([2, 3]), filled(2, 2))
    journal.rollback()
    assert block.view()[[1, 2, 3], 0].tolist() == [1, 1, 0]
    journal.rollback()
    assert block.view()[[1, 2, 3], 0].tolist() == [1, 1, 0]


def test_zero_over_zero_leaves_holes_alone():
    with MemfdBackend("r", 64 * PAGE) as backend:
        block = RAMBlock("r", backend)
        journal = RamJournal([block])
        journal.zero(block, np.arange(64))
        assert backend.pristine
        journal.write(block, np.array([9]), filled(1, 1))
        journal.zero(block, np.arange(64))
        assert backend.data_extents().tolist() == [[9 * PAGE, 10 * PAGE]]
        assert not block.view().any()


def test_zero_over_holes_of_used_memory_leaves_them_alone():
    with MemfdBackend("r", 64 * PAGE) as backend:
        block = RAMBlock("r", backend)
        block.view()[9] = 1
        RamJournal([block]).zero(block, np.arange(64))
        assert backend.data_extents().tolist() == [[9 * PAGE, 10 * PAGE]]
        assert not block.view()[9].any()


def test_rollback_keeps_a_file_sparse(tmp_path):
    with FileBackend("r", 1 << 30, tmp_path / "r", share=True) as backend:
        block = RAMBlock("r", backend)
        block.view()[100] = 1
        extents = backend.data_extents().tolist()
        journal = RamJournal([block])
        journal.write(block, np.arange(90, 2000), filled(1910, 2))
        journal.rollback()
        assert (block.view()[100] == 1).all()
        assert backend.data_extents().tolist() == extents


def test_content_of_the_wrong_shape_is_refused(block):
    journal = RamJournal([block])
    for data in (None, filled(1, 1), filled(3, 1), np.ones((2, 8), np.uint8)):
        with pytest.raises(ValueError, match="shape"):
            journal.write(block, np.array([1, 2]), data)
    assert not block.view().any()


def test_pages_outside_and_strange_blocks_are_refused(block):
    journal = RamJournal([block])
    for pfns in ([-1], [64]):
        with pytest.raises(IndexError):
            journal.write(block, np.array(pfns), filled(1, 1))
        with pytest.raises(IndexError):
            journal.zero(block, np.array(pfns))
    with pytest.raises(KeyError):
        RamJournal([]).zero(block, np.array([1]))


def test_rollback_restores_lengths():
    with RamBackend("acpi", 16 * PAGE) as backend:
        block = RAMBlock("acpi", backend, 4 * PAGE, resizable=True)
        journal = RamJournal([block])
        block.resize(8 * PAGE)
        journal.write(block, np.array([7]), filled(1, 1))
        journal.rollback()
        assert block.pages == 4
        assert not backend.array().any()
        block.resize(8 * PAGE)
        journal.commit()
        journal.rollback()
        assert block.pages == 8


def test_rollback_of_a_closed_backend_says_so():
    backend = RamBackend("r", 16 * PAGE)
    block = RAMBlock("r", backend)
    journal = RamJournal([block])
    journal.write(block, np.array([7]), filled(1, 1))
    backend.close()
    with pytest.raises(StateError):
        journal.rollback()


def test_phantom_memory():
    backend = PhantomBackend("r", 1 << 40)
    block = RAMBlock("r", backend)
    backend.nonzero.set_range(0, 4)
    before = backend.nonzero.copy()
    journal = RamJournal([block])
    journal.rollback()
    journal.write(block, np.array([9, 10]), None)
    journal.zero(block, np.array([0, 1]))
    journal.write(block, np.array([2, 20]), np.concatenate([filled(1, 0), filled(1, 1)]))
    assert backend.nonzero.take(0, 99).tolist() == [3, 9, 10, 20]
    journal.rollback()
    assert backend.nonzero == before
    journal.zero(block, np.array([0]))
    journal.commit()
    journal.rollback()
    assert backend.nonzero.take(0, 99).tolist() == [1, 2, 3]


def test_the_last_content_counts_for_phantom_memory_too():
    backend = PhantomBackend("r", 64 * PAGE)
    block = RAMBlock("r", backend)
    journal = RamJournal([block])
    data = np.concatenate([filled(1, 0), filled(1, 1), filled(1, 1), filled(1, 0)])
    journal.write(block, np.array([3, 3, 5, 5]), data)
    assert backend.nonzero.take(0, 64).tolist() == [3]
