"""Block lists of every kind of migration, other page sizes, and what a reader has to guess."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import ConfigError, StreamError
from migsim.stream import (
    DETECT,
    QEMU_DEFAULTS,
    BlockInfo,
    Configuration,
    Description,
    MemoryStore,
    OutFile,
    RamBlocks,
    StreamOptions,
    StreamReader,
    StreamWriter,
    apply_items,
    open_stream,
    rewrite,
)
from migsim.stream.wire import POSTCOPY_ADVICE, CommandKind
from migsim.stream.xbzrle import encode_deltas
from migsim.stream.xbzrle_records import XbzrleBatch

HUGE = 2 << 20


def written(blocks, *, capabilities=(), advice=None, options=QEMU_DEFAULTS):
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), options=options)
    writer.header()
    writer.configuration("pc", capabilities)
    if advice is not None:
        writer.command(CommandKind.POSTCOPY_ADVISE, advice)
    writer.ram_setup(1, blocks)
    writer.finish(description=False)
    return sink.getvalue()


def blocks_of(raw, *, seekable=True, options=QEMU_DEFAULTS):
    reader = StreamReader(MemoryInput(raw, seekable=seekable), options=options)
    (found,) = (item.blocks for item in reader if isinstance(item, RamBlocks))
    return found


ADDRESSES = [0, 0x1000, 0xC0000, 0xFFFF0000, 1 << 40]


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("addresses", [False, True])
@pytest.mark.parametrize("huge", [(), (0,), (1, 3), (4,), (0, 1, 2, 3, 4)])
def test_host_page_sizes_are_told_from_names_records_and_addresses(addresses, huge, seekable):
    """Only blocks with other host pages have the field, and nothing says which these are."""
    blocks = tuple(
        BlockInfo(
            f"b{index}",
            HUGE,
            address=ADDRESSES[index] if addresses else None,
            host_page_bytes=HUGE if index in huge else None,
        )
        for index in range(5)
    )
    raw = written(
        blocks,
        capabilities=["x-ignore-shared"] if addresses else [],
        advice=POSTCOPY_ADVICE.pack(HUGE | 4096 | (1 << 30), 4096),
    )
    assert blocks_of(raw, seekable=seekable) == blocks


def test_an_address_that_is_also_a_host_page_size():
    for host in (None, HUGE):
        blocks = (BlockInfo("a", HUGE, address=HUGE, host_page_bytes=host),)
        advice = POSTCOPY_ADVICE.pack(HUGE | 4096, 4096)
        raw = written(blocks, capabilities=["x-ignore-shared"], advice=advice)
        assert blocks_of(raw) == blocks


def test_without_advice_there_is_no_host_page_size():
    raw = written((BlockInfo("a", HUGE, host_page_bytes=HUGE),))
    with pytest.raises(StreamError):
        blocks_of(raw)
    raw = written((BlockInfo("a", HUGE, host_page_bytes=HUGE),), advice=b"")
    with pytest.raises(StreamError):
        blocks_of(raw)


@pytest.mark.parametrize("addresses", [False, True])
def test_addresses_are_found_where_no_configuration_tells_of_them(addresses):
    blocks = tuple(
        BlockInfo(f"b{index}", HUGE, address=address if addresses else None)
        for index, address in enumerate(ADDRESSES)
    )
    options = StreamOptions(configuration=False)
    raw = written(blocks, options=options)
    assert blocks_of(raw, options=DETECT) == blocks
    assert blocks_of(raw, options=options, seekable=False) == blocks


def test_more_blocks_than_anything_has():
    count = (1 << 16) + 1
    lists = b"".join(struct.pack(">B4sQ", 4, b"%04x" % (n % 65536), 0) for n in range(count - 1))
    raw = written((BlockInfo("a", 4096),))
    at = raw.index(struct.pack(">Q", 4096 | 4)) + 8
    with pytest.raises(StreamError, match="at most 65536"):
        blocks_of(raw[:at] + lists + raw[at:])


# Pages that are not of 4096 bytes


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("page_bits", [10, 11, 12, 13, 14, 16])
@pytest.mark.parametrize("pattern", ["all", "none", "turns", "runs"])
def test_any_page_size(page_bits, told, mapped, pattern):
    """Where the size is the smallest of its target the stream does not tell it."""
    size, count = 1 << page_bits, 300
    zero = {
        "all": np.ones(count, bool),
        "none": np.zeros(count, bool),
        "turns": np.arange(count) % 2 == 0,
        "runs": np.arange(count) // 50 % 2 == 0,
    }[pattern]
    ram = np.zeros((count, size), np.uint8)
    ram[:, 5], ram[:, -1] = np.arange(count) & 0xFF, 3
    ram[zero] = 0
    options = StreamOptions(page_bits=12 if told else page_bits)
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), options=options, mapped_ram=mapped)
    capabilities = ["mapped-ram"] if mapped else []
    writer.header()
    writer.configuration("virt-10.0", capabilities, page_bits=page_bits if told else None)
    writer.ram_setup(1, [BlockInfo("mach-virt.ram", count * size, page_bytes=size)])
    writer.begin_part(1)
    writer.pages("mach-virt.ram", np.arange(count), ram, zero)
    writer.end_ram_part(1)
    writer.finish()
    raw = sink.getvalue()
    for seekable in (True,) if mapped else (True, False):
        for keep_order in (True, False):
            channel = MemoryInput(raw, seekable=seekable, chunk_bytes=10_000)
            reader = StreamReader(channel, options=options, keep_order=keep_order)
            store = MemoryStore()
            apply_items(reader, store)
            assert (store.blocks["mach-virt.ram"] == ram).all()
            assert reader.options.page_bits == page_bits
    items = list(StreamReader(MemoryInput(raw), options=options))
    (configuration,) = (item for item in items if isinstance(item, Configuration))
    assert configuration.page_bits == (page_bits if told else None)
    assert items[-1].parsed()["page_size"] == size
    again = MemoryOutput()
    rewrite(
        StreamReader(MemoryInput(raw), options=options, keep_order=True),
        StreamWriter(OutFile(again), options=options, mapped_ram=mapped),
    )
    assert again.getvalue() == raw


def test_a_length_that_is_no_number_of_pages():
    options = StreamOptions(page_bits=16)
    raw = written((BlockInfo("a", 4096),))
    with pytest.raises(StreamError):
        blocks_of(raw, options=options)
    with pytest.raises(ConfigError, match="65536"):
        written((BlockInfo("a", 4096, page_bytes=65536),))


def test_deltas_are_written_for_the_usual_pages_only():
    writer = StreamWriter(OutFile(MemoryOutput()), options=StreamOptions(page_bits=13))
    page = np.zeros((1, 4096), np.uint8)
    batch = XbzrleBatch(0, "a", np.arange(1), encode_deltas(page, page + 1), np.arange(1))
    with pytest.raises(ConfigError, match="4096"):
        writer.deltas(batch)


def test_multifd_channels_with_large_pages_are_read():
    """The packet has room for fewer pages; the configuration comes before the first packet."""
    size, room = 1 << 16, 8
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink))
    writer.header()
    writer.configuration("virt-10.0", page_bits=16)
    writer.ram_setup(1, [BlockInfo("ram", 3 * size, page_bytes=size)])
    writer.finish(description=False)
    main = sink.getvalue()
    end = struct.pack(">Q", 0x10) + b"\x7e"
    main = main.replace(end, struct.pack(">Q", 0x200) * 2 + end)

    def packet(flags, pfns, number):
        count, bytes_ = len(pfns), len(pfns) * size
        head = (0x11223344, 1, flags, room, count, bytes_, number, 0)
        table = [pfn * size for pfn in pfns] + [0] * (room - count)
        name = b"ram" if pfns else b""
        raw = struct.pack(">IIIIIIQI28x256s", *head, name) + struct.pack(f">{room}Q", *table)
        return raw + b"".join(bytes([pfn + 1]) * size for pfn in pfns)

    channel = struct.pack(">II16sB39x", 0x11223344, 1, bytes(16), 0)
    channel += packet(1, [], 0) + packet(0, [2, 0], 1) + packet(1, [], 2)
    stream = open_stream(MemoryInput(main), channels=[MemoryInput(channel)])
    store = MemoryStore()
    apply_items(stream.items(), store)
    assert store.blocks["ram"][:, 77].tolist() == [1, 0, 3]
    with pytest.raises(ConfigError, match="4096"):
        StreamWriter(OutFile(MemoryOutput()), options=StreamOptions(page_bits=16), multifd=object())


def test_the_description_of_a_stream_without_configuration_has_none():
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink), options=StreamOptions(configuration=False))
    writer.header()
    writer.configuration("none")
    writer.finish()
    *_, last = StreamReader(MemoryInput(sink.getvalue()), options=DETECT)
    assert isinstance(last, Description)
    assert list(last.parsed()) == ["page_size", "devices"]
