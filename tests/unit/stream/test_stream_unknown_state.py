"""State that nothing describes: where it ends, with a description, by footers, and without."""

from __future__ import annotations

import struct

import pytest

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import StreamError
from migsim.stream import (
    DETECT,
    DeviceSection,
    EndMarker,
    OpaquePart,
    OutFile,
    SectionBegin,
    SectionEnd,
    StreamOptions,
    StreamReader,
    StreamWriter,
    open_stream,
    rewrite,
)
from migsim.stream.wire import SectionType
from migsim.vmstate.common import GLOBALSTATE, TIMER, globalstate_values, timer_values


def u32(value):
    return struct.pack(">I", value)


def str8(text):
    return bytes((len(text),)) + text.encode()


FOOTER_9 = b"\x7e" + u32(9)
HEAD = b"QEVM\0\0\0\3\x07\0\0\0\4none"


def full(body, name="dev", section_id=9, footer=True):
    head = b"\4" + u32(section_id) + str8(name) + u32(0) + u32(1)
    return head + body + (b"\x7e" + u32(section_id) if footer else b"")


def devices(items):
    return [(item.name, item.body) for item in items if isinstance(item, DeviceSection)]


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 13, None])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\x7e",
        b"\x7e" * 7,
        FOOTER_9,
        FOOTER_9 + b"\x7e",
        FOOTER_9 + b"\xff" * 9,
        FOOTER_9 + b"\x08\0\x63\0\0",  # a command that does not exist
        FOOTER_9 + b"\x08\0\x02\0\0",  # PING without its data
        FOOTER_9 + b"\2" + u32(9),  # a part of what never started
        FOOTER_9 + b"\4" + u32(1) + b"\0",  # a section without a name
        FOOTER_9 + b"\4" + u32(1) + b"\3a\1b",  # a name that is no text
        bytes(70_000) + FOOTER_9 + b"\x06" + bytes(70_000),
    ],
)
def test_bodies_that_look_like_other_things(body, seekable, chunk_bytes):
    """What follows a footer tells it from a body that holds the same bytes."""
    raw = HEAD + full(body) + full(b"next", "other", 3) + b"\0"
    channel = MemoryInput(raw, seekable=seekable, chunk_bytes=chunk_bytes)
    assert devices(StreamReader(channel)) == [("dev", body), ("other", b"next")]


def test_an_end_marker_inside_a_body_is_told_by_what_follows():
    body = b"abc" + FOOTER_9 + b"\0def"
    for tail in (b"\0", b"\0\x06" + u32(2) + b"{}"):
        assert devices(StreamReader(MemoryInput(HEAD + full(body) + tail))) == [("dev", body)]
    # Where other bytes follow the stream there is only the first place to take.
    raw = HEAD + full(b"abc") + b"\0" + b"behind"
    assert devices(StreamReader(MemoryInput(raw))) == [("dev", b"abc")]


@pytest.mark.parametrize("name", ["pc-8m", "q35-8m-devices", "microvm-8m", "pc-8m-multifd-zstd"])
@pytest.mark.parametrize("damage", ["gone", "garbled", "wrong sizes", "shifted"])
def test_a_description_that_cannot_be_used_is_not_needed(sample, name, damage):
    """A receiver never looks at it, so it is no reason to refuse a stream."""
    raw, _ = sample(name)
    stream = open_stream(MemoryInput(raw))
    expected = devices(stream.items())
    (end,) = (item.offset for item in stream.items() if isinstance(item, EndMarker))
    text = raw[end + 6 :]
    if damage == "gone":
        bad = raw[: end + 1]
    elif damage == "garbled":
        bad = raw[: end + 6] + b"x" + text[1:]
    elif damage == "wrong sizes":
        bad = raw[: end + 6] + text.replace(b'"size": 8', b'"size": 9')
    else:
        bad = raw[: end + 6] + text.replace(b'"devices": [{', b'"devices": [{}, {', 1)[: len(text)]
    found = open_stream(MemoryInput(bad))
    assert devices(found.items()) == expected


@pytest.mark.parametrize("chunk_bytes", [977, 1 << 20])
def test_devices_of_a_real_machine_from_a_pipe(sample, chunk_bytes):
    raw, _ = sample("q35-8m-devices")
    pipe = MemoryInput(raw, seekable=False, chunk_bytes=chunk_bytes)
    assert devices(StreamReader(pipe)) == devices(StreamReader(MemoryInput(raw)))


def test_the_description_of_an_older_and_longer_stream_is_not_taken():
    """Saving again does not cut the file, where somebody else made it: old bytes stay behind."""

    def stream(name, count, *, description):
        sink = MemoryOutput()
        writer = StreamWriter(OutFile(sink))
        writer.header()
        writer.configuration("none")
        for number in range(count):
            writer.opaque_device(number, f"{name}{number}", 0, 1, bytes(20 + number))
        writer.finish(description=description)
        return sink.getvalue()

    new = stream("dev", 20, description=False)
    for other in (stream("old", 40, description=True), stream("dev", 40, description=True)):
        raw = new + other[len(new) :].replace(b'"size": 2', b'"size": 3')
        bodies = [(f"dev{number}", bytes(20 + number)) for number in range(20)]
        assert devices(open_stream(MemoryInput(raw)).items()) == bodies


