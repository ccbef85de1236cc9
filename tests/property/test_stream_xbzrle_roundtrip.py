"""Deltas of any pages, and any bytes taken for deltas."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import StreamError
from migsim.stream.xbzrle import OVERFLOW, Deltas, encode_deltas
from migsim.stream.xbzrle_cache import XbzrleCache
from migsim.stream.xbzrle_decode import apply_deltas, check_deltas, delta_runs
from migsim.stream.xbzrle_records import Sent

PAGE = 64  # small pages make every edge likely

contents = st.binary(min_size=PAGE, max_size=PAGE)
changes = st.lists(st.tuples(st.integers(0, PAGE - 1), st.integers(1, 12)), max_size=12)
numbers = st.one_of(st.integers(0, 5), st.integers(120, 135), st.integers(0, 255))
raw_deltas = st.one_of(st.binary(max_size=40), st.lists(numbers, max_size=40).map(bytes))


def changed(old, stretches):
    new = bytearray(old)
    for first, count in stretches:
        for place in range(first, min(first + count, PAGE)):
            new[place] ^= 0x55
    return bytes(new)


def rows(pages):
    return np.frombuffer(b"".join(pages), np.uint8).reshape(-1, PAGE)


def problem_of(read):
    """Return what is wrong with what is read, in words, or None."""
    try:
        read()
    except StreamError as error:
        return str(error)
    return None


@given(st.lists(st.tuples(contents, changes), max_size=6))
def test_a_delta_leads_from_the_old_page_to_the_new_one(pages):
    old = rows([page for page, _ in pages]).copy()
    new = rows([changed(page, stretches) for page, stretches in pages])
    deltas = encode_deltas(old, new)
    same = (old == new).all(axis=1)
    assert ((deltas.sizes == 0) == same).all()
    assert deltas.data.size == deltas.sizes[deltas.sizes > 0].sum()
    found = old.copy()
    apply_deltas(deltas, found)
    fits = deltas.sizes != OVERFLOW
    assert (found[fits] == new[fits]).all()
    assert (found[~fits] == old[~fits]).all()


@given(st.lists(raw_deltas, max_size=6))
def test_many_deltas_are_read_as_one_by_one(raw):
    sizes = np.array([len(one) for one in raw], np.int64)
    deltas = Deltas(np.frombuffer(b"".join(raw), np.uint8), sizes)
    offsets = np.arange(len(raw)) * 1000
    pages = np.zeros((len(raw), PAGE), np.uint8)
    expected = pages.copy()

    def one_by_one():
        for row, one in enumerate(raw):
            for place, at, count in delta_runs(one, row * 1000, PAGE):
                expected[row, place : place + count] = np.frombuffer(one, np.uint8, count, at)

    problem = problem_of(one_by_one)
    assert problem_of(lambda: check_deltas(deltas, offsets, PAGE)) == problem
    assert problem_of(lambda: apply_deltas(deltas, pages, offsets)) == problem
    assert problem or (pages == expected).all()


class OneByOne:
    """The cache as a receiver of one page after another would describe it."""

    def __init__(self, places):
        self.items = [None] * places
        self.misses = 0

    def put(self, pfn, data, sync):
        item = self.items[pfn % len(self.items)]
        if item and item[0] != pfn and item[1] + 2 > sync:
            return
        self.items[pfn % len(self.items)] = [pfn, sync, data]

    def send(self, pfn, data, is_zero, sync, last):
        item = self.items[pfn % len(self.items)]
        if is_zero:
            self.put(pfn, bytes(PAGE), sync)
            return Sent.ZERO
        if not item or item[0] != pfn:
            self.misses += 1
            if not last:
                self.put(pfn, data, sync)
            return Sent.PAGE
        item[1] = sync
        (size,) = encode_deltas(rows([item[2]]), rows([data])).sizes
        if size and not last:
            item[2] = data
        return {0: Sent.NOTHING, OVERFLOW: Sent.PAGE}.get(int(size), Sent.DELTA)


batches = st.lists(
    st.tuples(
        st.integers(0, 3),  # syncs since the batch before
        st.lists(
            st.tuples(st.integers(0, 11), st.booleans(), st.integers(0, 2), changes),
            unique_by=lambda page: page[0],
            max_size=12,
        ),
        st.booleans(),
    ),
    max_size=6,
)


@given(batches)
def test_pages_sent_together_are_as_if_sent_one_by_one(batches):
    cache, model = XbzrleCache(4 * PAGE, page_bytes=PAGE), OneByOne(4)
    sync = 1
    for syncs, pages, last in batches:
        sync += syncs
        data = [changed(bytes([value]) * PAGE, stretches) for _, _, value, stretches in pages]
        zero = [is_zero for _, is_zero, _, _ in pages]
        plan = cache.send(
            np.array([pfn for pfn, *_ in pages], np.int64),
            rows(data),
            np.array(zero, np.bool_),
            sync,
            last_stage=last,
        )
        expected = [
            model.send(pfn, one, is_zero, sync, last)
            for (pfn, *_), one, is_zero in zip(pages, data, zero, strict=True)
        ]
        assert plan.kinds.tolist() == expected
        assert cache.stats.cache_miss == model.misses
