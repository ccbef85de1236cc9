"""What differs between two streams, found; what does not count, not told."""

from __future__ import annotations

import os

import numpy as np
import pytest
from state_files import (
    FORMS,
    HEADER,
    SHARING,
    WHOLE,
    block_list,
    configuration,
    device,
    globalstate,
    pages,
    part,
    sample_files,
    stream,
    unpacked,
    word,
    written,
)

from migsim.errors import StateError, StreamError
from migsim.ram.bitmap import DirtyBitmap
from migsim.streamtool import PageRanges, Side, StreamFiles, compare_streams


@pytest.fixture
def compare(tmp_path):
    def run(a, b, **options):
        return compare_streams(written(tmp_path / "a", a), written(tmp_path / "b", b), **options)

    return run


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_is_the_same_as_itself(name):
    difference = compare_streams(sample_files(name), sample_files(name), ram=True)
    assert difference.same
    ignored = [n for n in SHARING if "memfd" not in n]
    assert bool(difference.not_comparable) == (name in ignored)


def test_the_form_does_not_count():
    difference = compare_streams(
        sample_files("q35-8m-mapped-ram"), sample_files("q35-8m-mapped-ram-multifd"), ram=True
    )
    assert difference.facts == ()
    assert difference.blocks == ()
    # Two runs of one machine: only its clock differs.
    assert {section.name for section in difference.sections} <= {"mc146818rtc"}


@pytest.mark.parametrize("other", ["pc-8m-precopy-live", "pc-8m-multifd-zlib", "pc-8m-postcopy"])
def test_pages_that_a_guest_wrote_differ_whatever_the_encoding(other):
    """The guest of these samples writes counters into pages 512 to 639 of ram0."""
    there = compare_streams(sample_files("pc-8m-xbzrle"), sample_files(other), ram=True)
    back = compare_streams(sample_files(other), sample_files("pc-8m-xbzrle"), ram=True)
    for difference in (there, back):
        (block,) = difference.blocks
        assert (block.name, block.side, block.compared, block.pages) == (
            "ram0",
            Side.BOTH,
            True,
            2048,
        )
        assert list(block.ranges) == [(512, 639)]
        assert block.different_pages == 128


def test_without_ram_pages_do_not_count(compare):
    a, b = stream(), stream(records=pages(0, [9] * 8))
    assert compare(a, b).same
    assert not compare(a, b).ram_compared
    assert not compare(a, b, ram=True).same


@pytest.mark.parametrize(
    ("a", "b", "ranges"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], []),
        ([1, 2, 3, 4], [1, 9, 3, 9], [(1, 1), (3, 3)]),
        ([1, 2, 3, 4], [9, 9, 3, 9], [(0, 1), (3, 3)]),
        ([0, 2, 0, 4], [0, 0, 3, 4], [(1, 2)]),
        ([1, 2, 3, 4], [1, 2], [(2, 3)]),  # what is not sent is zero
        ([0, 0, 0, 0], [], []),
        ([], [0, 0, 1], [(2, 2)]),
    ],
)
def test_page_ranges(compare, a, b, ranges):
    for one, two in ((a, b), (b, a)):
        first = stream(records=pages(0, one) if one else b"")
        second = stream(records=pages(0, two) if two else b"")
        difference = compare(first, second, ram=True)
        found = [list(block.ranges) for block in difference.blocks]
        assert found == ([ranges] if ranges else [])


def test_the_last_record_of_a_page_counts(compare):
    a = stream(records=pages(0, [1, 2, 3]) + pages(1, [0]) + pages(1, [7]))
    b = stream(records=pages(0, [1, 7, 0]) + pages(2, [3]))
    assert compare(a, b, ram=True).same


def test_a_zero_page_sent_as_page_is_a_zero_page(compare):
    as_page = word(0, 8) + b"\4ram0" + bytes(4096)
    assert compare(stream(records=as_page), stream(records=pages(0, [0])), ram=True).same
    assert compare(stream(records=pages(0, [0])), stream(records=as_page), ram=True).same


def test_blocks_of_one_side_or_another_length(compare):
    a = stream(setup=block_list("ram0", "vga"), records=pages(0, [1] * 8))
    b = stream(setup=block_list("ram0", pages=4), records=pages(0, [1] * 4))
    difference = compare(a, b, ram=True)
    found = {block.name: (block.side, block.size_a, block.size_b) for block in difference.blocks}
    assert found == {"ram0": (Side.BOTH, 0x8000, 0x4000), "vga": (Side.A, 0x8000, None)}
    (ram0, _) = difference.blocks
    assert (ram0.pages, ram0.different_pages) == (4, 0)
    difference = compare(b, a, ram=True)
    assert {block.name: block.side for block in difference.blocks} == {
        "ram0": Side.BOTH,
        "vga": Side.B,
    }


def test_machine_capabilities_and_identity(compare):
    a = stream(head=HEADER + configuration(b"pc-q35-10.0"))
    b = stream(head=HEADER + configuration(b"pc-q35-9.2"))
    (fact,) = compare(a, b).facts
    assert (fact.name, fact.a, fact.b) == ("machine", "pc-q35-10.0", "pc-q35-9.2")
    facts = compare_streams(sample_files("none-1m"), sample_files("none-1m-ignore-shared")).facts
    assert [(fact.name, fact.a, fact.b) for fact in facts] == [
        ("capabilities", None, "x-ignore-shared")
    ]


