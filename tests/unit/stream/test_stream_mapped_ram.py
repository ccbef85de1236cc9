"""Mapped-ram, piece by piece: what a reader takes, what it refuses, what a writer lays out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.channel import CountingOutput, MemoryInput, MemoryOutput
from migsim.errors import ConfigError, StreamError
from migsim.stream import (
    BlockInfo,
    MappedRegion,
    MemoryStore,
    OutFile,
    PageBatch,
    RamBlocks,
    StreamReader,
    StreamWriter,
    apply_items,
    open_stream,
)
from migsim.stream.mapped_ram import bitmap_bytes, layout
from migsim.stream.mapped_writer import MappedWriter
from migsim.stream.wire import SectionType

PAGES = 70
CAPABILITY = b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0amapped-ram"


def word(address, flags):
    return struct.pack(">Q", address | flags)


@dataclass
class Mapped:
    """A mapped-ram stream of machine none with one block, any number of which a test changes."""

    head: bytes = b"QEVM\0\0\0\3\x07\0\0\0\4none" + CAPABILITY
    start: bytes = b"\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4"
    list: bytes = word(PAGES << 12, 4) + b"\4ram0" + struct.pack(">Q", PAGES << 12)
    version: int = 1
    page_bytes: int = 4096
    bitmap_offset: int | None = None
    pages_offset: int = 0x3000
    stored: tuple[int, ...] = (0, 1, 63, 64, 69)
    part: bytes = b"\2\0\0\0\1" + word(0, 0x10) + b"\x7e\0\0\0\1"
    end: bytes = b"\3\0\0\0\1" + word(0, 0x10) + b"\x7e\0\0\0\1\0"
    tail: bytes = field(default=b"")

    @property
    def header_at(self) -> int:
        return len(self.head + self.start + self.list)

    def join(self) -> bytes:
        bitmap = np.zeros(128, np.uint8)
        bitmap[list(self.stored)] = 1
        bits = np.packbits(bitmap, bitorder="little").tobytes()
        at = self.header_at + 28 if self.bitmap_offset is None else self.bitmap_offset
        out = bytearray(self.head + self.start + self.list)
        out += struct.pack(">IQQQ", self.version, self.page_bytes, at, self.pages_offset)
        first = self.pages_offset + (PAGES << 12)
        out += bytes(max(0, first - len(out)))
        for pfn in range(PAGES):
            place = self.pages_offset + (pfn << 12)
            if len(self.head + self.start + self.list) + 28 <= place < first:
                out[place : place + 4096] = bytes([pfn + 1]) * 4096
        del out[first:]
        out += word(0, 0x10) + b"\x7e\0\0\0\1" + self.part + self.end + self.tail
        out[at : at + len(bits)] = bits
        return bytes(out)


def load(raw):
    store = MemoryStore()
    apply_items(open_stream(MemoryInput(raw)).items(), store)
    return store.blocks["ram0"][:, 17].tolist()


EXPECTED = [pfn + 1 if pfn in Mapped().stored else 0 for pfn in range(PAGES)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"version": 0},
        {"pages_offset": 0x100000},
        {"pages_offset": 16 << 20},
        {"bitmap_offset": 0x3000 + (PAGES << 12) + 70, "tail": bytes(100)},
    ],
    ids=["usual", "version 0", "1 MiB", "far", "bitmap behind the stream"],
)
def test_only_the_bitmap_decides(change):
    """Spec interop.md section 4, trap 7: any place that is a multiple of the page size loads."""
    assert load(Mapped(**change).join()) == EXPECTED


def test_the_items_tell_where_everything_lies():
    stream = Mapped()
    items = list(open_stream(MemoryInput(stream.join())).items())
    (blocks,) = (item for item in items if isinstance(item, RamBlocks))
    region = MappedRegion(stream.header_at + 28, 0x3000)
    assert blocks.blocks == (BlockInfo("ram0", PAGES << 12, mapped=region),)
    offsets = [item.offset for item in items if isinstance(item, PageBatch)]
    assert offsets == [0x3000]


@pytest.mark.parametrize(
    ("change", "field_at"),
    [
        ({"version": 2}, 0),
        ({"version": 0xFFFFFFFF}, 0),
        ({"page_bytes": 8192}, 4),
        ({"page_bytes": 0}, 4),
        ({"pages_offset": 0x3200}, 20),
        ({"pages_offset": 0}, 20),
    ],
)
def test_headers_that_make_no_sense(change, field_at):
    stream = Mapped(**change)
    with pytest.raises(StreamError) as caught:
        load(stream.join())
    assert caught.value.offset == stream.header_at + field_at
    assert caught.value.section == "ram"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("bitmap", 1 << 63),
        ("bitmap", (1 << 64) - 1),
        ("pages", 1 << 62),
        ("pages", (1 << 64) - 4096),
    ],
)
def test_places_outside_of_the_file(member, value):
    stream = Mapped()
    raw = bytearray(stream.join())
    at = stream.header_at + {"bitmap": 12, "pages": 20}[member]
    raw[at : at + 8] = struct.pack(">Q", value)
    with pytest.raises(StreamError) as caught:
        load(bytes(raw))
    assert caught.value.offset == len(raw)


def test_lengths_that_no_file_has():
    for used in (1 << 62, (1 << 64) - 4096):
        stream = Mapped(list=word(used, 4) + b"\4ram0" + struct.pack(">Q", used))
        with pytest.raises(StreamError):
            load(stream.join())


@pytest.mark.parametrize("bad", [70, 71, 127])
def test_a_bit_behind_the_last_page(bad):
    stream = Mapped(stored=(0, 3, bad))
    with pytest.raises(StreamError, match="bit") as caught:
        load(stream.join())
    assert caught.value.offset == stream.header_at + 28 + bad // 8


RECORDS = {
    "zero": word(0, 2) + b"\4ram0\0",
    "page": word(0, 8) + b"\4ram0" + bytes(4096),
    "xbzrle": word(0, 0x40) + b"\4ram0\1\0\2\0\1",
    "flush": word(0, 0x200),
    "hook": word(0, 0x80),
    "continued": word(0, 0x28) + bytes(4096),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_pages_among_the_records(kind):
    stream = Mapped(part=b"\2\0\0\0\1" + RECORDS[kind] + word(0, 0x10) + b"\x7e\0\0\0\1")
    with pytest.raises(StreamError, match="no pages among the records"):
        load(stream.join())


def test_the_pair_that_nothing_can_load():
    both = CAPABILITY.replace(
        b"\0\0\0\1\x0amapped-ram", b"\0\0\0\2\x0fx-ignore-shared\x0amapped-ram"
    )
    with pytest.raises(StreamError, match="no QEMU can load"):
        load(Mapped(head=Mapped().head.replace(CAPABILITY, both)).join())


def test_a_pipe_has_no_places():
    channel = MemoryInput(Mapped().join(), seekable=False)
    with pytest.raises(StreamError, match="file that can be seeked"):
        list(StreamReader(channel))


def test_a_file_that_is_cut_anywhere_is_an_error_at_or_before_the_cut():
    stream = Mapped()
    raw = stream.join()
    for cut in [*range(stream.header_at + 60), *range(0x2FF0, len(raw), 501), len(raw) - 1]:
        with pytest.raises(StreamError) as caught:
            load(raw[:cut])
        assert caught.value.offset <= cut


def test_a_file_that_shrinks_while_pages_are_read():
    end = 0x3000 + (20 << 12) + 5

    class Shrinking(MemoryInput):
        def read_at(self, position, room):
            return max(0, min(super().read_at(position, room), end - position))

    with pytest.raises(StreamError, match="pages 0x0 to 0x45 of block ram0") as caught:
        apply_items(open_stream(Shrinking(Mapped().join())).items(), MemoryStore())
    assert caught.value.offset == 0x3000
    assert caught.value.found == f"the end after {(20 << 12) + 5} bytes"


# Any bitmap


@given(
    pages=st.integers(1, 3000),
    seed=st.integers(0, 2**32),
    density=st.sampled_from([0.0, 0.001, 0.05, 0.5, 0.99, 1.0]),
)
def test_any_set_of_pages_comes_back(pages, seed, density):
    generator = np.random.default_rng(seed)
    stored = generator.random(pages) < density
    ram = np.zeros((pages, 1024), np.uint8)
    ram[:, 0], ram[:, -1] = np.arange(pages) & 0xFF, np.arange(pages) >> 8
    ram[~stored] = 0
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), mapped_ram=True)
    writer.header()
    writer.configuration("none", ["mapped-ram"], page_bits=10)
    writer.ram_setup(1, [BlockInfo("a", pages * 1024, page_bytes=1024)])
    writer.begin_part(1)
    order = generator.permutation(pages)
    writer.pages("a", order, ram[order], ~stored[order])
    writer.end_ram_part(1)
    writer.begin_part(1, SectionType.END)
    writer.end_ram_part(1)
    writer.finish(description=False)
    store, found = MemoryStore(), []
    for item in open_stream(MemoryInput(sink.getvalue())).items():
        if isinstance(item, PageBatch):
            found.append(item.pfns)
            assert item.data.shape == (item.pfns.size, 1024)
        apply_items([item], store)
    assert (store.blocks["a"] == ram).all()
    assert np.concatenate([*found, []]).tolist() == np.flatnonzero(stored).tolist()


# Writing


@pytest.mark.parametrize("position", [0, 1, 0x1000, (1 << 20) - 29, (1 << 20) - 28, 3 << 20])
@pytest.mark.parametrize("pages", [1, 64, 65, 8 << 20])
def test_pages_begin_at_the_next_mib_behind_the_bitmap(position, pages):
    region = layout(position, pages)
    assert region.bitmap_offset == position + 28
    assert region.pages_offset % (1 << 20) == 0
    gap = region.pages_offset - region.bitmap_offset - bitmap_bytes(pages)
    assert 0 <= gap < 1 << 20


@pytest.mark.parametrize(("pages", "size"), [(0, 0), (1, 8), (64, 8), (65, 16)])
def test_bitmaps_are_whole_words(pages, size):
    assert bitmap_bytes(pages) == size


def test_a_page_that_became_zero_leaves_its_old_content_under_a_clear_bit():
    """As QEMU does it (spec stream.md section 10); readers see zero all the same."""
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), mapped_ram=True)
    writer.header()
    writer.configuration("none", ["mapped-ram"])
    writer.ram_setup(1, [BlockInfo("ram0", 4 << 12)])
    bitmap = sink.getvalue().index(b"\4ram0") + 5 + 8 + 28
    ones = np.full((4, 4096), 7, np.uint8)
    writer.begin_part(1)
    writer.pages("ram0", np.arange(4), ones, np.zeros(4, bool))
    writer.pages("ram0", np.array([2, 0]), ones[:2] + 1, np.array([True, False]))
    writer.end_ram_part(1)
    assert sink.getvalue()[bitmap : bitmap + 8] == bytes(8)  # it comes at the end
    writer.begin_part(1, SectionType.END)
    writer.end_ram_part(1)
    writer.finish()
    raw = sink.getvalue()
    assert raw[bitmap : bitmap + 8] == b"\x0b" + bytes(7)
    assert load(raw) == [8, 7, 0, 7]
    assert raw[(1 << 20) + (2 << 12)] == 7


def test_what_mapped_ram_cannot_be_combined_with():
    with pytest.raises(ConfigError, match="seeked"):
        StreamWriter(OutFile(CountingOutput()), mapped_ram=True)
    writer = StreamWriter(OutFile(MemoryOutput()), mapped_ram=True)
    with pytest.raises(ConfigError, match="address"):
        writer.block_list([BlockInfo("ram0", 4096, address=0)])
    with pytest.raises(ConfigError, match="block list"):
        writer.pages("ram1", np.arange(1), np.ones((1, 4096), np.uint8), np.zeros(1, bool))
    with pytest.raises(ConfigError, match="bytes of the pages"):
        writer.skip_pages("ram0", np.zeros(1, bool))
    with pytest.raises(ConfigError, match="multifd"):
        StreamWriter(OutFile(MemoryOutput()), mapped_ram=True, multifd=object())


@pytest.mark.parametrize(
    ("budget", "count"),
    [(-1, 0), (0, 2), (4095, 2), (4096, 4), (8191, 4), (8192, 6), (None, 6)],
)
def test_each_page_counts_as_it_goes_out(budget, count):
    """Zero pages cost nothing; the limit is looked at before each page."""
    zero = np.array([True, False, True, False, True, True])
    writer = MappedWriter(OutFile(MemoryOutput()))
    plan = writer.plan("ram0", zero, budget)
    assert plan.count == count
    assert plan.flushed_bytes == 4096 * int((~zero[:count]).sum())
