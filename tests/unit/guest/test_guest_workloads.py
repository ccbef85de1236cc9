"""What workloads write, in which order, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.clock import PS_PER_S
from migsim.errors import ConfigError
from migsim.guest.workloads import HotCold, Idle, PageCounter, SequentialSweep, TraceReplay, Uniform


def test_a_sweep_ascends_and_wraps() -> None:
    sweep = SequentialSweep(3, 5, rate_pages_per_s=1)
    assert sweep.take(7).tolist() == [3, 4, 5, 3, 4, 5, 3]
    assert sweep.take(2).tolist() == [4, 5]
    assert sweep.position == 9


def test_a_sweep_of_one_page() -> None:
    assert SequentialSweep(3, 3, rate_pages_per_s=1).take(3).tolist() == [3, 3, 3]


def test_uniform_writes_reach_every_page_equally_often() -> None:
    pfns = Uniform(10, 109, rate_pages_per_s=1, seed=1).take(100_000)
    counts = np.bincount(pfns, minlength=110)
    assert counts[:10].sum() == 0
    assert len(counts) == 110
    # 1000 expected, standard deviation 31.5
    assert counts[10:].min() > 1000 - 5 * 32
    assert counts[10:].max() < 1000 + 5 * 32


def test_hot_pages_get_their_share_and_both_sets_are_flat() -> None:
    workload = HotCold(100, 299, hot_pages=20, hot_share=0.9, rate_pages_per_s=1, seed=2)
    counts = np.bincount(workload.take(200_000), minlength=300)
    hot, cold = counts[100:120], counts[120:300]
    assert hot.sum() + cold.sum() == 200_000
    assert abs(hot.sum() - 180_000) < 5 * 134
    assert abs(hot - 9000).max() < 5 * 95
    assert abs(cold - 20_000 / 180).max() < 5 * 11


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 2, 9), (1.0, 0, 1)])
def test_extreme_shares(share: float, low: int, high: int) -> None:
    workload = HotCold(0, 9, hot_pages=2, hot_share=share, rate_pages_per_s=1)
    pfns = workload.take(1000)
    assert (pfns.min(), pfns.max()) == (low, high)


def test_a_seed_decides_everything_and_seeds_differ() -> None:
    def first(seed: int) -> list[int]:
        return Uniform(0, 10**6, rate_pages_per_s=1, seed=seed).take(50).tolist()

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_the_writes_of_a_seed_stay_the_same() -> None:
    assert Uniform(0, 999, rate_pages_per_s=1, seed=7).take(5).tolist() == UNIFORM_7
    hot_cold = HotCold(0, 999, hot_pages=10, hot_share=0.5, rate_pages_per_s=1, seed=7)
    assert hot_cold.take(5).tolist() == HOT_COLD_7


UNIFORM_7 = [549, 164, 943, 226, 576]
HOT_COLD_7 = [553, 1, 9, 2, 5]


def test_a_trace_is_replayed_at_its_times() -> None:
    trace = TraceReplay([0.0, 0.5, 0.5, 2.0], [7, 8, 9, 7])
    times = [0, PS_PER_S // 2 - 1, PS_PER_S // 2, 2 * PS_PER_S - 1, 2 * PS_PER_S, 99 * PS_PER_S]
    assert [trace.due(t) for t in times] == [1, 1, 3, 3, 4, 4]
    assert trace.due(1 << 70) == 4
    assert trace.take(3).tolist() == [7, 8, 9]
    assert (trace.last_pfn, trace.rate_pages_per_s) == (9, 2.0)
    with pytest.raises(ConfigError, match="only 4"):
        trace.take(2)


def test_a_periodic_trace_begins_anew() -> None:
    trace = TraceReplay([0.0, 0.5], [7, 8], period_s=1.0)
    halves = [trace.due(n * PS_PER_S // 2) for n in range(5)]
    assert halves == [1, 2, 3, 4, 5]
    assert trace.take(5).tolist() == [7, 8, 7, 8, 7]
    assert trace.rate_pages_per_s == 2.0


def test_an_empty_trace_writes_nothing() -> None:
    trace = TraceReplay([], [])
    assert (trace.due(PS_PER_S), trace.last_pfn, trace.rate_pages_per_s) == (0, -1, 0.0)


@pytest.mark.parametrize(
    ("times", "pfns", "period"),
    [
        ([0.0], [], None),
        ([[0.0]], [[1]], None),
        ([1.0, 0.5], [1, 1], None),
        ([-1.0], [1], None),
        ([float("nan")], [1], None),
        ([float("inf")], [1], None),
        ([1e10], [1], None),
        ([0.0], [-1], None),
        ([1.0], [1], 1.0),
        ([], [], 1.0),
        ([0.0], [1], float("nan")),
        ([0.0], [1], float("inf")),
        ([0.0], [1], -1.0),
        ([0.0], [1], 1e-13),
    ],
)
def test_traces_that_make_no_sense(times, pfns, period) -> None:
    with pytest.raises(ConfigError, match="trace"):
        TraceReplay(times, pfns, period_s=period)


def test_an_idle_guest_has_nothing_to_take() -> None:
    idle = Idle()
    assert (idle.due(10**18), idle.last_pfn, idle.position, idle.rate_pages_per_s) == (0, -1, 0, 0)
    assert idle.take(0).size == 0
    for refused in (idle.take, idle.seek):
        with pytest.raises(ConfigError):
            refused(1)


@pytest.mark.parametrize(
    ("first", "last", "rate"),
    [(-1, 3, 1), (4, 3, 1), (0, 3, -1), (0, 3, float("inf")), (0, 3, float("nan")), (0, 3, 2e12)],
)
def test_ranges_and_rates_that_make_no_sense(first: int, last: int, rate: float) -> None:
    with pytest.raises(ConfigError, match="workload"):
        SequentialSweep(first, last, rate_pages_per_s=rate)


@pytest.mark.parametrize(
    ("hot_pages", "hot_share"), [(0, 0.5), (10, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))]
)
def test_hot_sets_that_make_no_sense(hot_pages: int, hot_share: float) -> None:
    with pytest.raises(ConfigError):
        HotCold(0, 9, hot_pages=hot_pages, hot_share=hot_share, rate_pages_per_s=1)


def test_positions_that_do_not_exist() -> None:
    for workload in (Uniform(0, 3, rate_pages_per_s=1), TraceReplay([0.0], [1])):
        with pytest.raises(ConfigError):
            workload.seek(-1)
    with pytest.raises(ConfigError):
        TraceReplay([0.0], [1]).seek(2)


@pytest.mark.parametrize(
    ("rate", "seconds", "writes"),
    [(0.7, 10, 7), (0.1, 10, 1), (3, 1, 3), (1e9, 3600, 3_600_000_000_000), (0, 1000, 0)],
)
def test_a_rate_is_the_decimal_number_that_it_prints_as(rate, seconds, writes) -> None:
    sweep = SequentialSweep(0, 0, rate_pages_per_s=rate)
    assert sweep.due(seconds * PS_PER_S) == writes
    if writes:
        assert sweep.due(seconds * PS_PER_S - 1) == writes - 1


def test_the_range_of_a_page_counter_is_1_to_100_mib() -> None:
    counter = PageCounter(rate_pages_per_s=1)
    assert (counter.first * 4096, (counter.last + 1) * 4096) == (0x100000, 0x6400000)
    assert counter.pages == 25344
