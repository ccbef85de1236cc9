"""The packed bitmap at its boundaries: words, pieces, the last page, sizes of a large guest."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.ram.bitmap import DirtyBitmap, expand_words

PAGES_OF_1_TIB = 1 << 28


def bitmap_of(pages, pfns):
    bitmap = DirtyBitmap(pages)
    bitmap.set_pfns(np.array(pfns, np.int64))
    return bitmap


@pytest.mark.parametrize("pages", [1, 63, 64, 65, 128, 1000])
def test_bits_beyond_the_last_page_stay_clear(pages):
    bitmap = DirtyBitmap(pages)
    bitmap.set_all()
    assert bitmap.count() == pages
    assert bitmap.take(0, pages + 100).tolist() == list(range(pages))
    bitmap.clear_range(0, pages)
    assert not bitmap.words.any()


def test_empty_bitmap():
    bitmap = DirtyBitmap(0)
    bitmap.set_all()
    assert bitmap.count() == 0
    assert bitmap.next_set(0) == 0
    assert bitmap.take(0, 10).size == 0
    assert bitmap.to_bytes() == b""


@pytest.mark.parametrize(
    ("lo", "hi"), [(0, 0), (0, 1), (3, 60), (0, 64), (63, 65), (64, 128), (1, 199), (64, 200)]
)
def test_ranges(lo, hi):
    bitmap = DirtyBitmap(200)
    bitmap.set_range(lo, hi)
    assert bitmap.take(0, 200).tolist() == list(range(lo, hi))
    assert bitmap.count_range(lo, hi) == hi - lo
    assert bitmap.count_range(0, 200) == hi - lo
    assert bitmap.count_range(0, lo) == bitmap.count_range(hi, 200) == 0
    bitmap.set_all()
    bitmap.clear_range(lo, hi)
    assert bitmap.take(0, 200).tolist() == [*range(lo), *range(hi, 200)]


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (0, 201), (5, 4), (200, 201)])
def test_ranges_outside_are_refused(lo, hi):
    bitmap = DirtyBitmap(200)
    for method in (bitmap.set_range, bitmap.clear_range, bitmap.count_range):
        with pytest.raises(IndexError):
            method(lo, hi)
    assert bitmap.count() == 0


@pytest.mark.parametrize("pfn", [-1, 200, 1 << 40])
def test_page_numbers_outside_are_refused(pfn):
    bitmap = DirtyBitmap(200)
    for method in (bitmap.set_pfns, bitmap.clear_pfns, bitmap.test):
        with pytest.raises(IndexError):
            method(np.array([3, pfn]))
    assert bitmap.count() == 0


def test_a_bitmap_cannot_have_negative_size():
    with pytest.raises(ValueError, match="-1"):
        DirtyBitmap(-1)


@pytest.mark.parametrize("pfns", [[5], [5, 5, 6], [0, 199], [199, 3, 3, 64, 63], list(range(200))])
def test_setting_and_clearing_page_numbers(pfns):
    array = np.array(pfns, np.int64)
    bitmap = bitmap_of(200, pfns)
    assert bitmap.take(0, 200).tolist() == sorted(set(pfns))
    assert bitmap.test(array).all()
    bitmap.set_all()
    bitmap.clear_pfns(array)
    assert bitmap.take(0, 200).tolist() == sorted(set(range(200)) - set(pfns))
    assert not bitmap.test(array).any()


@pytest.mark.parametrize("count", [100, 200_000])
def test_scattered_page_numbers_of_a_large_guest(count):
    rng = np.random.default_rng(3)
    pfns = rng.integers(0, PAGES_OF_1_TIB, count)
    pfns[:40] = np.arange(40)  # neighbours in one word, among others far away
    pfns[-40:] = np.arange(40)
    bitmap = bitmap_of(PAGES_OF_1_TIB, pfns)
    expected = np.unique(pfns)
    assert np.array_equal(bitmap.take(0, PAGES_OF_1_TIB), expected)
    assert bitmap.count() == expected.size
    bitmap.clear_pfns(pfns[: count // 2])
    rest = np.setdiff1d(pfns, pfns[: count // 2])
    assert np.array_equal(bitmap.take(0, PAGES_OF_1_TIB), rest)


def test_merge_counts_what_is_new():
    one, two = bitmap_of(300, [0, 1, 64, 299]), bitmap_of(300, [1, 2, 65, 299])
    assert one.merge(two) == 2
    assert one.take(0, 300).tolist() == [0, 1, 2, 64, 65, 299]
    assert one.merge(two) == 0
    assert two.take(0, 300).tolist() == [1, 2, 65, 299]


def test_subtract():
    one, two = bitmap_of(300, [0, 1, 64, 299]), bitmap_of(300, [1, 2, 65, 299])
    one.subtract(two)
    assert one.take(0, 300).tolist() == [0, 64]


def test_merge_and_subtract_over_several_pieces():
    rng = np.random.default_rng(5)
    pages = (1 << 22) * 2 + 777
    first, second = rng.integers(0, pages, 50_000), rng.integers(0, pages, 50_000)
    one, two = bitmap_of(pages, first), bitmap_of(pages, second)
    assert one.merge(two) == np.setdiff1d(second, first).size
    assert np.array_equal(one.take(0, pages), np.union1d(first, second))
    one.subtract(two)
    assert np.array_equal(one.take(0, pages), np.setdiff1d(first, second))


def test_bitmaps_of_different_size_do_not_mix():
    for method in (DirtyBitmap(64).merge, DirtyBitmap(64).subtract):
        with pytest.raises(ValueError, match="63"):
            method(DirtyBitmap(63))


@pytest.mark.parametrize(
    ("pfn", "found"), [(-5, 3), (0, 3), (3, 3), (4, 64), (65, 127), (128, 200), (10**9, 200)]
)
def test_next_set(pfn, found):
    assert bitmap_of(200, [3, 64, 127]).next_set(pfn) == found


def test_next_set_far_away():
    bitmap = bitmap_of(PAGES_OF_1_TIB, [1, PAGES_OF_1_TIB - 1])
    assert bitmap.next_set(2) == PAGES_OF_1_TIB - 1


@pytest.mark.parametrize(
    ("start", "limit", "stop", "found"),
    [
        (0, 3, None, [1, 2, 64]),
        (2, 3, None, [2, 64, 65]),
        (0, 0, None, []),
        (0, -1, None, []),
        (3, 10, 64, []),
        (3, 10, 65, [64]),
        (66, 10, None, [190]),
        (191, 10, None, []),
        (0, 10, 10**9, [1, 2, 64, 65, 190]),
        (500, 10, None, []),
    ],
)
def test_take(start, limit, stop, found):
    bitmap = bitmap_of(200, [1, 2, 64, 65, 190])
    taken = bitmap.take(start, limit, stop)
    assert taken.dtype == np.int64
    assert taken.tolist() == found
    assert bitmap.count() == 5


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("present", [[], [0], [1, 2, 3, 4, 5, 6], list(range(8))])
def test_scattered_pages_that_share_a_byte(present, repeats):
    pages = 1 << 20
    byte = [*range(8), pages - 1] * repeats  # the last page keeps them from being written densely
    bitmap = bitmap_of(pages, present)
    bitmap.set_pfns(np.array(byte, np.int64))
    assert bitmap.take(0, pages).tolist() == [*range(8), pages - 1]
    bitmap.clear_pfns(np.array([p for p in byte if p not in (5, 9)], np.int64))
    assert bitmap.take(0, pages).tolist() == [5]


@pytest.mark.parametrize(
    ("start", "limit", "end", "number"),
    [
        (0, 3, 65, 3),
        (2, 3, 66, 3),
        (2, 4, 191, 4),
        (2, 9, 191, 4),
        (0, 0, 0, 0),
        (7, -1, 7, 0),
        (191, 10, 191, 0),
        (500, 10, 500, 0),
        (3, 1, 65, 1),
    ],
)
def test_reach(start, limit, end, number):
    bitmap = bitmap_of(200, [1, 2, 64, 65, 190])
    assert bitmap.reach(start, limit) == (end, number)
    assert bitmap.count() == 5


@pytest.mark.parametrize("density", [0.0001, 0.01, 0.3, 0.9, 1.0])
def test_reach_ends_where_take_does(density):
    rng = np.random.default_rng(12)
    pages = (1 << 23) + 333  # more words than are looked at together
    bitmap = bitmap_of(pages, np.flatnonzero(rng.random(pages) < density))
    for start in (0, 1, 64, 100_001, pages - 5):
        for limit in (1, 2, 63, 64, 65, 70_000, pages):
            taken = bitmap.take(start, limit)
            end = int(taken[-1]) + 1 if taken.size else start
            assert bitmap.reach(start, limit) == (end, taken.size)


@pytest.mark.parametrize(
    ("lo", "hi", "number"), [(0, 200, 3), (0, 2, 0), (0, 3, 1), (2, 65, 2), (65, 190, 0)]
)
def test_count_common(lo, hi, number):
    one, other = bitmap_of(200, [1, 2, 64, 65, 190]), bitmap_of(1000, [0, 2, 64, 190, 700])
    assert one.count_common(other, lo, hi) == number
    with pytest.raises(IndexError):
        other.count_common(one, 0, 201)


@pytest.mark.parametrize("density", [0.0001, 0.01, 0.3, 0.9, 1.0])
def test_windows_of_take_join_to_the_whole(density):
    rng = np.random.default_rng(11)
    pages = (1 << 21) + 333
    expected = np.flatnonzero(rng.random(pages) < density)
    bitmap = bitmap_of(pages, expected)
    windows, at = [], 0
    while (window := bitmap.take(at, 100_000)).size:
        windows.append(window)
        assert window.size == min(100_000, expected.size - sum(w.size for w in windows[:-1]))
        at = int(window[-1]) + 1
    assert np.array_equal(np.concatenate(windows), expected)


def test_sparse_words_expand_like_dense_ones():
    words = np.zeros(100, np.uint64)
    words[[0, 50, 99]] = [1, 1 << 63, 3]
    sparse = expand_words(words, 640)
    assert sparse.tolist() == [640, 640 + 50 * 64 + 63, 640 + 99 * 64, 640 + 99 * 64 + 1]


def test_wire_format_is_little_endian():
    bitmap = bitmap_of(70, [0, 9, 69])
    assert bitmap.to_bytes().hex() == "01020000000000002000000000000000"
    again = DirtyBitmap.from_bytes(70, bitmap.to_bytes())
    assert again == bitmap
    again.set_range(0, 1)
    again.clear_all()
    assert bitmap.count() == 3


@pytest.mark.parametrize("data", [b"", bytes(8), bytes(15), bytes(24), bytes(15) + b"\x80"])
def test_wire_format_of_wrong_size_or_with_bits_too_many_is_refused(data):
    with pytest.raises(ValueError, match=r"size|bitmap|beyond"):
        DirtyBitmap.from_bytes(70, data)


def test_copies_are_apart_and_equality_is_by_content():
    one = bitmap_of(100, [5])
    two = one.copy()
    assert one == two
    two.set_range(6, 7)
    assert one != two
    assert one != bitmap_of(101, [5])
    assert one != "a bitmap"
    assert repr(two) == "DirtyBitmap(pages=100, set=2)"


def test_a_bitmap_of_a_tebibyte_takes_no_memory_until_it_is_written():
    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1])

    before = resident()
    bitmaps = [DirtyBitmap(PAGES_OF_1_TIB) for _ in range(8)]
    assert (resident() - before) * 4096 < 4 << 20
    assert all(bitmap.words.nbytes == 32 << 20 for bitmap in bitmaps)
