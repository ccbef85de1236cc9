"""The packed bitmap against a plain set of page numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from migsim.ram.bitmap import DirtyBitmap

SIZES = st.sampled_from([1, 63, 64, 65, 127, 128, 500, 5000])


def numbers(data, pages):
    return data.draw(st.lists(st.integers(0, pages - 1), max_size=60), label="pfns")


def bounds(data, pages):
    lo = data.draw(st.integers(0, pages), label="lo")
    return lo, data.draw(st.integers(lo, pages), label="hi")


class BitmapMachine(RuleBasedStateMachine):
    """Every method against the same on a set; nothing but the methods is used."""

    @initialize(pages=SIZES)
    def begin(self, pages):
        self.pages = pages
        self.bitmap = DirtyBitmap(pages)
        self.model = set()

    @rule(data=st.data())
    def set_pfns(self, data):
        pfns = numbers(data, self.pages)
        self.bitmap.set_pfns(np.array(pfns, np.int64))
        self.model |= set(pfns)

    @rule(data=st.data())
    def clear_pfns(self, data):
        pfns = numbers(data, self.pages)
        self.bitmap.clear_pfns(np.array(pfns, np.int64))
        self.model -= set(pfns)

    @rule(data=st.data())
    def set_range(self, data):
        lo, hi = bounds(data, self.pages)
        self.bitmap.set_range(lo, hi)
        self.model |= set(range(lo, hi))

    @rule(data=st.data())
    def clear_range(self, data):
        lo, hi = bounds(data, self.pages)
        self.bitmap.clear_range(lo, hi)
        self.model -= set(range(lo, hi))

    @rule()
    def clear_all(self):
        self.bitmap.clear_all()
        self.model.clear()

    @rule()
    def set_all(self):
        self.bitmap.set_all()
        self.model = set(range(self.pages))

    @rule(data=st.data(), limit=st.integers(0, 70))
    def reach(self, data, limit):
        start = data.draw(st.integers(0, self.pages), label="start")
        there = sorted(pfn for pfn in self.model if pfn >= start)[:limit]
        end = there[-1] + 1 if there else start
        assert self.bitmap.reach(start, limit) == (end, len(there))

    @rule(data=st.data())
    def count_common(self, data):
        lo, hi = bounds(data, self.pages)
        pfns = set(numbers(data, self.pages))
        other = DirtyBitmap(self.pages)
        other.set_pfns(np.array(sorted(pfns), np.int64))
        common = self.model & pfns & set(range(lo, hi))
        assert self.bitmap.count_common(other, lo, hi) == len(common)

    @rule(data=st.data())
    def merge(self, data):
        pfns = numbers(data, self.pages)
        other = DirtyBitmap(self.pages)
        other.set_pfns(np.array(pfns, np.int64))
        assert self.bitmap.merge(other) == len(set(pfns) - self.model)
        self.model |= set(pfns)

    @rule(data=st.data())
    def subtract(self, data):
        pfns = numbers(data, self.pages)
        other = DirtyBitmap(self.pages)
        other.set_pfns(np.array(pfns, np.int64))
        self.bitmap.subtract(other)
        self.model -= set(pfns)

    @rule()
    def over_the_wire(self):
        data = self.bitmap.to_bytes()
        assert len(data) == -(-self.pages // 64) * 8
        twin = DirtyBitmap.from_bytes(self.pages, data)
        assert twin == self.bitmap == self.bitmap.copy()
        self.bitmap = twin

    @rule(data=st.data())
    def take(self, data):
        start = data.draw(st.integers(0, self.pages), label="start")
        stop = data.draw(st.none() | st.integers(0, self.pages), label="stop")
        limit = data.draw(st.integers(0, 200), label="limit")
        end = self.pages if stop is None else stop
        expected = [pfn for pfn in sorted(self.model) if start <= pfn < end][:limit]
        assert self.bitmap.take(start, limit, stop).tolist() == expected

    @rule(data=st.data())
    def ask(self, data):
        pfns = numbers(data, self.pages)
        found = self.bitmap.test(np.array(pfns, np.int64))
        assert found.dtype == np.bool_
        assert found.tolist() == [pfn in self.model for pfn in pfns]
        lo, hi = bounds(data, self.pages)
        assert self.bitmap.count_range(lo, hi) == sum(lo <= pfn < hi for pfn in self.model)
        after = [pfn for pfn in self.model if pfn >= lo]
        assert self.bitmap.next_set(lo) == min(after, default=self.pages)

    @invariant()
    def same(self):
        if hasattr(self, "model"):
            assert self.bitmap.count() == len(self.model)
            assert self.bitmap.take(0, self.pages).tolist() == sorted(self.model)


TestBitmap = BitmapMachine.TestCase
