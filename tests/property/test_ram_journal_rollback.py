"""Whatever is loaded, a rollback gives back every byte, and a commit what a plain copy has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.ram import FileBackend, MemfdBackend, PhantomBackend, RamBackend, RAMBlock, RamJournal

PAGE = 4096
PAGES = 24

VALUES = st.sampled_from([0, 0, 1, 255])
PFNS = st.lists(st.integers(0, PAGES - 1), max_size=12)
BEFORE = st.dictionaries(st.integers(0, PAGES - 1), VALUES)
STEP = st.tuples(st.sampled_from(["write", "zero", "run", "commit"]), PFNS, st.integers(1, 99))


def contents(pfns, seed):
    """Pages that differ by place, some of them zero, some not zero in their last byte only."""
    data = np.zeros((len(pfns), PAGE), np.uint8)
    data[:, 0] = (np.arange(len(pfns)) + seed) % 4
    data[::3, -1] = seed
    return data


def play(block, steps):
    """Play the steps; return the bytes that a rollback must restore and those that were loaded."""
    journal = RamJournal([block])
    model = block.view().copy()
    kept = model.copy()
    for kind, pfns, seed in steps:
        pages = np.array(pfns, np.int64)
        if kind == "run" and pfns:
            pages = np.arange(min(pfns), max(pfns) + 1)
        if kind == "commit":
            journal.commit()
            kept = model.copy()
        elif kind == "zero":
            journal.zero(block, pages)
            model[pages] = 0
        else:
            data = contents(pages, seed)
            journal.write(block, pages, data)
            for pfn, page in zip(pages, data, strict=True):
                model[pfn] = page
    return journal, kept, model


@pytest.mark.parametrize("kind", ["ram", "memfd", "file", "file-private"])
@given(before=BEFORE, steps=st.lists(STEP, max_size=8))
def test_rollback_restores_every_byte(kind, before, steps, tmp_path_factory):
    size = PAGES * PAGE
    path = tmp_path_factory.mktemp("ram")
    backend = {
        "ram": lambda: RamBackend("r", size),
        "memfd": lambda: MemfdBackend("r", size),
        "file": lambda: FileBackend("r", size, path, share=True),
        "file-private": lambda: FileBackend("r", size, path),
    }[kind]()
    with backend:
        block = RAMBlock("r", backend)
        for pfn, value in before.items():
            block.view()[pfn] = value
        journal, kept, model = play(block, steps)
        assert np.array_equal(block.view(), model)
        journal.rollback()
        assert np.array_equal(block.view(), kept)
        journal.rollback()
        assert np.array_equal(block.view(), kept)


@given(before=st.sets(st.integers(0, PAGES - 1)), steps=st.lists(STEP, max_size=8))
def test_phantom_memory_tells_the_same_zero_pages(before, steps):
    pfns = np.array(sorted(before), np.int64)
    with RamBackend("r", PAGES * PAGE) as backend:
        real = RAMBlock("r", backend)
        phantom = RAMBlock("r", PhantomBackend("r", PAGES * PAGE))
        real.view()[pfns] = 1
        phantom.backend.nonzero.set_pfns(pfns)
        journals = []
        for block in (real, phantom):
            journal = RamJournal([block])
            for kind, pages, seed in steps:
                array = np.array(pages, np.int64)
                if kind == "zero":
                    journal.zero(block, array)
                elif kind != "commit":
                    journal.write(block, array, contents(array, seed))
            journals.append(journal)
        everything = np.arange(PAGES)
        assert real.zero_mask(everything).tolist() == phantom.zero_mask(everything).tolist()
        for journal in journals:
            journal.rollback()
        assert real.zero_mask(everything).tolist() == phantom.zero_mask(everything).tolist()
        assert np.flatnonzero(~phantom.zero_mask(everything)).tolist() == sorted(before)
