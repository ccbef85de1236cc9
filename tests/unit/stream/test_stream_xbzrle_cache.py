"""The sender's cache: against a recorded migration with known writes, and rule by rule."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput
from migsim.errors import ConfigError
from migsim.stream import PageBatch, StreamReader
from migsim.stream.xbzrle_cache import XbzrleCache, XbzrleStats
from migsim.stream.xbzrle_records import Sent, XbzrleBatch

PLACES = 4


def cache(**options):
    return XbzrleCache(PLACES * 4096, **options)


def page(value, *changes):
    data = np.full(4096, value, np.uint8)
    for place, new in changes:
        data[place] = new
    return data


def send(cache, sync, *pages, last_stage=False, name_bytes=0):
    """Send (page number, contents or None for a zero page); return what becomes of them."""
    pfns = np.array([pfn for pfn, _ in pages], np.int64)
    zero = np.array([data is None for _, data in pages], np.bool_)
    data = np.array([page(0) if data is None else data for _, data in pages], np.uint8)
    plan = cache.send(
        pfns, data.reshape(-1, 4096), zero, sync, last_stage=last_stage, name_bytes=name_bytes
    )
    assert np.count_nonzero(plan.kinds == Sent.DELTA) == plan.deltas.sizes.size
    return [Sent(kind) for kind in plan.kinds]


def recorded_writes(raw):
    """Yield dirty sync count, page numbers and contents of each pass."""
    record = np.dtype([("pfn", ">u4"), ("data", np.uint8, 4096)])
    at = 0
    while at < len(raw):
        sync, count = struct.unpack_from(">II", raw, at)
        rows = np.frombuffer(raw, record, count, at + 8)
        at += 8 + count * record.itemsize
        yield sync, rows["pfn"].astype(np.int64), rows["data"]


def recorded_pages(raw, ram_pages):
    """Return what was sent of ram0 behind the first pass: page, kind, delta, bytes of a name."""
    sent, seen = [], set()
    for item in StreamReader(MemoryInput(raw), keep_order=True):
        if not isinstance(item, PageBatch | XbzrleBatch):
            continue
        name_bytes = len(item.block) + 1 if item.named else 0
        for index, pfn in enumerate(item.pfns.tolist()):
            if len(seen) < ram_pages:
                seen.add((item.block, pfn))
                continue
            assert item.block == "ram0"
            kind, delta = Sent.PAGE, b""
            if isinstance(item, XbzrleBatch):
                start = item.deltas.starts[index]
                kind = Sent.DELTA
                delta = item.deltas.data[start : start + item.deltas.sizes[index]].tobytes()
            elif item.is_zero:
                kind = Sent.ZERO
            sent.append((pfn, kind, delta, 0 if index else name_bytes))
    return sent


def test_a_recorded_migration_is_sent_again_byte_for_byte(sample, recording):
    raw, entry = sample("microvm-2m-xbzrle-cache")
    ram_pages = sum(block["length"] for block in entry["blocks"].values()) // 4096
    sent = recorded_pages(raw, ram_pages)
    passes = list(recorded_writes(recording(entry["writes"]["file"])))
    xbzrle = XbzrleCache(entry["parameters"]["xbzrle-cache-size"])
    at = 0
    for number, (sync, pfns, data) in enumerate(passes):
        plan = xbzrle.send(
            pfns,
            data,
            ~data.any(axis=1),
            sync,
            last_stage=number == len(passes) - 1,
            name_bytes=sent[at][3],
        )
        starts = plan.deltas.starts.tolist()
        deltas = [
            plan.deltas.data[start : start + size].tobytes()
            for start, size in zip(starts, plan.deltas.sizes, strict=True)
        ]
        kept = plan.kinds != Sent.NOTHING
        kinds = plan.kinds[kept].tolist()
        found = sent[at : at + len(kinds)]
        assert [(pfn, kind) for pfn, kind, _, _ in found] == list(
            zip(pfns[kept].tolist(), kinds, strict=True)
        )
        assert [delta for _, kind, delta, _ in found if kind == Sent.DELTA] == deltas
        at += len(kinds)
    assert at == len(sent)
    rates = {"cache-miss-rate", "encoding-rate"}
    expected = entry["xbzrle_cache"]
    assert {key: value for key, value in xbzrle.query().items() if key not in rates} == {
        key: value for key, value in expected.items() if key not in rates
    }
    assert set(xbzrle.query()) == set(expected)
    assert expected["overflow"] > 100
    assert {kind for _, kind, _, _ in sent} == {Sent.PAGE, Sent.ZERO, Sent.DELTA}


def test_a_page_is_found_when_it_was_sent_before():
    xbzrle = cache()
    assert send(xbzrle, 2, (1, page(1))) == [Sent.PAGE]
    assert send(xbzrle, 3, (1, page(1, (5, 9)))) == [Sent.DELTA]
    assert send(xbzrle, 4, (1, page(1, (5, 9)))) == [Sent.NOTHING]
    assert send(xbzrle, 5, (1, page(7))) == [Sent.PAGE]
    assert send(xbzrle, 6, (1, page(7, (0, 1)))) == [Sent.DELTA]
    stats = xbzrle.stats
    assert (stats.pages, stats.cache_miss, stats.overflow) == (4, 1, 1)
    assert stats.bytes == 2 * (3 + 3) + 4096


@pytest.mark.parametrize(("later", "replaced"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_place_is_free_again_after_two_syncs(later, replaced):
    xbzrle = cache()
    send(xbzrle, 10, (1, page(1)))
    assert send(xbzrle, 10 + later, (1 + PLACES, page(2))) == [Sent.PAGE]
    found = send(xbzrle, 10 + later, (1 + PLACES, page(2)))
    assert found == [Sent.NOTHING if replaced else Sent.PAGE]
    found = send(xbzrle, 10 + later, (1, page(1)))
    assert found == [Sent.PAGE if replaced else Sent.NOTHING]


def test_a_page_that_is_found_keeps_its_place():
    xbzrle = cache()
    send(xbzrle, 10, (1, page(1)))
    send(xbzrle, 12, (1, page(1)), (5, page(2)))
    assert send(xbzrle, 13, (5, page(2)), (1, page(1))) == [Sent.PAGE, Sent.NOTHING]


def test_of_pages_sent_together_the_first_gets_a_free_place():
    xbzrle = cache()
    send(xbzrle, 10, (1, page(1)))
    kinds = send(xbzrle, 12, (5, page(5)), (1, page(1)), (9, page(9)))
    assert kinds == [Sent.PAGE, Sent.PAGE, Sent.PAGE]
    kinds = send(xbzrle, 12, (1, page(1)), (9, page(9)), (5, page(5)))
    assert kinds == [Sent.PAGE, Sent.PAGE, Sent.NOTHING]
    assert xbzrle.stats.cache_miss == 6


def test_a_zero_page_replaces_what_was_remembered_of_it():
    xbzrle = cache()
    send(xbzrle, 2, (1, page(1)))
    assert send(xbzrle, 3, (1, None)) == [Sent.ZERO]
    assert send(xbzrle, 4, (1, page(0, (7, 1)))) == [Sent.DELTA]
    assert xbzrle.stats.cache_miss == 1
    # It takes a free place, but no other.
    assert send(xbzrle, 4, (2, None), (5, None)) == [Sent.ZERO, Sent.ZERO]
    assert send(xbzrle, 4, (2, page(0, (7, 1))), (5, page(0, (7, 1)))) == [Sent.DELTA, Sent.PAGE]


def test_nothing_new_is_remembered_in_the_last_stage():
    xbzrle = cache()
    send(xbzrle, 2, (1, page(1)))
    last = page(1, (3, 3))
    assert send(xbzrle, 9, (5, page(5)), (2, page(2)), last_stage=True) == [Sent.PAGE] * 2
    assert send(xbzrle, 9, (1, last), last_stage=True) == [Sent.DELTA]
    assert send(xbzrle, 9, (1, last), last_stage=True) == [Sent.DELTA]
    assert send(xbzrle, 9, (2, page(2)), (5, page(5)), last_stage=True) == [Sent.PAGE] * 2
    assert xbzrle.stats.cache_miss == 5
    # Zero pages are put all the same.
    assert send(xbzrle, 9, (6, None), last_stage=True) == [Sent.ZERO]
    assert send(xbzrle, 9, (6, page(0, (1, 1))), last_stage=True) == [Sent.DELTA]


def test_a_name_counts_when_a_delta_carries_it():
    xbzrle = cache()
    send(xbzrle, 2, (1, page(1)), (2, page(2)), (3, page(3)))
    send(xbzrle, 3, (1, page(1)), (2, page(2, (0, 1))), name_bytes=5)
    assert xbzrle.stats.bytes == 3 + 3 + 5
    send(xbzrle, 4, (1, page(9)), (3, page(3, (0, 1))), name_bytes=5)
    assert xbzrle.stats.bytes == 3 + 3 + 5 + 4096 + 3 + 3


def test_rates_are_of_the_last_period():
    stats = XbzrleStats()
    stats.cache_miss, stats.pages, stats.bytes = 3, 4, 8192
    stats.end_period(12)
    assert (stats.cache_miss_rate, stats.encoding_rate) == (0.25, 2.0)
    stats.cache_miss += 1
    stats.end_period(10)
    assert (stats.cache_miss_rate, stats.encoding_rate) == (0.1, 0.0)
    stats.pages += 5
    stats.end_period(10)
    assert (stats.cache_miss_rate, stats.encoding_rate) == (0.0, 0.0)


def test_counters_go_on_in_a_cache_of_another_size():
    first = cache()
    send(first, 2, (1, page(1)))
    second = XbzrleCache(8 * 4096, stats=first.stats)
    assert send(second, 3, (1, page(1))) == [Sent.PAGE]
    assert second.query() == {
        "cache-size": 8 * 4096,
        "bytes": 0,
        "pages": 0,
        "cache-miss": 2,
        "cache-miss-rate": 0.0,
        "encoding-rate": 0.0,
        "overflow": 0,
    }


def test_no_pages_change_nothing():
    xbzrle = cache()
    assert send(xbzrle, 2) == []
    assert xbzrle.stats == XbzrleStats()


@pytest.mark.parametrize("size", [0, 4095, 2048, 3 * 4096, 4096 + 1, 1 << 60])
def test_sizes_that_cannot_be(size):
    with pytest.raises(ConfigError, match="xbzrle-cache-size"):
        XbzrleCache(size)


def test_a_page_twice_is_a_mistake_of_the_caller():
    with pytest.raises(ConfigError, match="twice"):
        send(cache(), 2, (1, page(1)), (1, page(2)))


def test_memory_is_taken_as_places_are_used():
    xbzrle = XbzrleCache(1 << 31)
    assert send(xbzrle, 2, ((1 << 19) - 1, page(1))) == [Sent.PAGE]
    assert send(xbzrle, 3, ((1 << 19) - 1, page(1))) == [Sent.NOTHING]
