"""Multifd channels: recorded ones, and what is refused."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
import pytest
import zstandard

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import MissingExtraError, StreamError
from migsim.qapi.enums import MultiFDCompression
from migsim.stream import BlockInfo, EndOfRecords, MultifdFlush, PageBatch, RamBlocks, StreamReader
from migsim.stream.multifd import MultifdChannels
from migsim.stream.multifd_codec import make_packer, make_unpacker
from migsim.stream.multifd_reader import DevicePacket, MultifdChannel
from migsim.stream.multifd_writer import MultifdWriter
from migsim.stream.source import ByteSource

SAMPLES = [
    "none-2m-multifd-uuid",
    "pc-8m-multifd",
    "pc-8m-multifd-legacy-zero",
    "pc-8m-multifd-zlib",
    "pc-8m-multifd-zstd",
    "pc80-8m-multifd-flush-on-eos",
]
BLOCKS = {"ram0": BlockInfo("ram0", 300 * 4096)}
SYNC = struct.pack(">IIIIIIQI", 0x11223344, 1, 1, 0, 0, 0, 0, 0) + bytes(1344 - 36)


def source_of(raw, chunk_bytes=None):
    return ByteSource(MemoryInput(raw, seekable=chunk_bytes is None, chunk_bytes=chunk_bytes))


def initial(number=0, uuid=bytes(16)):
    return struct.pack(">II16sB39x", 0x11223344, 1, uuid, number)


def packet(**changes):
    """Return a packet of two normal pages and a zero page, with changes."""
    values = {
        "magic": 0x11223344,
        "version": 1,
        "flags": 0,
        "room": 128,
        "normal": 2,
        "size": None,
        "number": 0,
        "zero": 1,
        "name": b"ram0",
        "offsets": (0x1000, 0x5000, 0x3000),
        "payload": b"\x11" * 4096 + b"\x22" * 4096,
    } | changes
    size = len(values["payload"]) if values["size"] is None else values["size"]
    head = struct.pack(
        ">IIIIIIQI28x256s",
        *(values[name] for name in ("magic", "version", "flags", "room", "normal")),
        size,
        values["number"],
        values["zero"],
        values["name"],
    )
    table = struct.pack(f">{len(values['offsets'])}Q", *values["offsets"])
    return head + table.ljust(1024, b"\0") + values["payload"]


def read(raw, *, blocks=BLOCKS, chunk_bytes=None):
    channel = MultifdChannel(source_of(raw, chunk_bytes))
    channel.blocks = blocks
    return list(channel)


def channels_of(recording, entry, **options):
    raw = [recording(channel["file"]) for channel in entry["channels"]]
    return MultifdChannels([source_of(one) for one in raw], **options)


def sync_points(items, flushes):
    """Yield the items of a main channel, and None behind each sync point."""
    for item in items:
        yield item
        if isinstance(item, MultifdFlush if flushes else EndOfRecords):
            yield None


def joined_ram(raw, channels, flushes):
    """Return the hash of each block after the main and all other channels."""
    ram = {}

    def put(batch):
        ram[batch.block][batch.pfns] = 0 if batch.is_zero else batch.data

    blocks = {}
    for item in sync_points(StreamReader(MemoryInput(raw)), flushes):
        if isinstance(item, RamBlocks):
            blocks = {block.name: block for block in item.blocks}
            ram = {name: np.zeros((block.pages, 4096), np.uint8) for name, block in blocks.items()}
        elif isinstance(item, PageBatch):
            put(item)
        elif item is None:
            for batch in channels.until_sync(blocks):
                put(batch)
    channels.finish()
    return {name: hashlib.sha256(pages).hexdigest() for name, pages in ram.items()}


@pytest.mark.parametrize("name", SAMPLES)
def test_main_and_channels_give_the_senders_ram(sample, recording, name):
    raw, entry = sample(name)
    channels = channels_of(recording, entry)
    ram = joined_ram(raw, channels, entry["multifd_flushes"] > 0)
    assert ram == {block: facts["sha256"] for block, facts in entry["blocks"].items()}
    assert channels.rounds == entry["channels"][0]["syncs"]
    assert (channels.early_pages, channels.missing_packets, channels.device_packets) == (0, 0, 0)


@pytest.mark.parametrize("chunk_bytes", [None, 3001])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_packet_of_a_recording_is_read(sample, recording, name, chunk_bytes):
    entry = sample(name)[1]
    numbers = []
    for index, facts in enumerate(entry["channels"]):
        raw = recording(facts["file"])
        assert hashlib.sha256(raw).hexdigest() == facts["raw_sha256"]
        channel = MultifdChannel(source_of(raw, chunk_bytes), index)
        numbers += [packet.number for packet in channel]
        found = (channel.packets, channel.syncs, channel.normal_pages, channel.zero_pages)
        assert found == tuple(
            facts[key] for key in ("packets", "syncs", "normal_pages", "zero_pages")
        )
        assert (channel.number, channel.compression) == (index, facts["compression"])
        assert channel.position == facts["raw_size"]
    assert sorted(numbers) == list(range(len(numbers)))


def test_the_uuid_is_on_every_channel(sample, recording):
    entry = sample("none-2m-multifd-uuid")[1]
    uuid = bytes.fromhex("00112233445566778899aabbccddeeff")
    channels = channels_of(recording, entry, uuid=uuid)
    assert {channel.uuid for channel in channels.channels} == {uuid}
    with pytest.raises(StreamError, match="UUID") as caught:
        channels_of(recording, entry, uuid=bytes(16))
    assert caught.value.offset == 8


def test_channels_may_come_in_any_order(sample, recording):
    raw, entry = sample("none-2m-multifd-uuid")
    files = [channel["file"] for channel in entry["channels"]]
    channels = MultifdChannels([source_of(recording(file)) for file in reversed(files)])
    assert [channel.number for channel in channels.channels] == [2, 1, 0]
    ram = joined_ram(raw, channels, flushes=True)
    assert ram["ram0"] == entry["blocks"]["ram0"]["sha256"]


def test_a_channel_that_was_not_given_is_missed(sample, recording):
    raw, entry = sample("none-2m-multifd-uuid")
    entry = entry | {"channels": entry["channels"][:2]}
    channels = channels_of(recording, entry)
    with pytest.raises(StreamError, match="3 missing"):
        joined_ram(raw, channels, flushes=True)
    entry = entry | {"channels": entry["channels"][1:]}
    with pytest.raises(StreamError, match="none with number 0") as caught:
        channels_of(recording, entry)
    assert caught.value.offset == 24


def test_a_packet_holds_pages_and_zero_pages():
    for chunk_bytes in (None, 100):
        (found,) = read(initial() + packet(number=7), chunk_bytes=chunk_bytes)
        assert (found.offset, found.number, found.sync, found.block) == (64, 7, False, "ram0")
        assert found.compression is MultiFDCompression.NONE
        assert (found.normal_pfns.tolist(), found.zero_pfns.tolist()) == ([1, 5], [3])
        assert found.payload_bytes == 8192
        assert (found.pages == np.array([[0x11], [0x22]])).all()
        normal, zero = found.batches()
        assert (normal.block, normal.pfns.tolist(), normal.is_zero) == ("ram0", [1, 5], False)
        assert (zero.block, zero.pfns.tolist(), zero.is_zero) == ("ram0", [3], True)


def test_a_sync_packet_holds_nothing():
    (found,) = read(initial() + SYNC)
    assert (found.sync, found.block, found.compression) == (True, "", None)
    assert not list(found.batches())


def test_old_senders_put_pages_into_a_sync_packet():
    channels = MultifdChannels([source_of(initial() + SYNC + packet(flags=1, number=1))])
    assert [len(list(channels.until_sync(BLOCKS))) for _ in range(2)] == [0, 2]
    channels.finish()


def test_pages_before_the_first_sync_point_are_counted():
    channels = MultifdChannels([source_of(initial() + packet() + SYNC + packet(number=1))])
    assert len(list(channels.until_sync(BLOCKS))) == 2
    assert channels.early_pages == 3


def test_later_rounds_come_later():
    first = initial(0) + SYNC + packet(payload=b"a" * 8192, zero=0) + SYNC + SYNC
    second = initial(1) + SYNC + SYNC + packet(payload=b"b" * 8192, zero=0) + SYNC
    for sources in ((first, second), (second, first)):
        channels = MultifdChannels([source_of(raw) for raw in sources])
        contents = [[batch.data[0, 0] for batch in channels.until_sync(BLOCKS)] for _ in range(3)]
        assert contents == [[], [ord("a")], [ord("b")]]


def test_device_state_is_read_and_passed_over():
    state = struct.pack(">III256sII", 0x11223344, 1, 1 << 6, b"vfio", 3, 5) + b"state"
    (found,) = read(initial() + state)
    assert found == DevicePacket(64, "vfio", 3, b"state")
    channels = MultifdChannels([source_of(initial() + state + SYNC)])
    assert not list(channels.until_sync(BLOCKS))
    assert channels.device_packets == 1


@pytest.mark.parametrize(
    ("changes", "at", "expected"),
    [
        ({"magic": 0x11223345}, 0, "magic number"),
        ({"version": 2}, 4, "version 1"),
        ({"flags": 1 << 7}, 8, "flags"),
        ({"flags": 1 << 6 | 1}, 8, "device state alone"),
        ({"flags": 3 << 1}, 8, "number 3"),
        ({"flags": 4 << 1}, 8, "qpl"),
        ({"flags": 5 << 1, "normal": 0, "zero": 0, "payload": b""}, 8, "number 5"),
        ({"flags": 16 << 1}, 8, "qatzip"),
        ({"room": 129}, 12, "128"),
        ({"normal": 128, "zero": 1}, 16, "at most 128"),
        ({"normal": 0xFFFFFFFF}, 16, "at most 128"),
        ({"zero": 0xFFFFFFFF}, 16, "at most 128"),
        ({"size": 8191}, 1344, "8192 bytes of pages"),
        ({"size": 8193, "payload": bytes(8193)}, 1344, "8192 bytes of pages"),
        ({"size": 0xFFFFFFFF}, 20, "at most 1048576"),
        ({"size": 1 << 20, "payload": bytes(1 << 20)}, 1344, "8192 bytes of pages"),
        ({"payload": b""}, 1344, "8192 bytes of pages"),
        ({"payload": b"x", "size": 8192}, 1344, "a payload"),
        ({"normal": 0, "zero": 3}, 20, "no payload"),
        ({"normal": 0, "zero": 0}, 20, "no payload"),
        ({"name": b"ram1"}, 64, "block list"),
        ({"name": b""}, 64, "a name"),
        ({"name": b"x" * 256}, 64, "a name"),
        ({"name": b"\xff\xfe"}, 64, "block list"),
        ({"offsets": (0x1000, 0x5001, 0)}, 328, "multiple of 4096"),
        ({"offsets": (0x1000, 0, 300 << 12)}, 336, "below 0x12c000"),
        ({"offsets": (1 << 63, 0, 0)}, 320, "below 0x12c000"),
        ({"offsets": ((1 << 64) - 4096, 0, 0)}, 320, "below 0x12c000"),
    ],
)
def test_malformed_packets(changes, at, expected):
    with pytest.raises(StreamError, match=expected) as caught:
        read(initial() + packet(**changes))
    assert (caught.value.offset, caught.value.section) == (64 + at, "multifd channel 0")


def test_the_last_page_of_a_block_is_inside():
    (found,) = read(initial() + packet(offsets=(0, 299 << 12, 0)))
    assert found.normal_pfns.tolist() == [0, 299]


def test_without_a_block_list_any_block_will_do():
    raw = initial() + packet(name=b"other", offsets=(0, 1 << 40, 0))
    assert read(raw, blocks=None)[0].normal_pfns.tolist() == [0, 1 << 28]
    with pytest.raises(StreamError, match="below 0x8000"):
        read(initial() + packet(offsets=(1 << 63, 0, 0)), blocks=None)


@pytest.mark.parametrize(
    ("raw", "at", "expected"),
    [
        (b"", 0, "an initial packet"),
        (initial()[:63], 0, "an initial packet"),
        (b"QEVM" + initial()[4:], 0, "magic number"),
        (initial()[:7] + b"\2" + initial()[8:], 4, "version 1"),
        (initial() + SYNC[:11], 64, "a packet"),
        (initial() + SYNC[:1343], 64, "a packet"),
        (initial() + packet()[:-1], 64 + 1344, "a payload"),
        (initial() + struct.pack(">III256sII", 0x11223344, 1, 64, b"", 0, 0), 76, "a name"),
        (initial() + struct.pack(">III256sII", 0x11223344, 1, 64, b"v", 0, 1 << 31), 336, "most"),
        (initial() + struct.pack(">III256sII", 0x11223344, 1, 64, b"v", 0, 1), 340, "1 bytes"),
    ],
)
def test_malformed_channels(raw, at, expected):
    with pytest.raises(StreamError, match=expected) as caught:
        read(raw)
    assert caught.value.offset == at


def test_a_channel_that_ends_before_a_sync_point():
    channels = MultifdChannels([source_of(initial() + packet())])
    with pytest.raises(StreamError, match="a sync packet") as caught:
        list(channels.until_sync(BLOCKS))
    assert caught.value.offset == 64 + 1344 + 8192


def test_a_channel_that_goes_on_behind_the_last_sync_point():
    channels = MultifdChannels([source_of(initial() + SYNC + b"x")])
    list(channels.until_sync(BLOCKS))
    with pytest.raises(StreamError, match="behind the last sync point") as caught:
        channels.finish()
    assert caught.value.offset == 64 + 1344


def test_a_channel_twice():
    with pytest.raises(StreamError, match="channel 1 again") as caught:
        MultifdChannels([source_of(initial(1)), source_of(initial(1))])
    assert (caught.value.offset, caught.value.section) == (24, "multifd channel 1")


def test_one_compression_for_all():
    plain, packed = packet(), packet(flags=2, payload=packed_pages("zlib", pages(2)))
    with pytest.raises(StreamError, match="none as before") as caught:
        read(initial() + plain + packed)
    assert caught.value.offset == 64 + len(plain) + 8
    channels = MultifdChannels(
        [source_of(initial(0) + plain + SYNC), source_of(initial(1) + packed + SYNC)]
    )
    with pytest.raises(StreamError, match="as on the other channels"):
        list(channels.until_sync(BLOCKS))


def pages(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << 5, (count, 4096), dtype=np.uint8)


def packed_pages(method, data):
    return bytes(make_packer(MultiFDCompression(method)).pack(data))


def unpack(method, payload, size):
    return make_unpacker(MultiFDCompression(method)).unpack(memoryview(payload), size, 7, "here")


@pytest.mark.parametrize("method", ["none", "zlib", "zstd"])
@pytest.mark.parametrize("count", [1, 2, 128])
def test_a_payload_gives_exactly_its_pages(method, count):
    data = pages(count)
    payload = packed_pages(method, data)
    assert unpack(method, payload, count * 4096).tobytes() == data.tobytes()
    for size in (count * 4096 - 1, (count - 1) * 4096, count * 4096 + 1, (count + 1) * 4096):
        with pytest.raises(StreamError, match=f"{size} bytes of pages") as caught:
            unpack(method, payload, size)
        assert (caught.value.offset, caught.value.section) == (7, "here")


@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_a_channel_is_one_stream(method):
    data = pages(6)
    packer = make_packer(MultiFDCompression(method), 3)
    unpacker = make_unpacker(MultiFDCompression(method))
    first, second = (bytes(packer.pack(half)) for half in (data[:3], data[3:]))
    found = unpacker.unpack(memoryview(first), 3 * 4096, 0, "").tobytes()
    assert found == data[:3].tobytes()
    assert unpacker.unpack(memoryview(second), 3 * 4096, 0, "").tobytes() == data[3:].tobytes()
    with pytest.raises(StreamError):  # the second payload means nothing alone
        unpack(method, second, 3 * 4096)


@pytest.mark.parametrize("method", ["zlib", "zstd"])
@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"\x78\x9c\xff\xff\xff", b"\x28\xb5\x2f\xfd"])
def test_damaged_payloads(method, damage):
    with pytest.raises(StreamError):
        unpack(method, damage, 4096)


def test_a_payload_that_expands_without_end_is_cut_short():
    zeros = bytes(256 << 20)
    for method, payload in (
        ("zlib", zlib.compress(zeros)),
        ("zstd", zstandard.compress(zeros)),
    ):
        assert len(payload) < 1 << 20
        with pytest.raises(StreamError, match="found more"):
            unpack(method, payload, 128 * 4096)


def test_a_zlib_stream_does_not_end_inside_a_channel():
    with pytest.raises(StreamError, match="that ends"):
        unpack("zlib", zlib.compress(bytes(4096)), 4096)


def test_a_zstd_window_is_bounded():
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    payload = packer.compress(bytes(4096)) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(StreamError, match="zstd payload"):
        unpack("zstd", payload, 4096)


def test_zstd_without_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    for use in (make_packer, make_unpacker):
        with pytest.raises(MissingExtraError, match=r"migsim\[compress\]") as caught:
            use(MultiFDCompression.ZSTD)
        assert (caught.value.extra, caught.value.module) == ("compress", "zstandard")
    with pytest.raises(MissingExtraError):
        read(initial() + packet(flags=4))
    with pytest.raises(MissingExtraError):
        MultifdWriter([MemoryOutput()], compression=MultiFDCompression.ZSTD)


def test_memory_does_not_grow_with_the_channel():
    import tracemalloc

    raw = (
        initial()
        + packet(
            normal=128, zero=0, offsets=tuple(range(0, 128 << 12, 4096)), payload=bytes(128 << 12)
        )
        * 64
    )
    tracemalloc.start()
    channel = MultifdChannel(source_of(raw))
    assert sum(found.pages.shape[0] for found in channel) == 64 * 128
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