def test_sections_of_one_side(compare):
    a = stream(devices=device("one", b"\1") + device("two", b"\2") + globalstate())
    b = stream(devices=device("three", b"\3") + device("one", b"\1") + globalstate())
    difference = compare(a, b)
    assert [(s.name, s.side) for s in difference.sections] == [
        ("three", Side.B),
        ("two", Side.A),
    ]
    assert difference.same_sections == 2


def test_order_and_ids_of_sections_do_not_count(compare):
    a = stream(devices=device("one", b"\1") + device("two", b"\2") + globalstate())
    b = stream(devices=globalstate() + device("two", b"\2", section_id=40) + device("one", b"\1"))
    assert compare(a, b).same


def test_versions(compare):
    a = stream(devices=device("one", b"\1", version=1))
    b = stream(devices=device("one", b"\1", version=2))
    (section,) = compare(a, b).sections
    assert (section.version_a, section.version_b, section.fields) == (1, 2, ())


def test_fields_have_names_where_there_is_a_description():
    difference = compare_streams(sample_files("none-1m"), sample_files("none-4m-default-ram"))
    sections = {section.name: section for section in difference.sections}
    fields = {field.path: field for field in sections["globalstate"].fields}
    assert fields["runstate"].a.rstrip(b"\0") == b"running"
    assert fields["runstate"].b.rstrip(b"\0") == b"prelaunch"
    assert fields["runstate"].places == ((0, 8),)
    assert fields["size"].a != fields["size"].b
    assert fields["size"].places == ()


def test_states_without_description_are_compared_byte_by_byte(compare):
    a = stream(devices=device("one", bytes(range(100))))
    b = stream(devices=device("one", bytes(range(50)) + b"\xff\xff" + bytes(range(52, 100))))
    (section,) = compare(a, b).sections
    (field,) = section.fields
    assert field.places == ((50, 51),)
    c = stream(devices=device("one", bytes(range(99))))
    (section,) = compare(a, c).sections
    assert (section.size_a, section.size_b) == (100, 99)
    assert section.fields[0].places == ()


def test_iterable_sections_count_too(compare):
    bitmap = (
        b"\1" + (2).to_bytes(4, "big") + b"\x0cdirty-bitmap" + bytes(4) + (1).to_bytes(4, "big")
    )
    a = stream(bitmap + b"\0\0\0\1" + b"\x7e\0\0\0\2")
    difference = compare(a, stream())
    assert [(s.name, s.side, s.version_a) for s in difference.sections] == [
        ("dirty-bitmap", Side.A, 1)
    ]


def test_an_error_says_in_which_file(tmp_path):
    good, bad = written(tmp_path / "good", stream()), written(tmp_path / "bad", stream()[:-40])
    for a, b in ((good, bad), (bad, good)):
        with pytest.raises(StreamError) as error:
            compare_streams(a, b, ram=True)
        assert str(tmp_path / "bad") in str(error.value)


def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    holder = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        with pytest.raises(StateError):
            compare_streams(sample_files("none-noram"), StreamFiles.at(tmp_path / "fifo"))
    finally:
        os.close(holder)


def test_no_temporary_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compare_streams(sample_files("pc-8m-xbzrle"), sample_files("pc-8m-xbzrle"), ram=True)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_inside_multifd_channels(tmp_path):
    name = "none-2m-multifd-uuid"
    files = sample_files(name)
    assert name in FORMS["multifd"]
    changed = tmp_path / "channel"
    raw = bytearray(files.channels[0].read_bytes())
    at = 64 + 1344 * 2 + 4096  # somewhere in the first payload
    raw[at : at + 8] = b"\xff" * 8
    changed.write_bytes(raw)
    other = StreamFiles.at(files.path, channels=[changed, *files.channels[1:]])
    (block,) = compare_streams(files, other, ram=True).blocks
    assert block.different_pages == 1


@pytest.mark.parametrize("pages", [1, 63, 64, 65, 2000])
def test_ranges_of_pages_are_put_together_across_pieces(pages):
    bitmap = DirtyBitmap(pages)
    assert list(PageRanges(bitmap, 4096)) == []
    bitmap.set_all()
    assert list(PageRanges(bitmap, 4096)) == [(0, pages - 1)]
    bitmap.clear_all()
    some = np.arange(0, pages, 2)
    bitmap.set_pfns(some)
    assert list(PageRanges(bitmap, 4096)) == [(p, p) for p in some.tolist()]
    assert PageRanges(bitmap, 4096).count == some.size


def test_a_ram_part_is_no_section_of_its_own(compare):
    a = stream(records=pages(0, [1] * 4) + pages(4, [2] * 4))
    b = stream(records=pages(0, [1] * 4)).replace(
        globalstate(), part(pages(4, [2] * 4)) + globalstate()
    )
    assert compare(a, b, ram=True).same


def test_the_samples_are_not_touched():
    assert unpacked("none-1m.bin.xz").stat().st_mode & 0o222 == 0
