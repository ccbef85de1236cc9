"""A guest in time: how much it writes, where, and what of it travels."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.errors import ConfigError, StateError
from migsim.guest.guest import Guest
from migsim.guest.workloads import HotCold, Idle, PageCounter, SequentialSweep, TraceReplay, Uniform
from migsim.ram import DirtyBitmap, PhantomBackend, RamBackend, RAMBlock

PAGES = 64


def block(kind=RamBackend, pages: int = PAGES) -> RAMBlock:
    made = RAMBlock("ram0", kind("ram0", pages * 4096))
    made.log.start()
    return made


def logged(made: RAMBlock) -> list[int]:
    into = DirtyBitmap(made.pages)
    made.log.sync(into)
    return into.take(0, made.pages).tolist()


def stamps(made: RAMBlock) -> list[int]:
    return made.view().view("<u8")[:, 0].tolist()


def test_stamps_are_write_numbers_and_the_last_one_wins() -> None:
    made = block(pages=4)
    guest = Guest(TraceReplay([0.0, 0.0, 0.0, 1.0], [2, 1, 2, 2]), made)
    assert guest.run(0.5) == 3
    assert stamps(made) == [0, 2, 3, 0]
    assert logged(made) == [1, 2]
    assert guest.run(0.5) == 1
    assert stamps(made) == [0, 2, 4, 0]
    assert not made.view()[:, 8:].any()


WORKLOADS = {
    "sweep": lambda: SequentialSweep(5, 20, rate_pages_per_s=1000),
    "uniform": lambda: Uniform(5, 20, rate_pages_per_s=1000, seed=3),
    "hotcold": lambda: HotCold(5, 20, hot_pages=3, hot_share=0.8, rate_pages_per_s=1000, seed=3),
}


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("spans", [[0.1], [0.001] * 100, [0.037, 0.063], [0.0, 0.1]])
def test_memory_holds_what_single_writes_would_have_left(name: str, spans: list[float]) -> None:
    made = block()
    guest = Guest(WORKLOADS[name](), made)
    assert sum(guest.run(span) for span in spans) == guest.writes == 100
    expected = [0] * PAGES
    for number, pfn in enumerate(WORKLOADS[name]().take(100).tolist(), 1):
        expected[pfn] = number
    assert stamps(made) == expected
    assert logged(made) == [pfn for pfn in range(PAGES) if expected[pfn]]


@pytest.mark.parametrize("name", WORKLOADS)
def test_phantom_memory_knows_the_same_pages(name: str) -> None:
    real, phantom = block(), block(PhantomBackend)
    for made in (real, phantom):
        Guest(WORKLOADS[name](), made).run(0.02)
    everything = np.arange(PAGES)
    assert real.zero_mask(everything).tolist() == phantom.zero_mask(everything).tolist()
    assert logged(real) == logged(phantom)


def test_more_writes_than_are_done_at_once() -> None:
    made = block()
    count = (1 << 20) * 2 + 3
    guest = Guest(Uniform(0, PAGES - 1, rate_pages_per_s=count), made)
    assert guest.run(1.0) == count
    assert max(stamps(made)) == count
    assert min(stamps(made)) > count - 64 * 40


def test_nothing_is_logged_while_the_log_is_off() -> None:
    made = block()
    made.log.stop()
    Guest(WORKLOADS["sweep"](), made).run(0.01)
    made.log.start()
    assert logged(made) == []


def test_a_share_slows_the_guest_down() -> None:
    guest = Guest(WORKLOADS["sweep"](), block())
    assert [guest.run(0.1, share) for share in (1.0, 0.3, 0.01, 0.0)] == [100, 30, 1, 0]
    assert guest.time_s == pytest.approx(0.131, abs=0)


def test_tenths_and_thirds_add_up() -> None:
    for pieces, total in (
        ([0.1] * 3, 3),
        ([1 / 3] * 3, 10),
        ([0.1] * 100, 100),
        ([1e-6] * 10**5, 1),
    ):
        guest = Guest(SequentialSweep(0, 0, rate_pages_per_s=10), block())
        assert sum(guest.run(piece) for piece in pieces) == total


def test_a_million_tiny_spans_do_not_drift() -> None:
    guest = Guest(Idle(), None)
    for _ in range(300_000):
        guest.run(1 / 3_000_000)
    assert guest.time_ps == 10**11


@pytest.mark.parametrize(
    ("seconds", "share"),
    [(-1, 1), (1, -1), (float("inf"), 1), (float("nan"), 1), (1, float("nan"))],
)
def test_times_that_make_no_sense(seconds: float, share: float) -> None:
    guest = Guest(Idle(), None)
    with pytest.raises(ConfigError):
        guest.run(seconds, share)
    assert guest.time_ps == 0


def test_a_workload_must_fit_its_block() -> None:
    Guest(SequentialSweep(0, PAGES - 1, rate_pages_per_s=1), block())
    with pytest.raises(ConfigError, match="page 64"):
        Guest(SequentialSweep(0, PAGES, rate_pages_per_s=1), block())
    with pytest.raises(ConfigError):
        Guest(SequentialSweep(0, 0, rate_pages_per_s=1), None)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_migrated_guest_goes_on_where_it_stopped(name: str) -> None:
    whole, source, target = block(), block(), block()
    guest = Guest(WORKLOADS[name](), whole)
    first, second = Guest(WORKLOADS[name](), source), Guest(WORKLOADS[name](), target)
    for span in (1 / 3, 0.0123, 1 / 7):
        guest.run(span)
    first.run(1 / 3)
    target.view()[:] = source.view()
    second.set_state(first.get_state())
    second.run(0.0123)
    second.run(1 / 7)
    assert stamps(target) == stamps(whole)
    assert second.get_state() == guest.get_state()


def test_the_state_of_another_workload_is_refused() -> None:
    guest = Guest(WORKLOADS["sweep"](), block())
    guest.run(0.01)
    before = guest.get_state()
    other = Guest(SequentialSweep(0, 5, rate_pages_per_s=7), block())
    other.run(10)
    with pytest.raises(ConfigError, match="another workload"):
        guest.set_state(other.get_state())
    with pytest.raises(ConfigError):
        Guest(TraceReplay([0.0], [1]), block()).set_state(other.get_state())
    assert guest.get_state() == before


def test_only_a_sleeping_guest_wakes_up() -> None:
    with pytest.raises(StateError):
        Guest(Idle(), None).wakeup()
    assert not Guest(PageCounter(rate_pages_per_s=1, first=0, pages=1), block()).asleep


@pytest.mark.parametrize("make", [Idle, lambda: SequentialSweep(0, 3, rate_pages_per_s=1)])
def test_most_guests_print_nothing(make) -> None:
    guest = Guest(make(), block())
    guest.run(10)
    assert guest.take_serial() == b""


def test_a_sweep_over_several_rounds_leaves_the_last_numbers() -> None:
    made = block(pages=4)
    guest = Guest(SequentialSweep(1, 3, rate_pages_per_s=1), made)
    assert guest.run(10) == 10
    assert stamps(made) == [0, 10, 8, 9]
    assert guest.run(1) == 1
    assert stamps(made) == [0, 10, 11, 9]
