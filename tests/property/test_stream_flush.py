"""The flush arithmetic against a byte-by-byte play of the same rules."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim.stream import FlushState, plan_pages

ENTRIES, BUFFER, PAGE = 64, 32768, 4096
EMPTY = FlushState()


class SlowFile:
    """Puts one byte after another, and one page reference after another."""

    def __init__(self, state: FlushState = EMPTY) -> None:
        self.entries = state.entries
        self.buffered = state.buffered_bytes
        self.pages = state.pages
        self.open = state.open_piece
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += self.buffered + PAGE * self.pages
        self.entries = self.buffered = self.pages = 0
        self.open = False

    def put(self, size: int) -> None:
        for _ in range(size):
            if not self.open:
                self.entries += 1
                self.open = True
            self.buffered += 1
            if self.entries == ENTRIES or self.buffered == BUFFER:
                self.flush()

    def put_page(self) -> None:
        self.entries += 1
        self.pages += 1
        self.open = False
        if self.entries == ENTRIES:
            self.flush()

    @property
    def state(self) -> FlushState:
        return FlushState(self.entries, self.buffered, self.pages, self.open)


def play(mask: np.ndarray, name: int, state: FlushState, budget: int | None):
    file = SlowFile(state)
    count = 0
    for zero in mask.tolist():
        if budget is not None and file.flushed > budget:
            break
        file.put((9 if zero else 8) + (name if count == 0 else 0))
        if not zero:
            file.put_page()
        count += 1
    return count, file.flushed, file.state


# What a file can hold: reached by putting, not made up, so that impossible states stay out.
@st.composite
def reached_states(draw: st.DrawFn) -> FlushState:
    file = SlowFile()
    for size, pages in draw(
        st.lists(st.tuples(st.integers(0, 33000), st.integers(0, 40)), max_size=3)
    ):
        file.put(size)
        for _ in range(pages):
            file.put(8)
            file.put_page()
    if draw(st.booleans()):  # a header that ends exactly at the end of the buffer
        file.put(BUFFER - file.buffered)
        file.put_page()
    return file.state


# Runs, because what matters is how many zero records lie between how many normal pages.
@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    runs = draw(
        st.lists(
            st.tuples(
                st.booleans(),
                st.one_of(
                    st.integers(1, 5),
                    st.sampled_from([31, 32, 33, 63, 64, 65]),
                    st.integers(3600, 3680),
                ),
            ),
            min_size=1,
            max_size=8,
        )
    )
    return np.concatenate([np.full(length, zero) for zero, length in runs])


budgets = st.one_of(st.none(), st.integers(-1, 400_000), st.sampled_from([0, 32767, 32768, 131327]))
names = st.one_of(st.just(0), st.integers(2, 256))


@given(masks(), names, reached_states(), budgets)
def test_plan_equals_the_slow_play(mask, name, state, budget):
    plan = plan_pages(mask, name, state, budget)
    assert (plan.count, plan.flushed_bytes, plan.state) == play(mask, name, state, budget)


@given(st.lists(st.booleans(), min_size=1, max_size=400), names, reached_states(), budgets)
def test_plan_equals_the_slow_play_on_irregular_pages(bits, name, state, budget):
    mask = np.array(bits)
    plan = plan_pages(mask, name, state, budget)
    assert (plan.count, plan.flushed_bytes, plan.state) == play(mask, name, state, budget)


@given(reached_states(), st.integers(0, 100_000))
def test_put_equals_the_slow_play(state, size):
    file = SlowFile(state)
    file.put(size)
    assert state.after_put(size) == (file.state, file.flushed)


@given(masks(), names, reached_states(), st.integers(0, 30_000))
def test_plan_in_two_halves_is_the_plan_of_the_whole(mask, name, state, cut):
    cut = min(cut, mask.size)
    whole = plan_pages(mask, name, state)
    first = plan_pages(mask[:cut], name, state)
    second = plan_pages(mask[cut:], name if cut == 0 else 0, first.state)
    assert first.flushed_bytes + second.flushed_bytes == whole.flushed_bytes
    assert second.state == whole.state
