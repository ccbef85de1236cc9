"""Dirty stretches of guests that write in order, against the same sets page by page."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.predict.ring import Ring

PAGES = 97


class Plain:
    """The same as a ring, as a set of pages."""

    def __init__(self) -> None:
        self.scan = 0
        self.dirty: set[int] = set()

    def order(self):
        return sorted(self.dirty, key=lambda page: (page - self.scan) % PAGES)

    def keep_last(self, left):
        if not self.dirty:
            return
        pages = self.order()
        kept = pages[len(pages) - left :]
        self.scan = kept[0] if kept else (pages[-1] + 1) % PAGES
        self.dirty = set(kept)

    def write(self, first, count):
        self.dirty |= {(first + i) % PAGES for i in range(min(count, PAGES))}


@pytest.mark.parametrize("seed", range(8))
def test_ring_holds_the_pages_that_a_set_holds(seed):
    rng = np.random.default_rng(seed)
    ring, plain = Ring(np.array([float(PAGES)]), np.array([0.0])), Plain()
    hand = 0
    for _ in range(40):
        count = int(rng.integers(0, 60))
        ring.write(np.array([float(hand)]), np.array([float(count)]))
        plain.write(hand, count)
        hand = (hand + count) % PAGES
        assert ring.size()[0] == len(plain.dirty)
        left = int(rng.integers(0, len(plain.dirty) + 1)) // 2
        ring.keep_last(np.array([float(left)]))
        plain.keep_last(left)
        assert ring.size()[0] == len(plain.dirty) == left
        assert ring.scan[0] == plain.scan


def test_more_writes_than_pages_make_all_dirty():
    ring = Ring(np.array([float(PAGES)]), np.array([5.0]))
    ring.write(np.array([50.0]), np.array([1000.0]))
    assert ring.size()[0] == PAGES
