"""Loaded pages on their way into memory: by one thread and by two, into every kind of memory."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from migsim.errors import ConfigError
from migsim.ram.backends import FileBackend, MemfdBackend, RamBackend
from migsim.ram.bitmap import DirtyBitmap
from migsim.ram.block import RAMBlock
from migsim.ram.journal import RamJournal
from migsim.ram.pages import zero_page_mask, zero_page_mask_by_two
from migsim.threads import in_halves, limit_threads, thread_count

PAGES = 4096


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    limit_threads(request.param)
    yield request.param
    limit_threads(0)


@pytest.fixture(params=["ram", "memfd", "shared file", "private file"])
def block(request, tmp_path):
    size = PAGES * 4096
    made = {
        "ram": lambda: RamBackend("r", size),
        "memfd": lambda: MemfdBackend("r", size),
        "shared file": lambda: FileBackend("r", size, tmp_path / "ram", share=True),
        "private file": lambda: FileBackend("r", size, tmp_path / "ram"),
    }[request.param]()
    yield RAMBlock("ram0", made)
    made.close()


def content(seed: int, pages: int = PAGES) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (pages, 4096), np.uint8)


def test_runs_holes_and_single_pages_arrive(threads, block):
    journal = RamJournal([block])
    data = content(1)
    padded = np.zeros((PAGES, 4104), np.uint8)
    padded[:, 8:] = data  # rows that do not lie next to each other, as in a stream
    rows = padded[:, 8:]
    expected = np.zeros((PAGES, 4096), np.uint8)
    for first, last in ((0, 700), (700, 703), (1000, 1900), (3000, 4096)):
        journal.write(block, np.arange(first, last), rows[first:last])
        expected[first:last] = data[first:last]
    gaps = np.concatenate((np.arange(2000, 2100), np.arange(2200, 2290)))
    journal.write(block, gaps, rows[gaps])
    expected[gaps] = data[gaps]
    # Again, and zero: the order of the calls counts.
    journal.write(block, np.arange(0, 300), rows[2000:2300])
    expected[:300] = data[2000:2300]
    journal.zero(block, np.arange(100, 120))
    expected[100:120] = 0
    journal.commit()
    assert np.array_equal(block.view(), expected)


def test_a_rollback_undoes_what_was_under_way(threads, block):
    journal = RamJournal([block])
    journal.write(block, np.arange(PAGES), content(2))
    journal.rollback()
    assert not block.view().any()
    before = content(3, 500)
    block.view()[:500] = before
    journal.commit()
    journal.write(block, np.arange(PAGES), content(4))
    journal.rollback()
    assert np.array_equal(block.view()[:500], before)
    assert not block.view()[500:].any()


def test_a_full_file_system_is_an_error_and_undone(threads, tmp_path, monkeypatch):
    with FileBackend("r", PAGES * 4096, tmp_path / "ram", share=True) as backend:
        block = RAMBlock("ram0", backend)
        journal = RamJournal([block])
        pwrite = os.pwrite

        def full(fd, data, position):
            if position >= 8 << 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return pwrite(fd, data, position)

        def load():
            for first in range(0, PAGES, 512):
                pfns = np.arange(first, first + 512)
                journal.write(block, pfns, content(5, 512))
            journal.commit()

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(ConfigError, match="No space left"):
            load()
        journal.rollback()
        monkeypatch.undo()
        assert not block.view().any()
        load()
        assert block.view().all()


def test_two_threads_find_the_same_zero_pages(threads):
    ram = np.zeros((8192, 4096), np.uint8)
    some = np.random.default_rng(6).random(8192) < 0.3
    some[:1500] = False
    ram[some, 4095] = 1
    ram[6000:7000, 0] = 1
    assert np.array_equal(zero_page_mask_by_two(ram), zero_page_mask(ram))
    assert np.array_equal(zero_page_mask(ram), ~ram.any(axis=1))


def test_threads_follow_the_limit_and_the_load(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "getloadavg", lambda: (1.0, 9.0, 9.0))
    assert thread_count() == 2
    monkeypatch.setattr(os, "getloadavg", lambda: (40.0, 0.0, 0.0))
    assert thread_count() == 1
    limit_threads(2)
    assert thread_count() == 2
    limit_threads(0)
    with pytest.raises(ValueError, match="-1"):
        limit_threads(-1)


def test_bitmaps_of_large_guests_in_halves(threads):
    pages = (1 << 26) + 64 * 7 + 3  # a little more than is shared
    rng = np.random.default_rng(8)
    first, second = DirtyBitmap(pages), DirtyBitmap(pages)
    one, two = rng.integers(0, pages, 50_000), rng.integers(0, pages, 50_000)
    two[:2] = pages - 1, pages // 2
    first.set_pfns(one)
    second.set_pfns(two)
    assert first.count() == np.unique(one).size
    new = np.setdiff1d(two, one).size
    assert first.merge(second) == new
    assert first.count() == np.unique(one).size + new
    assert first.test(two).all()
    assert first.merge(second) == 0


def test_what_goes_wrong_in_the_second_half_is_told(threads):
    def work(part):
        if part.stop == 10:
            raise ValueError("second")
        return part.stop

    with pytest.raises(ValueError, match="second"):
        in_halves(work, 10, 1)
    assert in_halves(lambda part: part.start, 10, 11) == [0]
    parts = in_halves(lambda part: part, 103, 1, unit=8)
    assert parts == ([slice(0, 48), slice(48, 103)] if threads > 1 else [slice(0, 103)])
