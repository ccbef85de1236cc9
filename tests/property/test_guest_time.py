"""The number of writes is floor(rate * guest time), however the time is cut."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.guest.guest import Guest
from migsim.guest.state import GuestDevice
from migsim.guest.workloads import PageCounter, SequentialSweep, TraceReplay
from migsim.ram import PhantomBackend, RamBackend, RAMBlock

PAGES = 16
PS = 10**12

RATES = st.decimals(0, 10**7, places=3).map(float) | st.sampled_from([0.1, 0.7, 1 / 3, 4096.0, 1e9])
PICOSECONDS = st.integers(0, 10**12) | st.integers(0, 10**6).map(lambda us: us * 10**6)


def sweeping(rate: float) -> Guest:
    block = RAMBlock("ram0", PhantomBackend("ram0", PAGES * 4096))
    return Guest(SequentialSweep(0, PAGES - 1, rate_pages_per_s=rate), block)


@given(RATES, st.lists(PICOSECONDS, max_size=20))
def test_writes_are_the_floor_of_rate_times_time(rate: float, spans: list[int]) -> None:
    guest = sweeping(rate)
    elapsed = Fraction(0)
    for span in spans:
        elapsed += Fraction(span, PS)
        before = guest.writes
        done = guest.run(span / PS)
        assert guest.writes == before + done == floor(Fraction(repr(rate)) * elapsed)
    assert guest.time_ps == sum(spans)


@given(RATES, PICOSECONDS, st.lists(st.floats(0, 1), max_size=20))
def test_any_cut_of_a_span_gives_the_same_writes(rate: float, span: int, cuts: list[float]) -> None:
    """A driver takes differences of float times; the pieces are no whole picoseconds."""
    seconds = span / PS
    times = sorted({0.0, seconds, *(seconds * cut for cut in cuts)})
    guest, whole = sweeping(rate), sweeping(rate)
    for begin, end in pairwise(times):
        guest.run(end - begin)
    whole.run(seconds)
    assert guest.time_ps == whole.time_ps == span
    assert guest.writes == whole.writes


@given(RATES, st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), max_size=20))
def test_guest_time_is_the_exact_sum_to_a_picosecond(
    rate: float, spans: list[tuple[float, float]]
) -> None:
    guest = sweeping(rate)
    for seconds, share in spans:
        guest.run(seconds, share)
    exact = sum((Fraction(seconds) * Fraction(share) for seconds, share in spans), Fraction(0))
    assert abs(guest.time_ps - exact * PS) < 1
    assert guest.writes == floor(Fraction(repr(rate)) * guest.time_ps / PS)


@given(st.lists(PICOSECONDS, max_size=10), st.lists(st.integers(0, 5 * PS), min_size=1))
def test_a_trace_is_cut_like_any_other(spans: list[int], times: list[int]) -> None:
    times.sort()
    block = RAMBlock("ram0", PhantomBackend("ram0", PAGES * 4096))
    guest = Guest(TraceReplay([t / PS for t in times], [0] * len(times)), block)
    for span in spans:
        guest.run(span / PS)
    if spans:
        assert guest.writes == sum(t <= sum(spans) for t in times)


@given(st.lists(PICOSECONDS, max_size=8), st.integers(0, 8), st.booleans(), st.integers(1, 9))
def test_migration_in_the_middle_changes_nothing(
    spans: list[int], cut: int, suspends: bool, pages: int
) -> None:
    def counting() -> Guest:
        block = RAMBlock("ram0", RamBackend("ram0", PAGES * 4096))
        return Guest(
            PageCounter(rate_pages_per_s=400.5, first=1, pages=pages, suspends=suspends), block
        )

    whole, source, target = counting(), counting(), counting()
    for span in spans:
        whole.run(span / 3e11)
    for span in spans[:cut]:
        source.run(span / 3e11)
    body, _ = GuestDevice(source).save()
    GuestDevice(target).load(body, 0, 1)
    assert source.block is not None
    assert target.block is not None
    assert whole.block is not None
    target.block.view()[:] = source.block.view()
    for span in spans[cut:]:
        target.run(span / 3e11)
    assert target.get_state() == whole.get_state()
    assert np.array_equal(target.block.view(), whole.block.view())
    assert source.take_serial() + target.take_serial() == whole.take_serial()