def test_a_body_without_an_end_is_an_error_at_its_beginning():
    raw = HEAD + full(bytes(1000), footer=False)
    for seekable in (True, False):
        with pytest.raises(StreamError, match="the footer of section 9") as caught:
            list(StreamReader(MemoryInput(raw, seekable=seekable)))
        assert caught.value.offset == len(raw) - 1000
        assert caught.value.section == "dev"


def test_a_pipe_cannot_make_the_reader_hold_any_amount():
    class Endless(MemoryInput):
        given = 0

        def read_into(self, room):
            count = super().read_into(room)
            if not count:
                count, room[:] = len(room), bytes(len(room))
            self.given += count
            assert self.given < 160 << 20, "read on and on"
            return count

    with pytest.raises(StreamError, match="none within 67108864 bytes"):
        list(StreamReader(Endless(HEAD + full(b"", footer=False), seekable=False)))


# Iterable sections that are not ram


def iterable(body=b"data", section_id=5):
    head = u32(section_id)
    return (
        b"\1" + head + str8("vfio") + u32(2) + u32(7) + body + b"\x7e" + head,
        b"\2" + head + body * 2 + b"\x7e" + head,
        b"\3" + head + b"\x7e" + head,
    )


def test_parts_of_unknown_sections_are_carried():
    start, part, end = iterable()
    raw = HEAD + start + part + full(b"state") + end + b"\0"
    items = list(StreamReader(MemoryInput(raw)))
    assert [item.body for item in items if isinstance(item, OpaquePart)] == [
        b"data",
        b"datadata",
        b"",
    ]
    begins = [item for item in items if isinstance(item, SectionBegin)]
    assert [(item.type, item.name, item.instance_id, item.version) for item in begins] == [
        (SectionType.START, "vfio", 2, 7),
        (SectionType.PART, "vfio", 2, 7),
        (SectionType.END, "vfio", 2, 7),
    ]
    assert sum(isinstance(item, SectionEnd) for item in items) == 3
    sink = MemoryOutput()
    rewrite(items, StreamWriter(OutFile(sink)))
    assert sink.getvalue() == raw


def test_a_package_ends_the_section_in_it():
    inner = full(b"body" + FOOTER_9 + b"\x63")
    raw = HEAD + b"\x08" + struct.pack(">HHI", 7, 4, len(inner)) + inner + b"\x63"
    with pytest.raises(StreamError, match="section type") as caught:
        list(StreamReader(MemoryInput(raw)))
    assert caught.value.offset == len(raw) - 1
    short = HEAD + b"\x08" + struct.pack(">HHI", 7, 4, len(inner) - 1) + inner + b"\0"
    with pytest.raises(StreamError):
        list(StreamReader(MemoryInput(short)))


# Switches


def bare(options, *, description=False, unknown=False):
    """Return a stream of machine none written with these switches."""
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), options=options)
    writer.header()
    writer.configuration("none")
    writer.device(0, "timer", 0, TIMER, timer_values(77, 5))
    if unknown:
        writer.opaque_device(4, "dev", 0, 1, b"state")
    writer.device(2, "globalstate", 0, GLOBALSTATE, globalstate_values("paused"))
    writer.finish(description=description)
    return sink.getvalue()


@pytest.mark.parametrize("footers", [True, False])
@pytest.mark.parametrize("configuration", [True, False])
@pytest.mark.parametrize("description", [True, False])
@pytest.mark.parametrize("seekable", [True, False])
def test_switches_are_found_out(footers, configuration, description, seekable):
    options = StreamOptions(footers, configuration)
    raw = bare(options, description=description)
    reader = StreamReader(MemoryInput(raw, seekable=seekable), options=DETECT)
    assert [name for name, _ in devices(reader)] == ["timer", "globalstate"]
    assert reader.options == options
    told = StreamReader(MemoryInput(raw, seekable=seekable), options=options)
    assert len(devices(told)) == 2
    if options != StreamOptions():
        with pytest.raises(StreamError):
            list(StreamReader(MemoryInput(raw, seekable=seekable)))


def test_switches_that_were_told_are_insisted_on():
    raw = bare(StreamOptions())
    for options in (StreamOptions(footers=False), StreamOptions(configuration=False)):
        with pytest.raises(StreamError):
            list(StreamReader(MemoryInput(raw), options=options))


def test_without_footers_the_description_tells_where_state_ends():
    options = StreamOptions(footers=False)
    raw = bare(options, description=True, unknown=True)
    assert devices(StreamReader(MemoryInput(raw), options=DETECT))[1] == ("dev", b"state")
    raw = bare(options, unknown=True)
    with pytest.raises(StreamError, match="without description and footer") as caught:
        list(StreamReader(MemoryInput(raw), options=DETECT))
    assert caught.value.section == "dev"
