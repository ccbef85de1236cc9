"""What is in a stream: the counts of the manifest, and places that lead to the right bytes."""

from __future__ import annotations

import os
import threading

import pytest
from state_files import (
    FORMS,
    HEADER,
    MANIFEST,
    PAGE,
    RETURN_PATH,
    WHOLE,
    block_list,
    configuration,
    form_of,
    pages,
    part,
    sample_files,
    stream,
    u32,
    written,
)

from migsim.errors import ChannelError, StreamError
from migsim.streamtool import StreamFiles, StreamForm, stream_info


@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_those_of_the_manifest(name):
    entry, info = MANIFEST[name], stream_info(sample_files(name))
    assert info.fault is None
    assert info.ended
    assert info.offset == entry["offset"]
    assert info.trailing_bytes == 0
    assert info.form == form_of(name)
    assert info.description_bytes == entry["description_bytes"]
    assert len(info.devices) == entry["devices"]
    assert {b.name: b.size_bytes for b in info.blocks} == {
        block: facts["length"] for block, facts in entry["blocks"].items()
    }
    normal = sum(block.normal_records for block in info.blocks)
    zero = sum(block.zero_records for block in info.blocks)
    assert normal == entry["normal_pages"]
    if info.form is not StreamForm.MAPPED_RAM:
        assert zero == entry["zero_pages"]
        assert info.length_bytes == entry["length"]
    assert sum(block.delta_records for block in info.blocks) == entry.get("xbzrle_pages", 0)


@pytest.mark.parametrize("name", WHOLE)
def test_sections_are_where_they_are_said_to_be(name):
    files = sample_files(name)
    raw, info = files.path.read_bytes(), stream_info(files)
    for section in info.sections:
        head = raw[section.offset : section.offset + 6 + len(section.name)]
        assert head[0] in ((4,) if not section.iterable else (1, 4))
        assert head[1:5] == u32(section.section_id)
        assert head[6:] == section.name.encode()
        if not section.iterable and info.footers:
            end = section.offset + section.size_bytes
            assert raw[end - 5 : end] == b"\x7e" + u32(section.section_id)
    assert info.description_offset is None or raw[info.description_offset] == 6


@pytest.mark.parametrize("name", WHOLE)
def test_every_page_is_counted_once(name):
    info = stream_info(sample_files(name))
    for block in info.blocks:
        assert block.content_pages + block.zero_pages + block.absent_pages == block.pages
        assert block.complete
        in_stream = MANIFEST[name]["blocks"][block.name].get("in_stream", True)
        assert block.in_stream == in_stream
        assert block.absent_pages == (0 if in_stream else block.pages)


def test_the_capabilities_uuid_and_run_state():
    info = stream_info(sample_files("none-2m-multifd-uuid"))
    assert info.uuid == "00112233-4455-6677-8899-aabbccddeeff"
    assert [channel.number for channel in info.channels] == [0, 1, 2]
    assert sum(channel.normal_pages for channel in info.channels) == 447
    assert {channel.compression for channel in info.channels} == {"none"}
    info = stream_info(sample_files("q35-8m-mapped-ram"))
    assert (info.machine, info.capabilities, info.run_state) == (
        "pc-q35-10.0",
        ("mapped-ram",),
        "prelaunch",
    )
    assert stream_info(sample_files("q35-8m-kvm-running")).run_state == "running"


@pytest.mark.parametrize("name", FORMS["mapped-ram"])
def test_pages_of_a_mapped_file_are_where_the_block_says(name):
    files = sample_files(name)
    info = stream_info(files)
    raw = files.path.read_bytes()
    block = info.blocks[0]
    first = int.from_bytes(raw[block.mapped.bitmap_offset :][: block.pages // 8], "little")
    pfn = (first & -first).bit_length() - 1
    at = block.mapped.pages_offset + pfn * PAGE
    assert any(raw[at : at + PAGE])


def test_repeated_pages_count_by_their_last_record(tmp_path):
    records = pages(0, [1, 2, 0]) + pages(1, [0, 5]) + pages(2, [0])
    block = stream_info(written(tmp_path / "s", stream(records=records))).blocks[0]
    assert (block.normal_records, block.zero_records) == (3, 3)
    assert (block.content_pages, block.zero_pages, block.absent_pages) == (1, 2, 5)
    assert block.payload_bytes == 3 * PAGE
    assert not block.complete


def test_commands_are_counted_by_kind(tmp_path):
    raw = stream(RETURN_PATH, b"\x08\0\2\0\4" + u32(1), b"\x08\0\2\0\4" + u32(2))
    info = stream_info(written(tmp_path / "s", raw))
    at = len(HEADER + configuration())
    assert [(c.name, c.offset, c.count) for c in info.commands] == [
        ("OPEN_RETURN_PATH", at, 1),
        ("PING", at + 5, 2),
    ]


def test_a_fault_ends_the_walk_and_leaves_what_was_found(tmp_path):
    raw = stream()
    cut = raw[: raw.index(b"globalstate") + 30]
    info = stream_info(written(tmp_path / "s", cut))
    assert info.fault.section == "globalstate"
    assert not info.ended
    assert info.blocks[0].complete
    assert [section.name for section in info.sections] == ["ram"]
    assert info.length_bytes <= len(cut)


def test_a_part_that_is_cut_off_is_told_as_begun(tmp_path):
    raw = stream()
    info = stream_info(written(tmp_path / "s", raw[: raw.index(part(b"")[:5]) + 100]))
    (ram,) = info.sections
    assert (ram.name, ram.parts, ram.complete) == ("ram", 2, False)
    assert not info.blocks[0].complete


@pytest.mark.parametrize("raw", [b"", b"QEV", b"\x7fELF" + bytes(200), HEADER[:4] + u32(2)])
def test_what_is_no_stream_is_an_error(tmp_path, raw):
    with pytest.raises(StreamError) as error:
        stream_info(written(tmp_path / "s", raw))
    assert error.value.section == "header"


def test_a_missing_file_and_a_directory_are_errors_of_the_channel(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ChannelError):
            stream_info(StreamFiles.at(path))


def test_progress_is_told_in_order_up_to_the_size(tmp_path):
    count = 6000
    records = b"".join(
        bytes((0,)) * 4 + (at * PAGE | 0x28).to_bytes(4, "big") + bytes((1,)) * PAGE
        for at in range(1, count)
    )
    raw = stream(setup=block_list("ram0", pages=count), records=pages(0, [1]) + records)
    told: list[tuple[int, int | None]] = []
    stream_info(written(tmp_path / "s", raw), lambda done, total: told.append((done, total)))
    assert len(told) >= 2
    assert told == sorted(told)
    assert {total for _, total in told} == {len(raw)}
    assert told[-1][0] <= len(raw)


def test_a_pipe_is_read_as_it_comes(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    raw = stream()
    writer = threading.Thread(target=fifo.write_bytes, args=(raw,))
    writer.start()
    info = stream_info(StreamFiles.at(fifo))
    writer.join()
    assert info.file_bytes is None
    assert info.blocks[0].content_pages == 5
    assert info.ended


def test_names_that_are_no_text_survive(tmp_path):
    name = b"\xff\x1b[31m"
    raw = stream(setup=block_list(name), records=pages(0, [1] * 8, name))
    info = stream_info(written(tmp_path / "s", raw))
    assert info.blocks[0].name.encode("utf-8", "surrogateescape") == name
