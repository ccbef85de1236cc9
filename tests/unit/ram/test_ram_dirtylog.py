"""The dirty log: what a reading reports and what a clear forgets."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.ram.bitmap import DirtyBitmap
from migsim.ram.dirtylog import DirtyLog

PAGES = 1000


@pytest.fixture
def log():
    log = DirtyLog(PAGES, chunk_shift=6)
    log.start()
    return log


def read(log):
    into = DirtyBitmap(log.pages)
    log.sync(into)
    return into.take(0, log.pages).tolist()


def test_inactive_log_records_nothing():
    log = DirtyLog(PAGES)
    log.mark_pfns(np.array([1, 2]))
    log.mark_range(0, 5)
    log.clear_chunks(0, PAGES - 1)
    assert not log.active
    assert read(log) == []
    log.start()
    assert log.active
    assert read(log) == []
    log.mark_range(0, 5)
    log.stop()
    assert not log.active
    assert read(log) == []
    log.start()
    assert read(log) == []


def test_sync_returns_what_is_new_in_the_target(log):
    log.mark_pfns(np.array([3, 3, 999]))
    into = DirtyBitmap(PAGES)
    into.set_range(3, 4)
    assert log.sync(into) == 1
    assert into.take(0, PAGES).tolist() == [3, 999]


def test_reading_does_not_clear(log):
    log.mark_pfns(np.array([3]))
    assert read(log) == [3]
    assert read(log) == [3]


def test_a_clear_forgets_only_its_chunks(log):
    log.mark_pfns(np.array([0, 63, 64, 128]))
    read(log)
    log.clear_chunks(63, 64)
    assert read(log) == [128]


def test_a_write_before_the_clear_of_a_reported_page_leaves_no_trace(log):
    log.mark_pfns(np.array([3]))
    read(log)
    log.mark_pfns(np.array([3]))
    log.clear_chunks(0, 0)
    assert read(log) == []


def test_a_write_before_the_clear_of_another_page_survives_it(log):
    log.mark_pfns(np.array([3]))
    read(log)
    log.mark_pfns(np.array([4]))
    log.clear_chunks(0, 0)
    assert read(log) == [4]


def test_a_chunk_is_cleared_once_a_reading(log):
    log.mark_pfns(np.array([3]))
    read(log)
    log.clear_chunks(0, 10)
    log.mark_pfns(np.array([3]))
    log.clear_chunks(0, 10)
    assert read(log) == [3]


def test_a_clear_without_a_reading_does_nothing(log):
    log.mark_pfns(np.array([3]))
    log.clear_chunks(0, PAGES - 1)
    assert read(log) == [3]


def test_a_chunk_that_was_empty_at_the_reading_has_nothing_to_clear(log):
    log.mark_pfns(np.array([70]))
    read(log)  # reports 70
    log.clear_chunks(0, PAGES - 1)
    read(log)  # reports nothing; what the chunk reported before is stale
    log.mark_pfns(np.array([70]))
    log.clear_chunks(0, PAGES - 1)
    assert read(log) == [70]


def test_a_log_that_starts_full_counts_writes_only_after_the_first_clear():
    log = DirtyLog(PAGES, chunk_shift=6)
    log.start(initially_set=True)
    into = DirtyBitmap(PAGES)
    into.set_all()
    assert log.sync(into) == 0
    log.clear_chunks(0, 0)
    log.mark_pfns(np.array([5, 500]))
    log.clear_chunks(64, PAGES - 1)
    assert read(log) == [5]


def test_starting_again_starts_over(log):
    log.mark_range(0, PAGES)
    log.start()
    assert read(log) == []


def test_pages_outside_are_refused(log):
    for pfns in ([-1], [PAGES]):
        with pytest.raises(IndexError):
            log.mark_pfns(np.array(pfns))
    with pytest.raises(IndexError):
        log.mark_range(0, PAGES + 1)
    for first, last in ((-1, 3), (0, PAGES)):
        with pytest.raises(IndexError):
            log.clear_chunks(first, last)
    assert read(log) == []


def test_nothing_marked_and_nothing_cleared(log):
    log.mark_pfns(np.empty(0, np.int64))
    log.mark_range(7, 7)
    log.clear_chunks(5, 4)
    assert read(log) == []


def test_the_target_must_be_of_the_same_size(log):
    with pytest.raises(ValueError, match="999"):
        log.sync(DirtyBitmap(999))


def test_a_chunk_holds_at_least_one_word():
    with pytest.raises(ValueError, match="chunk_shift 5"):
        DirtyLog(PAGES, chunk_shift=5)


def test_an_idle_log_of_a_tebibyte_has_nothing_to_walk():
    log = DirtyLog(1 << 28)
    log.start()
    into = DirtyBitmap(1 << 28)
    log.mark_pfns(np.array([5, (1 << 28) - 1]))
    assert log.sync(into) == 2
    log.clear_chunks(0, (1 << 28) - 1)
    assert log.sync(into) == 0
