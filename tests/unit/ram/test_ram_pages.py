"""Runs of page numbers and the search for zero pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.ram.pages import runs, zero_page_mask, zero_pages_at

PAGE = 4096


@pytest.mark.parametrize(
    ("pfns", "starts", "lengths"),
    [
        ([], [], []),
        ([7], [7], [1]),
        ([0, 1, 2], [0], [3]),
        ([0, 2, 3, 9], [0, 2, 9], [1, 2, 1]),
        ([5, 6, 8, 10, 11, 12], [5, 8, 10], [2, 1, 3]),
    ],
)
def test_runs_of_numbers(pfns, starts, lengths):
    found = runs(np.array(pfns, np.int64))
    assert [part.tolist() for part in found] == [starts, lengths]
    assert all(part.dtype == np.int64 for part in found)


@pytest.mark.parametrize(
    ("mask", "starts", "lengths"),
    [
        ([], [], []),
        ([False], [], []),
        ([True], [0], [1]),
        ([True, True, False, True], [0, 3], [2, 1]),
        ([False, True, True], [1], [2]),
    ],
)
def test_runs_of_a_mask(mask, starts, lengths):
    found = runs(np.array(mask, np.bool_))
    assert [part.tolist() for part in found] == [starts, lengths]


@given(st.sets(st.integers(0, 40)))
def test_both_kinds_of_runs_agree(pages):
    pfns = np.array(sorted(pages), np.int64)
    mask = np.zeros(41, np.bool_)
    mask[pfns] = True
    assert [part.tolist() for part in runs(mask)] == [part.tolist() for part in runs(pfns)]


@pytest.mark.parametrize("at", [0, 7, 8, 2048, PAGE - 1])
@pytest.mark.parametrize("others_zero", [True, False])
def test_one_byte_anywhere_makes_a_page_not_zero(at, others_zero):
    view = np.zeros((600, PAGE), np.uint8) if others_zero else np.ones((600, PAGE), np.uint8)
    view[[0, 255, 256, 599]] = 0
    view[[0, 255, 256, 599], at] = 1
    expected = np.full(600, others_zero)
    expected[[0, 255, 256, 599]] = False
    assert zero_page_mask(view).tolist() == expected.tolist()
    pfns = np.array([599, 3, 0, 255, 256, 256, 4])
    assert zero_pages_at(view, pfns).tolist() == expected[pfns].tolist()


def test_no_pages():
    view = np.zeros((4, PAGE), np.uint8)
    assert zero_page_mask(view[:0]).shape == (0,)
    assert zero_pages_at(view, np.empty(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("share_zero", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("first_word_tells", [True, False])
def test_zero_pages_against_a_page_by_page_look(share_zero, first_word_tells):
    rng = np.random.default_rng(7)
    view = np.zeros((1000, PAGE), np.uint8)
    used = np.flatnonzero(rng.random(1000) >= share_zero)
    view[used, 0 if first_word_tells else PAGE - 1] = 1
    expected = [not page.any() for page in view]
    assert zero_page_mask(view).tolist() == expected
    some = np.flatnonzero(rng.random(1000) < 0.3)
    assert zero_pages_at(view, some).tolist() == [expected[pfn] for pfn in some]
    assert zero_pages_at(view, np.arange(100, 900)).tolist() == expected[100:900]
