"""The counting guest of the migration test client, against a loop that does it byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.guest.guest import Guest
from migsim.guest.page_counter import PASSES_PER_B, PageCounter
from migsim.ram import DirtyBitmap, PhantomBackend, RamBackend, RAMBlock

FIRST, COUNT, PAGES = 2, 5, 8
FIRST_B = COUNT * (PASSES_PER_B + 1)


def make(kind=RamBackend, *, suspends: bool = False) -> tuple[Guest, RAMBlock]:
    block = RAMBlock("ram0", kind("ram0", PAGES * 4096))
    counter = PageCounter(rate_pages_per_s=1, first=FIRST, pages=COUNT, suspends=suspends)
    return Guest(counter, block), block


def replay(writes: int, memory: list[int]) -> str:
    """Do ``writes`` writes one by one; return what is printed."""
    printed = "A" if writes else ""
    for number in range(writes):
        passes, place = divmod(number, COUNT)
        memory[FIRST + place] = 0 if passes == 0 else (memory[FIRST + place] + 1) % 256
        if place == COUNT - 1 and passes and passes % PASSES_PER_B == 0:
            printed += "B"
    return printed


@pytest.mark.parametrize("step", [1, 2, 5, 7, 13, 330, 1400, 5000])
def test_memory_and_output_are_those_of_the_loop(step: int) -> None:
    guest, block = make()
    block.view()[:, 0] = 77
    printed = b""
    for done in range(step, 3000 + step, step):
        assert guest.run(step) == step
        printed += guest.take_serial()
        expected = [77] * PAGES
        assert printed == replay(done, expected).encode()
        assert block.view()[:, 0].tolist() == expected
    assert not block.view()[:, 1:].any()


def test_counting_adds_to_what_is_there() -> None:
    guest, block = make()
    guest.run(2 * COUNT)
    block.view()[FIRST, 0] = 255
    guest.run(COUNT)
    assert block.view()[FIRST : FIRST + COUNT, 0].tolist() == [0, 2, 2, 2, 2]


def test_the_log_sees_each_written_page() -> None:
    guest, block = make()
    guest.run(COUNT + 3)
    block.log.start()
    for writes, pages in (
        (1, [5]),
        (3, [2, 3, 6]),
        (COUNT, [2, 3, 4, 5, 6]),
        (12, [2, 3, 4, 5, 6]),
    ):
        into = DirtyBitmap(PAGES)
        guest.run(writes)
        block.log.sync(into)
        block.log.clear_chunks(0, PAGES - 1)
        assert into.take(0, PAGES).tolist() == pages


@pytest.mark.parametrize("step", [1, 7, 500])
@pytest.mark.parametrize("suspends", [False, True])
def test_phantom_memory_knows_which_counters_are_zero(step: int, suspends: bool) -> None:
    (real, bytes_), (phantom, marks) = (
        make(suspends=suspends),
        make(PhantomBackend, suspends=suspends),
    )
    everything = np.arange(PAGES)
    for _ in range(0, 3000, step):
        for guest in (real, phantom):
            guest.run(step)
            if guest.asleep:
                guest.wakeup()
        assert bytes_.zero_mask(everything).tolist() == marks.zero_mask(everything).tolist()
        assert real.take_serial() == phantom.take_serial()


@pytest.mark.parametrize("kind", [RamBackend, PhantomBackend])
@pytest.mark.parametrize("step", [1, 64, 10_000])
def test_the_suspending_guest_sleeps_once_after_the_first_b(kind, step: int) -> None:
    guest, block = make(kind, suspends=True)
    block.log.start()
    while not guest.asleep:
        guest.run(step)
    assert (guest.writes, guest.take_serial()) == (FIRST_B, b"AB")
    assert guest.time_s == FIRST_B
    assert guest.run(100) == 0
    assert guest.time_s == FIRST_B
    if kind is RamBackend:
        assert block.view()[FIRST, 4:8].tobytes() == b"\1\0\0\0"
        assert block.view()[FIRST:, 0].tolist() == [PASSES_PER_B] * COUNT + [0]
    guest.wakeup()
    assert (guest.asleep, guest.writes, guest.time_s) == (False, 0, 0)
    guest.run(2 * FIRST_B)
    assert guest.writes == 2 * FIRST_B
    assert not guest.asleep
    assert guest.take_serial() == b"ABB"


def test_a_guest_that_slept_before_in_this_memory_does_not_sleep() -> None:
    guest, block = make(suspends=True)
    block.view()[FIRST, 4] = 1
    guest.run(FIRST_B)
    assert not guest.asleep
    other = PageCounter(rate_pages_per_s=1, first=FIRST, pages=COUNT, suspends=True)
    block.view()[FIRST, 5] = 1
    again = Guest(other, block)
    again.run(FIRST_B)
    assert again.asleep


def test_the_sleeping_guest_travels_and_wakes_up_on_the_other_side() -> None:
    for kind in (RamBackend, PhantomBackend):
        guest, block = make(kind, suspends=True)
        guest.run(10_000)
        target, memory = make(kind, suspends=True)
        if kind is RamBackend:
            memory.view()[:] = block.view()
        target.set_state(guest.get_state())
        assert target.asleep
        assert target.run(5) == 0
        assert target.take_serial() == b""
        target.wakeup()
        target.run(FIRST_B)
        assert not target.asleep
        assert target.take_serial() == b"AB"


def test_a_migrated_guest_prints_no_a_and_the_b_comes_when_it_is_due() -> None:
    guest, _ = make()
    guest.run(FIRST_B - 3)
    target, _ = make()
    target.set_state(guest.get_state())
    target.run(2)
    assert target.take_serial() == b""
    target.run(1)
    assert target.take_serial() == b"B"


def test_a_guest_that_never_ran_prints_its_a_where_it_starts() -> None:
    guest, _ = make()
    guest.run(0.5)
    assert guest.take_serial() == b""
    target, _ = make()
    target.set_state(guest.get_state())
    target.run(0.5)
    assert target.take_serial() == b"A"


def test_the_final_check_of_the_client_holds_wherever_the_guest_stops() -> None:
    guest, block = make()
    for _ in range(700):
        guest.run(3)
        counters = block.view()[FIRST : FIRST + COUNT, 0].astype(int)
        drops = np.flatnonzero(np.diff(counters))
        assert drops.size <= 1
        assert all((counters[drop + 1] - counters[drop]) % 256 == 255 for drop in drops)


def test_page_numbers_of_writes() -> None:
    counter = PageCounter(rate_pages_per_s=1, first=FIRST, pages=COUNT)
    assert counter.take(7).tolist() == [2, 3, 4, 5, 6, 2, 3]
    assert counter.take(2).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ([7, 7, 7, 6], 7 * 4 + 3),
        ([7, 6, 6, 6], 7 * 4 + 1),
        ([7, 7, 7, 7], 8 * 4),
        ([0, 255, 255, 255], 256 * 4 + 1),  # pass 256, at whose end a B is due
        ([0, 0, 0, 0], 4),
        ([7, 5, 5, 5], 41),  # not the memory of this guest: the position stays
        ([7, 6, 7, 6], 41),
    ],
)
def test_a_guest_goes_on_where_the_memory_of_another_program_is(counted, expected):
    block = RAMBlock("ram", RamBackend("ram", 5 * 4096))
    block.view()[1:, 0] = counted
    guest = Guest(PageCounter(rate_pages_per_s=1000.0, first=1, pages=4), block)
    guest.resume_at(41 * 10**9)
    guest.arrived(suspended=False)
    assert guest.workload.position == expected
    assert guest.workload.due(guest.time_ps) == expected


def test_a_guest_that_counted_itself_stays_where_it_is():
    block = RAMBlock("ram", RamBackend("ram", 5 * 4096))
    guest = Guest(PageCounter(rate_pages_per_s=1000.0, first=1, pages=4), block)
    for _ in range(3000):
        guest.run(0.001)
        before = guest.get_state()
        guest.arrived(suspended=False)
        assert guest.get_state() == before
