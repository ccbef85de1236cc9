"""What the reader accepts and what it refuses, piece by piece of a hand-made stream."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput
from migsim.errors import IncompatibleError, StreamError
from migsim.stream import (
    Command,
    Configuration,
    DeviceSection,
    EndMarker,
    EndOfRecords,
    Header,
    MultifdFlush,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
    StreamReader,
)
from migsim.stream.wire import SectionType
from migsim.vmstate.fields import Field, FieldType, Subsection, VMStateDescription

PAGE = b"\x33" * 4096


def u32(value):
    return struct.pack(">I", value)


def word(address, flags):
    return struct.pack(">Q", address | flags)


def str8(text):
    return bytes((len(text),)) + text.encode()


def read(raw, describe=None, *, seekable=True, **options):
    channel = MemoryInput(raw, seekable=seekable)
    return [kept(item) for item in StreamReader(channel, describe, **options)]


def kept(item):
    """Return the item with contents of its own, which stay valid."""
    if isinstance(item, PageBatch) and not item.is_zero:
        return dataclasses.replace(item, contents=item.data.copy())
    return item


def pages_of(items):
    """Return the pages in the order of their records."""
    found = []
    for item in items:
        if isinstance(item, PageBatch):
            rows = [0] * item.pfns.size if item.is_zero else item.data[:, 0].tolist()
            found += [(item.block, pfn, row) for pfn, row in zip(item.pfns, rows, strict=True)]
    return found


def full(name="dev", section_id=9, body=b"", version=1):
    return (
        b"\x04"
        + u32(section_id)
        + str8(name)
        + struct.pack(">II", 0, version)
        + body
        + b"\x7e"
        + u32(section_id)
    )


def test_items_come_in_the_order_of_the_bytes(parts):
    stream = parts()
    items = read(stream.join(), keep_order=True)
    assert [type(item) for item in items] == [
        Header,
        Configuration,
        *(SectionBegin, RamBlocks, EndOfRecords, SectionEnd),
        *(SectionBegin, PageBatch, PageBatch, PageBatch, EndOfRecords, SectionEnd),
        *(SectionBegin, EndOfRecords, SectionEnd),
        EndMarker,
    ]
    kinds = [item.type for item in items if isinstance(item, SectionBegin)]
    assert kinds == [SectionType.START, SectionType.PART, SectionType.END]
    assert [item.offset for item in items] == sorted({item.offset for item in items})
    assert pages_of(items) == [("ram0", 0, 0), ("ram0", 1, 0x11), ("ram0", 2, 0x22), ("ram0", 3, 0)]
    named = [item.named for item in items if isinstance(item, PageBatch)]
    assert named == [True, False, False]


def test_pages_of_a_stretch_are_put_together_by_kind(parts):
    pages = word(0, 2) + str8("ram0") + b"\0"
    for pfn in range(1, 8):
        kind = (word(pfn << 12, 0x28) + bytes([pfn]) * 4096) if pfn % 2 else word(pfn << 12, 0x22)
        pages += kind if pfn % 2 else kind + b"\0"
    batches = [i for i in read(parts(pages=pages).join()) if isinstance(i, PageBatch)]
    assert [batch.pfns.tolist() for batch in batches] == [[0], [2, 4, 6], [1, 3, 5, 7]]
    assert batches[2].data[:, 17].tolist() == [1, 3, 5, 7]
    kept = read(parts(pages=pages).join(), keep_order=True)
    assert [pfn for _, pfn, _ in pages_of(kept)] == list(range(8))


def test_order_is_kept_where_a_page_comes_twice(parts):
    pages = (
        word(0x1000, 8)
        + str8("ram0")
        + PAGE
        + word(0x1000, 0x22)
        + b"\0"
        + word(0x1000, 0x28)
        + b"\x44" * 4096
    )
    found = pages_of(read(parts(pages=pages).join()))
    assert found == [("ram0", 1, 0x33), ("ram0", 1, 0), ("ram0", 1, 0x44)]


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 300, 1023, 1024, 1025, 70000])
def test_long_runs_of_zero_pages(parts, count, seekable):
    size = (count + 1) << 12
    blocks = word(size, 4) + str8("ram0") + struct.pack(">Q", size)
    records = np.zeros((count, 9), np.uint8)
    words = (np.arange(1, count + 1, dtype=">u8") << 12) | 0x22
    records[:, :8] = words.astype(">u8").view(np.uint8).reshape(-1, 8)
    pages = word(0, 2) + str8("ram0") + b"\0" + records.tobytes()
    items = read(parts(blocks=blocks, pages=pages).join(), seekable=seekable)
    pfns = np.concatenate([i.pfns for i in items if isinstance(i, PageBatch)])
    assert (pfns == np.arange(count + 1)).all()
    assert pfns.dtype == np.int64
    records[count // 2, 8] = 1
    bad = parts(blocks=blocks, pages=word(0, 2) + str8("ram0") + b"\0" + records.tobytes())
    with pytest.raises(StreamError, match="fill byte") as caught:
        read(bad.join(), seekable=seekable)
    first = bad.offset_of("pages") + 14
    assert caught.value.offset == first + count // 2 * 9 + 8


def test_other_freedoms_of_a_sender(parts, describe):
    """Everything here loads into a real QEMU (spec interop.md section 2.2)."""
    two = word(0x3000, 4) + str8("a") + struct.pack(">Q", 0x1000)
    two += str8("b") + struct.pack(">Q", 0x2000)
    pages = (
        (word(0x1000, 8) + str8("b") + PAGE)
        + (word(0, 2) + str8("a") + b"\0")
        + (word(0, 8) + str8("b") + PAGE)
        + (word(0x1000, 0x28) + PAGE)
        + word(0, 0x200)
    )
    deadbeef = b"\xde\xad\xbe\xef"
    stream = parts(
        start=b"\x01" + deadbeef + str8("ram") + struct.pack(">II", 0, 4),
        blocks=two,
        setup_end=word(0x5000, 0x10) + b"\x7e" + deadbeef,
        part=b"\x02" + deadbeef,
        pages=pages,
        part_end=word(0, 0x10) + b"\x7e" + deadbeef,
        last=b"\x08\0\x01\0\0" + b"\x02" + deadbeef + word(0, 0x10) + b"\x7e" + deadbeef,
    )
    items = read(stream.join())
    assert pages_of(items) == [("b", 1, 0x33), ("a", 0, 0), ("b", 0, 0x33), ("b", 1, 0x33)]
    assert [i.address for i in items if isinstance(i, EndOfRecords)] == [0x5000, 0, 0]
    assert sum(isinstance(i, MultifdFlush) for i in items) == 1
    assert [i.number for i in items if isinstance(i, Command)] == [1]


def test_the_smallest_streams(parts):
    nothing = dict.fromkeys(
        ("start", "blocks", "setup_end", "part", "pages", "part_end", "last"), b""
    )
    items = read(parts(**nothing).join())
    assert [type(item) for item in items] == [Header, Configuration, EndMarker]
    assert items[1].machine == "none"
    pages_in_start = parts(setup_end=b"", part=b"", last=b"")
    assert len(pages_of(read(pages_in_start.join()))) == 4
    as_full = parts(setup_end=b"", part=b"", last=b"")
    as_full.start = b"\x04" + as_full.start[1:]
    assert len(pages_of(read(as_full.join()))) == 4


RAM_BAD = {
    "the first record continues": {"pages": word(0, 0x22) + b"\0"},
    "unknown block": {"pages": word(0, 2) + str8("ram1") + b"\0"},
    "empty block name": {"pages": word(0, 2) + b"\0\0"},
    "fill byte": {"pages": word(0, 2) + str8("ram0") + b"\1"},
    "page behind the block": {"pages": word(0x8000, 2) + str8("ram0") + b"\0"},
    "page behind the block in a run": {
        "pages": word(0, 2) + str8("ram0") + b"\0" + word(0x8000, 0x22) + b"\0"
    },
    "page far behind the block": {
        "pages": word(0, 2) + str8("ram0") + b"\0" + word(0xFFFFFFFFFFFFF000, 0x22) + b"\0"
    },
    "retired flag 1": {"pages": word(0, 1)},
    "retired flag 0x100": {"pages": word(0, 0x100)},
    "zero and page": {"pages": word(0, 0xA) + str8("ram0") + b"\0"},
    "hook": {"pages": word(0, 0x80)},
    "end that continues": {"pages": word(0, 0x30)},
    "second block list": {"pages": word(0x8000, 4) + str8("x") + struct.pack(">Q", 0x8000)},
    "total too small": {"blocks": word(0x7000, 4) + str8("ram0") + struct.pack(">Q", 0x8000)},
    "total too large": {"blocks": word(0x9000, 4) + str8("ram0") + struct.pack(">Q", 0x8000)},
    "half a page": {
        "blocks": word(0x8000, 4) + str8("ram0") + struct.pack(">Q", 0x7800) + str8("b")
    },
    "block twice": {
        "blocks": word(0x9000, 4) + 2 * (str8("ram0") + struct.pack(">Q", 0x8000)),
    },
    "no block list": {"blocks": b""},
    "no end record": {"part_end": b"\x7e\0\0\0\1"},
    "missing footer": {"part_end": word(0, 0x10)},
    "other footer": {"part_end": word(0, 0x10) + b"\x7e\0\0\0\2"},
    "ram version 3": {
        "start": b"\x01" + u32(1) + str8("ram") + struct.pack(">II", 0, 3),
    },
    "ram version 5": {
        "start": b"\x01" + u32(1) + str8("ram") + struct.pack(">II", 0, 5),
    },
    "ram instance 1": {
        "start": b"\x01" + u32(1) + str8("ram") + struct.pack(">II", 1, 4),
    },
}


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("case", RAM_BAD)
def test_malformed_ram_is_refused(parts, case, seekable):
    stream = parts(**RAM_BAD[case])
    with pytest.raises(StreamError) as caught:
        read(stream.join(), seekable=seekable)
    (piece,) = RAM_BAD[case]
    assert caught.value.offset >= stream.offset_of(piece)
    assert caught.value.section in ("ram", "section")


OTHER_BAD = {
    "magic": {"header": b"QEVN\0\0\0\3"},
    "version 2": {"header": b"QEVM\0\0\0\2"},
    "no configuration": {"configuration": b""},
    "two configurations": {"start": b"\x07" + u32(4) + b"none"},
    "huge machine name": {"configuration": b"\x07" + u32(0xFFFFFFFF) + b"none"},
    "part before start": {"start": b"\x02" + u32(1), "blocks": b""},
    "part of another id": {"part": b"\x02" + u32(7)},
    "section type 9": {"last": b"\x09"},
    "footer alone": {"last": b"\x7e" + u32(1)},
    "second start of ram": {
        "last": b"\x01" + u32(1) + str8("ram") + struct.pack(">II", 0, 4),
    },
    "device with the id of ram": {"devices": full("timer", 1, bytes(24), 2)},
    "ram with the id of a device": {
        "configuration": b"\x07" + u32(4) + b"none" + full("timer", 1, bytes(24), 2),
    },
    "unknown iterable": {
        "last": b"\x01" + u32(5) + str8("dirty-bitmap") + struct.pack(">II", 0, 1),
    },
    "section without a name": {"devices": b"\x04" + u32(3) + b"\0" + bytes(8)},
    "command 99": {"devices": b"\x08" + struct.pack(">HH", 99, 0)},
    "command 0": {"devices": b"\x08" + struct.pack(">HH", 0, 0)},
    "ping without data": {"devices": b"\x08" + struct.pack(">HH", 2, 0)},
    "package cut by the end": {"devices": b"\x08" + struct.pack(">HHI", 7, 4, 100)},
    "package that ends inside a section": {
        "devices": b"\x08" + struct.pack(">HHI", 7, 4, 5) + full("timer", 0, bytes(24), 2)
    },
    "package in a package": {
        "devices": 2 * (b"\x08" + struct.pack(">HHI", 7, 4, 100)),
    },
    "device footer": {"devices": full("timer", 0, bytes(25), 2)},
    "device version": {"devices": full("timer", 0, bytes(24), 3)},
    "unknown device without its footer": {"devices": full("nic", 5, bytes(24), 3)[:-5]},
    "no end marker": {"end": b""},
    "cut description": {"description": b"\x06" + u32(3) + b"{}"},
    "description without a length": {"description": b"\x06"},
}


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("case", OTHER_BAD)
def test_malformed_streams_are_refused(parts, describe, case, seekable):
    with pytest.raises(StreamError):
        read(parts(**OTHER_BAD[case]).join(), describe, seekable=seekable)


def test_a_package_is_read_in_line(parts, describe):
    inner = b"\x08" + struct.pack(">HH", 4, 0) + full("timer", 0, bytes(24), 2)
    devices = b"\x08" + struct.pack(">HHI", 7, 4, len(inner)) + inner
    items = read(parts(devices=devices).join(), describe)
    assert [i.number for i in items if isinstance(i, Command)] == [7, 4]
    assert [i.name for i in items if isinstance(i, DeviceSection)] == ["timer"]


def subsection(name, body):
    return b"\x05" + str8(name) + u32(1) + body


def test_the_configuration_tells_everything_it_holds(parts):
    configuration = (
        b"\x07"
        + u32(11)
        + b"pc-q35-10.0"
        + subsection("configuration/target-page-bits", u32(12))
        + subsection(
            "configuration/capabilities", u32(2) + str8("x-ignore-shared") + str8("xbzrle")
        )
        + subsection("configuration/uuid", bytes(range(16)))
    )
    blocks = parts().blocks + struct.pack(">Q", 0xC0000)
    for seekable in (True, False):
        raw = parts(configuration=configuration, blocks=blocks).join()
        items = read(raw, seekable=seekable)
        assert items[1] == Configuration(
            8, "pc-q35-10.0", ("x-ignore-shared", "xbzrle"), bytes(range(16)), 12
        )
        (ram,) = (item for item in items if isinstance(item, RamBlocks))
        assert ram.blocks[0].address == 0xC0000


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (subsection("configuration/capabilities", u32(1) + str8("no-such")), StreamError),
        (subsection("configuration/capabilities", u32(1) + str8("seekable-ram")), StreamError),
        (subsection("configuration/capabilities", u32(1 << 31)), StreamError),
        (subsection("configuration/target-page-bits", u32(9)), StreamError),
        (subsection("configuration/target-page-bits", u32(17)), StreamError),
        (subsection("configuration/other", u32(13)), IncompatibleError),
    ],
)
def test_configurations_that_cannot_be_read(parts, extra, error):
    configuration = parts().configuration + extra
    with pytest.raises(error):
        read(parts(configuration=configuration).join())


def test_a_decoded_device_with_and_without_its_subsection(parts):
    extra = VMStateDescription("dev/more", 1, (Field("more", FieldType.UINT32),))
    description = VMStateDescription(
        "dev", 1, (Field("a", FieldType.UINT16),), subsections=(Subsection(extra, lambda _: True),)
    )
    short, long = full(body=b"\0\7"), full(body=b"\0\7" + subsection("dev/more", u32(9)))
    for body, expected in ((short, {"a": 7}), (long, {"a": 7, "more": 9})):
        for chunk in (1, 3, None):
            channel = MemoryInput(
                parts(devices=body).join(), seekable=chunk is None, chunk_bytes=chunk
            )
            items = list(StreamReader(channel, lambda *_: description))
            (device,) = (item for item in items if isinstance(item, DeviceSection))
            assert device.values == expected
            assert len(device.body) == (2 if body is short else 2 + 1 + 9 + 4 + 4)


def test_values_here_are_compared(parts):
    description = VMStateDescription("dev", 1, (Field("a", FieldType.UINT16_EQUAL),))
    raw = parts(devices=full(body=b"\0\7")).join()
    items = read(raw, lambda *_: description, local=lambda *_: {"a": 7})
    assert any(isinstance(item, DeviceSection) for item in items)
    with pytest.raises(IncompatibleError):
        read(raw, lambda *_: description, local=lambda *_: {"a": 8})


def test_a_live_pipe_is_not_asked_for_more_than_it_needs(parts, describe):
    """A peer that waits for an answer must not be waited for."""
    raw = parts(devices=full("timer", 0, bytes(24), 2), description=b"\x06" + u32(2) + b"{}").join()

    class Peer(MemoryInput):
        def read_into(self, room):
            count = super().read_into(room)
            assert count, "read behind the end of the stream"
            return count

    for chunk in (1, 100, 1 << 20):
        items = list(StreamReader(Peer(raw, seekable=False, chunk_bytes=chunk), describe))
        assert isinstance(items[-2], EndMarker)


SIZED = VMStateDescription(
    "dev", 1, (Field("n", FieldType.UINT32), Field("data", FieldType.BUFFER, size_field="n"))
)


def test_a_pipe_cannot_make_the_reader_hold_any_amount(parts):
    class Endless(MemoryInput):
        def __init__(self, data):
            super().__init__(data, seekable=False, chunk_bytes=4 << 20)
            self.given = 0

        def read_into(self, room):
            count = super().read_into(room)
            if not count:
                count, room[:] = len(room), bytes(len(room))
            self.given += count
            assert self.given < 160 << 20, "read on and on"
            return count

    raw = parts(devices=full(body=b"\xff\xff\xff\xff"), end=b"").join()
    with pytest.raises(StreamError, match="less than 67108864 bytes"):
        list(StreamReader(Endless(raw), lambda *_: SIZED))
    raw = parts(configuration=b"\x07\xff\xff\xff\xff", start=b"", blocks=b"").join()
    with pytest.raises(StreamError, match="less than 65536 bytes"):
        list(StreamReader(Endless(raw)))
    raw = parts(description=b"\x06\xff\xff\xff\xff").join()
    with pytest.raises(StreamError, match="description of at most"):
        list(StreamReader(Endless(raw)))


def test_a_mapped_state_may_be_large(parts):
    size = 17 << 20
    raw = parts(devices=full(body=u32(size) + bytes(size))).join()
    (device,) = (i for i in read(raw, lambda *_: SIZED) if isinstance(i, DeviceSection))
    assert len(device.values["data"]) == size
