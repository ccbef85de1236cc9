"""Every form into both forms that are written: RAM, devices and everything else stay."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading

import numpy as np
import pytest
from state_files import (
    EOS,
    FOOTER,
    FORMS,
    HEADER,
    LAST,
    MANIFEST,
    PAGE,
    PING,
    RETURN_PATH,
    SETUP,
    SHARING,
    WHOLE,
    block_list,
    blocks_in,
    configuration,
    data_bytes,
    form_of,
    globalstate,
    page_of,
    pages,
    ram_hashes,
    sample_files,
    stream,
    word,
    written,
)

from migsim.errors import ChannelError, ConfigError, ParameterError, StateError, StreamError
from migsim.streamtool import (
    StreamFiles,
    StreamForm,
    ZeroPages,
    check_stream,
    compare_streams,
    convert,
    show_state,
    stream_info,
)

PLAIN, MAPPED = StreamForm.PLAIN, StreamForm.MAPPED_RAM
CONVERTIBLE = [name for name in WHOLE if name not in SHARING]
REPEATING = [1, 0, 3, 4, 0, 0, 7, 8]


def devices_of(files):
    return [
        (section.name, section.instance_id, section.version, section.fields)
        for section in show_state(files).sections
        if section.name != "configuration"
    ]


def values_of(files):
    """Return what devices hold, without where it lies."""
    return [
        (name, instance, version, [(f.path, f.type, f.value) for f in fields])
        for name, instance, version, fields in devices_of(files)
    ]


@pytest.mark.parametrize("form", [PLAIN, MAPPED])
@pytest.mark.parametrize("name", CONVERTIBLE)
def test_ram_and_devices_of_every_sample_stay(tmp_path, name, form):
    source, new = sample_files(name), tmp_path / "new"
    result = convert(source, new, form)
    files = StreamFiles.at(new)
    assert ram_hashes(files, list(blocks_in(name))) == blocks_in(name)
    assert values_of(files) == values_of(source)
    report = check_stream(files)
    assert report.ok, report.findings
    assert report.info.form is form is result.form or not report.info.blocks
    assert (result.offset, result.length_bytes) == (0, new.stat().st_size)
    info = report.info
    assert info.description_bytes is None or info.trailing_bytes == 0
    assert sum(block.content_pages for block in info.blocks) == result.content_pages


@pytest.mark.parametrize("name", [name for name in FORMS["plain"] if "xbzrle" not in name])
def test_a_plain_stream_stays_the_same_byte_for_byte(tmp_path, name):
    source = sample_files(name)
    raw = source.path.read_bytes()[source.offset :]
    result = convert(source, tmp_path / "new", PLAIN)
    if "return-path" in name:
        assert len(raw) - result.length_bytes == len(RETURN_PATH + PING)
        return
    assert (tmp_path / "new").read_bytes() == raw
    assert result.dropped == ()


@pytest.mark.parametrize("name", FORMS["mapped-ram"])
def test_a_mapped_file_stays_the_same_but_for_what_lies_under_clear_bits(tmp_path, name):
    source = sample_files(name)
    result = convert(source, tmp_path / "new", MAPPED, target_offset=source.offset)
    old, new = source.path.read_bytes(), (tmp_path / "new").read_bytes()
    assert len(old) == len(new) == source.offset + result.length_bytes
    differing = np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8))
    inside = differing[differing >= source.offset]
    for block in stream_info(source).blocks:
        first = block.mapped.pages_offset
        inside = inside[(inside < first) | (inside >= first + block.size_bytes)]
    assert inside.size == 0
    assert compare_streams(source, StreamFiles.at(tmp_path / "new", source.offset), ram=True).same


@pytest.mark.parametrize("name", ["q35-8m", "none-1m", "microvm-8m"])
def test_there_and_back_is_the_same_stream(tmp_path, name):
    source = sample_files(name)
    convert(source, tmp_path / "mapped", MAPPED)
    convert(StreamFiles.at(tmp_path / "mapped"), tmp_path / "plain", PLAIN)
    back = StreamFiles.at(tmp_path / "plain")
    assert compare_streams(source, back, ram=True).same
    assert stream_info(back).capabilities == ()
    # The description tells of the configuration as it is now, and of the devices as before.
    assert description_of(back) == description_of(source)
    mapped = description_of(StreamFiles.at(tmp_path / "mapped"))
    assert mapped["devices"] == description_of(source)["devices"]
    (inner,) = mapped["configuration"]["subsections"]
    assert inner["vmsd_name"] == "configuration/capabilities"


def description_of(files):
    info = stream_info(files)
    raw = files.path.read_bytes()[info.description_offset + 5 :][: info.description_bytes]
    return json.loads(raw)


# Zero pages


@pytest.mark.parametrize("form", [PLAIN, MAPPED])
@pytest.mark.parametrize("zero_pages", list(ZeroPages))
@pytest.mark.parametrize("name", ["none-2m-mapped-ram", "pc-8m-mapped-ram-live", "pc-8m-xbzrle"])
def test_zero_pages_are_left_out_or_told(tmp_path, name, form, zero_pages):
    result = convert(sample_files(name), tmp_path / "new", form, zero_pages=zero_pages)
    files = StreamFiles.at(tmp_path / "new")
    assert ram_hashes(files, ["ram0"]) == {"ram0": blocks_in(name)["ram0"]}
    told = sum(
        block.zero_records + (block.normal_records if form is MAPPED else 0)
        for block in stream_info(files).blocks
    )
    everything = sum(facts["length"] for facts in MANIFEST[name]["blocks"].values()) // PAGE
    if zero_pages is ZeroPages.MARK:
        assert result.silent_pages == 0
        assert result.content_pages + result.zero_pages == everything
        assert told == (everything if form is MAPPED else result.zero_pages)
    else:
        assert result.zero_pages == 0
        assert result.silent_pages == everything - result.content_pages


def test_marked_pages_of_a_mapped_file_are_holes(tmp_path):
    result = convert(
        sample_files("none-4m-default-ram"), tmp_path / "new", MAPPED, zero_pages=ZeroPages.MARK
    )
    assert result.zero_pages == 1024
    assert data_bytes(tmp_path / "new") < 64 << 10
    assert stream_info(StreamFiles.at(tmp_path / "new")).blocks[0].content_pages == 1024


def test_by_default_zero_pages_are_as_with_qemu(tmp_path):
    assert convert(sample_files("none-1m"), tmp_path / "a", PLAIN).zero_pages == 33
    assert convert(sample_files("none-1m"), tmp_path / "b", MAPPED).silent_pages == 33
    assert convert(sample_files("none-2m-mapped-ram"), tmp_path / "c", PLAIN).zero_pages == 65


@pytest.mark.parametrize("form", [PLAIN, MAPPED])
@pytest.mark.parametrize("zero_pages", list(ZeroPages))
def test_a_page_that_becomes_zero_later_is_zero(tmp_path, form, zero_pages):
    records = pages(0, REPEATING) + pages(2, [0, 9]) + pages(2, [5]) + pages(2, [0])
    source = written(tmp_path / "s", stream(records=records))
    convert(source, tmp_path / "new", form, zero_pages=zero_pages)
    new = StreamFiles.at(tmp_path / "new")
    assert compare_streams(source, new, ram=True).same
    if form is PLAIN and zero_pages is ZeroPages.OMIT:
        # Only those that take content away are left: page 2, twice.
        assert stream_info(new).blocks[0].zero_records == 2


# Places


@pytest.mark.parametrize("offset", [1, 0x1000, 0x5000, 0x123457])
@pytest.mark.parametrize("form", [PLAIN, MAPPED])
def test_an_offset_leaves_a_hole_in_a_new_file(tmp_path, form, offset):
    result = convert(sample_files("none-1m"), tmp_path / "new", form, target_offset=offset)
    files = StreamFiles.at(tmp_path / "new", offset)
    assert result.offset == offset
    assert not any((tmp_path / "new").read_bytes()[:offset])
    assert ram_hashes(files, ["ram0"]) == blocks_in("none-1m")
    for block in stream_info(files).blocks if form is MAPPED else ():
        assert block.mapped.pages_offset % (1 << 20) == 0
        assert block.mapped.bitmap_offset > offset


@pytest.mark.parametrize("size", [100, 4096, 3 << 20])
def test_what_is_in_front_of_the_offset_is_kept_and_what_is_behind_is_cut(tmp_path, size):
    old = os.urandom(size)
    (tmp_path / "new").write_bytes(old)
    convert(sample_files("none-1m"), tmp_path / "new", PLAIN, target_offset=4096)
    content = (tmp_path / "new").read_bytes()
    assert content[:4096] == old[:4096].ljust(4096, b"\0")
    assert len(content) == 4096 + MANIFEST["none-1m"]["length"]


# What does not belong into a file


def test_a_postcopy_recording_becomes_a_stream_with_all_ram_in_front(tmp_path):
    result = convert(sample_files("pc-8m-postcopy"), tmp_path / "new", PLAIN)
    info = stream_info(StreamFiles.at(tmp_path / "new"))
    assert [command.name for command in info.commands] == ["SWITCHOVER_START"]
    assert {word.split()[-1] for word in result.dropped} >= {"PACKAGED", "POSTCOPY_LISTEN", "PING"}
    ram = next(section for section in info.sections if section.name == "ram")
    assert ram.complete
    assert all(block.host_page_bytes is None for block in info.blocks)
    raw = (tmp_path / "new").read_bytes()
    end_of_ram = raw.index(LAST)
    assert all(end_of_ram < section.offset for section in info.devices if section.name != "timer")


def test_channels_join_the_stream(tmp_path):
    result = convert(sample_files("pc-8m-multifd-zstd"), tmp_path / "new", PLAIN)
    info = stream_info(StreamFiles.at(tmp_path / "new"))
    assert (info.form, info.flushes) == (PLAIN, 0)
    assert result.dropped == ("multifd sync points",)


def test_the_description_can_be_left_out(tmp_path):
    for form in (PLAIN, MAPPED):
        result = convert(sample_files("q35-8m"), tmp_path / "new", form, drop_description=True)
        info = stream_info(StreamFiles.at(tmp_path / "new"))
        assert (info.description_bytes, info.ended) == (None, True)
        assert len(info.devices) == MANIFEST["q35-8m"]["devices"]
        assert result.dropped == ("description",)


def test_libvirts_wrapper_stays_behind(tmp_path):
    xml = b"<domain/>\0"
    header = struct.pack("<16s5I56x", b"LibvirtQemudSave", 2, len(xml), 1, 0, 0)
    source = written(tmp_path / "s", header + xml + stream())
    result = convert(source, tmp_path / "new", PLAIN)
    assert result.dropped == ("libvirt's wrapper",)
    assert (tmp_path / "new").read_bytes() == stream()


def test_bytes_behind_the_stream_stay_behind(tmp_path):
    source = written(tmp_path / "s", stream() + b"tail" * 1000)
    convert(source, tmp_path / "new", PLAIN)
    assert (tmp_path / "new").read_bytes() == stream()


@pytest.mark.parametrize("name", ["none-1m-no-footers", "none-1m-no-configuration", "none-1m-bare"])
@pytest.mark.parametrize("form", [PLAIN, MAPPED])
def test_switches_stay_as_they_were(tmp_path, name, form):
    convert(sample_files(name), tmp_path / "new", form)
    new, old = stream_info(StreamFiles.at(tmp_path / "new")), stream_info(sample_files(name))
    assert (new.footers, new.machine) == (old.footers, old.machine)
    assert new.form is form
    convert(StreamFiles.at(tmp_path / "new"), tmp_path / "back", form)
    assert stream_info(StreamFiles.at(tmp_path / "back")).footers is old.footers


# What cannot be


@pytest.mark.parametrize("name", SHARING)
def test_mapped_ram_and_ignored_blocks_exclude_each_other(tmp_path, name):
    with pytest.raises(ConfigError) as error:
        convert(sample_files(name), tmp_path / "new", MAPPED)
    assert "x-ignore-shared" in str(error.value)
    assert os.listdir(tmp_path) == []
    convert(sample_files(name), tmp_path / "new", PLAIN)


@pytest.mark.parametrize("form", [StreamForm.MULTIFD, StreamForm.POSTCOPY])
def test_other_forms_are_not_written(tmp_path, form):
    with pytest.raises(ParameterError):
        convert(sample_files("none-1m"), tmp_path / "new", form)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", [PLAIN, MAPPED])
@pytest.mark.parametrize("name", ["pc-8m-cancelled", "none-1m", "none-2m-mapped-ram"])
def test_a_broken_stream_leaves_what_was_there(tmp_path, name, form):
    raw = sample_files(name).path.read_bytes()
    if not MANIFEST[name].get("malformed"):
        raw = raw[: raw.index(b"globalstate") + 30]
    source = written(tmp_path / "s", raw)
    (tmp_path / "new").write_bytes(b"precious")
    with pytest.raises(StreamError):
        convert(source, tmp_path / "new", form)
    assert (tmp_path / "new").read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["new", "s"]


def test_the_source_is_not_overwritten(tmp_path):
    source = written(tmp_path / "s", stream())
    os.link(source.path, tmp_path / "again")
    for target in (source.path, tmp_path / "again"):
        with pytest.raises(ChannelError):
            convert(source, target, PLAIN)
    channels = sample_files("none-2m-multifd-uuid")
    (tmp_path / "channel").write_bytes(channels.channels[0].read_bytes())
    files = StreamFiles.at(channels.path, channels=[tmp_path / "channel", *channels.channels[1:]])
    with pytest.raises(ChannelError):
        convert(files, tmp_path / "channel", PLAIN)


# Streams as no QEMU writes them


def test_pages_in_start_and_a_section_sent_in_one(tmp_path):
    start = SETUP + block_list("ram0") + pages(0, REPEATING) + EOS + FOOTER
    full = b"\x04" + start[1:]
    for ram in (start + LAST, full):
        source = written(tmp_path / "s", HEADER + configuration() + ram + globalstate() + b"\0")
        for form in (PLAIN, MAPPED):
            convert(source, tmp_path / "new", form)
            new = StreamFiles.at(tmp_path / "new")
            assert compare_streams(source, new, ram=True).same
            assert check_stream(new).ok


def test_a_block_without_pages_and_names_that_are_no_text(tmp_path):
    name = b"\xff\xfe"
    setup = word(0x8000, 4) + b"\2" + name + bytes(8) + b"\4ram0" + (0x8000).to_bytes(8, "big")
    source = written(tmp_path / "s", stream(setup=setup))
    for form in (PLAIN, MAPPED):
        convert(source, tmp_path / "new", form)
        assert compare_streams(source, StreamFiles.at(tmp_path / "new"), ram=True).same


@pytest.mark.parametrize("page_bits", [10, 14, 16])
def test_other_page_sizes(tmp_path, page_bits):
    size = 1 << page_bits
    bits = b"\5\x1econfiguration/target-page-bits" + (1).to_bytes(4, "big")
    head = HEADER + configuration() + bits + page_bits.to_bytes(4, "big")
    setup = word(4 * size, 4) + b"\4ram0" + (4 * size).to_bytes(8, "big")
    records = word(0, 8) + b"\4ram0" + b"\1" * size + word(2 * size, 0x28) + b"\3" * size
    source = written(tmp_path / "s", stream(head=head, setup=setup, records=records))
    convert(source, tmp_path / "mapped", MAPPED)
    mapped = StreamFiles.at(tmp_path / "mapped")
    convert(mapped, tmp_path / "plain", PLAIN, zero_pages=ZeroPages.OMIT)
    for new in (mapped, StreamFiles.at(tmp_path / "plain")):
        assert compare_streams(source, new, ram=True).same
        assert stream_info(new).page_bytes == size


# Pipes


def piped(tmp_path, raw):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def feed():
        with fifo.open("wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(raw)

    thread = threading.Thread(target=feed)
    thread.start()
    return StreamFiles.at(fifo), thread


@pytest.mark.parametrize("form", [PLAIN, MAPPED])
def test_a_pipe_is_converted_as_it_comes(tmp_path, form):
    source, feeder = piped(tmp_path, sample_files("none-1m").path.read_bytes())
    convert(source, tmp_path / "new", form)
    feeder.join()
    new = StreamFiles.at(tmp_path / "new")
    assert ram_hashes(new, ["ram0"]) == blocks_in("none-1m")


def test_deltas_from_a_pipe_need_no_second_reading_for_a_mapped_file(tmp_path):
    source, feeder = piped(tmp_path, sample_files("pc-8m-xbzrle").path.read_bytes())
    convert(source, tmp_path / "new", MAPPED)
    feeder.join()
    new = StreamFiles.at(tmp_path / "new")
    assert ram_hashes(new, ["ram0"]) == {"ram0": blocks_in("pc-8m-xbzrle")["ram0"]}


def test_deltas_from_a_pipe_cannot_become_plain(tmp_path):
    source, feeder = piped(tmp_path, sample_files("pc-8m-xbzrle").path.read_bytes())
    with pytest.raises(StateError):
        convert(source, tmp_path / "new", PLAIN)
    feeder.join()
    assert os.listdir(tmp_path) == ["fifo"]


def test_the_form_of_samples_is_known():
    assert {form_of(name) for name in WHOLE} == {"plain", "mapped-ram", "multifd", "postcopy"}
    assert page_of(1) == b"\1" * PAGE
