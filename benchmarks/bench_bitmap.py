"""Dirty bitmaps of a 1 TiB guest: 32 MiB of words; rates are bytes of bitmap per second."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reference import memcpy, scaled
from migsim.ram.bitmap import DirtyBitmap
from migsim.ram.dirtylog import DirtyLog

pytestmark = pytest.mark.benchmark(group="bitmap")

PAGES = scaled(1 << 28, 1 << 20)
BITMAP_BYTES = PAGES // 8


@pytest.fixture(scope="module")
def one_percent():
    return np.random.default_rng(1).integers(0, PAGES, PAGES // 100)


@pytest.fixture(scope="module")
def sparse(one_percent):
    bitmap = DirtyBitmap(PAGES)
    bitmap.set_pfns(one_percent)
    return bitmap


def test_sync_1_percent_dirty(against, one_percent):
    log, into = DirtyLog(PAGES), DirtyBitmap(PAGES)
    log.start()
    log.mark_pfns(one_percent)
    into.set_all()

    def setup():
        into.words[:] = 0
        return (into,), {}

    new = against(memcpy(BITMAP_BYTES), log.sync, size=BITMAP_BYTES, setup=setup)
    assert new == np.unique(one_percent).size


def test_count(against, sparse, one_percent):
    count = against(memcpy(BITMAP_BYTES), sparse.count, size=BITMAP_BYTES)
    assert count == np.unique(one_percent).size


def test_walk_1_percent_dirty(against, sparse, one_percent):
    def walk():
        at = found = 0
        while (pfns := sparse.take(at, 1 << 16)).size:
            found += pfns.size
            at = int(pfns[-1]) + 1
        return found

    assert against(memcpy(BITMAP_BYTES), walk, size=BITMAP_BYTES) == np.unique(one_percent).size


def test_mark_a_million_random_pages(against):
    bitmap = DirtyBitmap(PAGES)
    pfns = np.random.default_rng(2).integers(0, PAGES, 1 << 20)

    def setup():
        bitmap.words[:] = 0
        return (pfns,), {}

    against(memcpy(pfns.nbytes), bitmap.set_pfns, size=pfns.nbytes, setup=setup)
    assert bitmap.count() == np.unique(pfns).size
