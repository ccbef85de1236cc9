"""The list of writes of a workload does not depend on how it is cut into takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.guest.workloads import _AHEAD, HotCold
from migsim.testing.strategies import WorkloadPlan

if TYPE_CHECKING:
    from migsim.guest.workload import Workload

SEEDS = st.integers(0, 2**64 - 1)
COUNTS = st.integers(0, 40) | st.integers(_AHEAD - 3, _AHEAD + 3) | st.integers(0, 3 * _AHEAD)


@st.composite
def ranges(draw: st.DrawFn, least: int = 1) -> tuple[int, int]:
    first = draw(st.integers(0, 1 << 20))
    size = st.integers(least, 50) | st.sampled_from([1 << 16, 1 << 28, (1 << 28) + 1])
    return first, first + draw(size) - 1


@st.composite
def workloads(draw: st.DrawFn) -> tuple[Workload, Workload]:
    """Return the same workload twice."""
    first, last = draw(ranges(least=2))
    hot = draw(st.integers(1, last - first))
    kind = draw(st.sampled_from(("sweep", "uniform", "hot", "counter", "trace")))
    plan = WorkloadPlan(kind, first, last, 1.0, draw(SEEDS), hot, draw(st.floats(0, 1)))
    return plan.make(), plan.make()


@given(workloads(), st.lists(COUNTS, max_size=6))
def test_pieces_put_together_are_the_whole(
    pair: tuple[Workload, Workload], cuts: list[int]
) -> None:
    one, other = pair
    pieces = [one.take(count).copy() for count in cuts]
    whole = other.take(sum(cuts))
    assert whole.dtype == np.int64
    assert np.array_equal(np.concatenate([*pieces, np.empty(0, np.int64)]), whole)
    assert one.position == other.position == sum(cuts)
    assert whole.min(initial=0) >= 0
    assert whole.max(initial=-1) <= one.last_pfn


@given(workloads(), COUNTS, COUNTS, COUNTS)
def test_seek_goes_where_taking_goes(
    pair: tuple[Workload, Workload], before: int, position: int, count: int
) -> None:
    one, other = pair
    one.take(position)
    other.take(before)
    other.seek(position)
    assert np.array_equal(one.take(count), other.take(count))


@given(SEEDS, ranges(least=2), st.floats(0, 1))
def test_a_take_does_not_change_pages_taken_before(
    seed: int, bounds: tuple[int, int], share
) -> None:
    workload = HotCold(*bounds, hot_pages=1, hot_share=share, rate_pages_per_s=1, seed=seed)
    first = workload.take(10)
    kept = first.copy()
    for _ in range(3):
        workload.take(_AHEAD - 1)
    assert np.array_equal(first, kept)
