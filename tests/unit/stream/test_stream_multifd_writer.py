"""Multifd channels as they are written, compared with recorded packets."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import ConfigError
from migsim.qapi.enums import MultiFDCompression
from migsim.stream import BlockInfo
from migsim.stream.multifd import MultifdChannels
from migsim.stream.multifd_reader import MultifdChannel
from migsim.stream.multifd_writer import FLUSH_RECORD, MultifdWriter, zero_pages_last
from migsim.stream.source import ByteSource

BLOCKS = {name: BlockInfo(name, 1000 * 4096) for name in ("ram0", "rom")}


def source_of(raw):
    return ByteSource(MemoryInput(raw))


def written(channels=1, **options):
    outputs = [MemoryOutput() for _ in range(channels)]
    return MultifdWriter(outputs, **options), outputs


def pages_of(*pfns):
    """Return page numbers, and contents that tell them; multiples of 7 are zero."""
    numbers = np.array(pfns, np.int64)
    data = np.repeat((numbers % 7).astype(np.uint8)[:, None], 4096, axis=1)
    return numbers, data


def swapped(zero):
    """Return the order that changing places page by page leads to."""
    order, first, last = list(range(len(zero))), 0, len(zero) - 1
    while first <= last:
        if zero[order[first]]:
            order[first], order[last] = order[last], order[first]
            last -= 1
        else:
            first += 1
    return order


@pytest.mark.parametrize("count", range(10))
def test_zero_pages_are_last_in_the_order_of_their_swaps(count):
    for bits in range(1 << count):
        zero = np.array([bits >> place & 1 for place in range(count)], np.bool_)
        assert zero_pages_last(zero).tolist() == swapped(zero)


@pytest.mark.parametrize("name", ["none-2m-multifd-uuid", "pc-8m-multifd"])
def test_recorded_packets_are_written_again_byte_for_byte(sample, recording, name):
    for number, facts in enumerate(sample(name)[1]["channels"]):
        raw = recording(facts["file"])
        channel = MultifdChannel(source_of(raw))
        writer, (output,) = written(uuid=channel.uuid)
        expected = struct.pack(">II16sB39x", 0x11223344, 1, channel.uuid, number)
        assert raw[:64] == expected
        for packet in channel:
            writer.packets = packet.number
            if packet.sync:
                writer.sync()
                continue
            # The sender's scan had the pages in ascending order.
            pfns = np.concatenate((packet.normal_pfns, packet.zero_pfns))
            data = np.zeros((pfns.size, 4096), np.uint8)
            data[: len(packet.pages)] = packet.pages
            order = np.argsort(pfns)
            zero = order >= packet.normal_pfns.size
            writer.send(packet.block, pfns[order], data[order], zero)
            writer.flush()
        assert output.getvalue()[64:] == raw[64:]
        assert writer.bytes_written == len(raw) == facts["raw_size"]


@pytest.mark.parametrize("compression", list(MultiFDCompression))
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read(compression, channels):
    writer, outputs = written(channels, compression=compression, level=2, uuid=bytes(range(16)))
    ram = {name: np.full((1000, 4096), 0xEE, np.uint8) for name in BLOCKS}
    writer.sync()
    for block, first, last in (("ram0", 0, 500), ("rom", 3, 300), ("ram0", 500, 501)):
        pfns, data = pages_of(*range(first, last))
        writer.send(block, pfns, data, ~data.any(axis=1))
    writer.sync()
    pfns, data = pages_of(13, 5)
    writer.send("ram0", pfns, data + 1)
    writer.sync()
    joined = MultifdChannels([source_of(output.getvalue()) for output in outputs])
    for _ in range(3):
        for batch in joined.until_sync(BLOCKS):
            ram[batch.block][batch.pfns] = 0 if batch.is_zero else batch.data
    joined.finish()
    expected = np.repeat((np.arange(1000) % 7).astype(np.uint8)[:, None], 4096, axis=1)
    first = expected.copy()
    first[[5, 13]] += 1
    assert (ram["ram0"][:501] == first[:501]).all()
    assert (ram["rom"][3:300] == expected[3:300]).all()
    assert (ram["ram0"][501:] == 0xEE).all()
    assert {channel.uuid for channel in joined.channels} == {bytes(range(16))}
    assert {channel.compression for channel in joined.channels} <= {compression, None}
    assert joined.early_pages == 0
    assert writer.packets == sum(channel.packets for channel in joined.channels)
    assert writer.bytes_written == sum(len(output.getvalue()) for output in outputs)
    assert writer.normal_pages + writer.zero_pages == 500 + 297 + 1 + 2
    assert writer.zero_pages == sum(channel.zero_pages for channel in joined.channels)


def shapes(output):
    """Return normal and zero pages of each packet, None for a sync point."""
    channel = MultifdChannel(source_of(output.getvalue()))
    return [
        None if packet.sync else (packet.normal_pfns.size, packet.zero_pfns.size)
        for packet in channel
    ]


def test_packets_are_filled_over_several_calls():
    writer, (output,) = written()
    for first, last in ((0, 100), (100, 101), (101, 101), (101, 500)):
        pfns, data = pages_of(*range(first, last))
        writer.send("ram0", pfns, data)
        data[:] = 0xAA  # what waits must have been copied
    assert shapes(output) == [(128, 0)] * 3
    writer.sync()
    writer.sync()
    assert shapes(output) == [(128, 0)] * 3 + [(116, 0), None, None]
    channel = MultifdChannel(source_of(output.getvalue()))
    found = [(packet.normal_pfns, packet.pages[:, 0].copy()) for packet in channel]
    assert np.concatenate([pfns for pfns, _ in found]).tolist() == list(range(500))
    assert (np.concatenate([values for _, values in found]) == np.arange(500) % 7).all()


def test_another_block_begins_a_packet():
    writer, (output,) = written()
    for block in ("ram0", "ram0", "rom", "ram0"):
        writer.send(block, *pages_of(1, 2))
    writer.flush()
    writer.flush()
    assert shapes(output) == [(4, 0), (2, 0), (2, 0)]


def test_packets_go_to_the_channels_in_turn():
    writer, outputs = written(3)
    writer.send("ram0", *pages_of(*range(512)))
    writer.sync()
    assert [shapes(output) for output in outputs] == [
        [(128, 0), (128, 0), None],
        [(128, 0), None],
        [(128, 0), None],
    ]
    numbers = [
        [packet.number for packet in MultifdChannel(source_of(output.getvalue()))]
        for output in outputs
    ]
    assert numbers == [[0, 3, 4], [1, 5], [2, 6]]


def test_a_packet_of_zero_pages_has_no_payload():
    for compression in MultiFDCompression:
        writer, (output,) = written(compression=compression)
        writer.send("ram0", *pages_of(0, 7, 14), np.ones(3, np.bool_))
        writer.flush()
        (packet,) = MultifdChannel(source_of(output.getvalue()))
        assert (packet.payload_bytes, packet.compression) == (0, compression)
        assert packet.zero_pfns.tolist() == [7 * place for place in swapped([True] * 3)]


def test_the_flush_record_is_the_recorded_one(sample):
    raw = sample("none-2m-multifd-uuid")[0]
    assert struct.pack(">Q", 0x200) == FLUSH_RECORD
    assert raw.count(FLUSH_RECORD) >= 3


@pytest.mark.parametrize("channels", [0, 256])
def test_numbers_of_channels_that_cannot_be(channels):
    with pytest.raises(ConfigError, match="multifd-channels"):
        written(channels)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_names_that_do_not_fit(name):
    writer, _ = written()
    with pytest.raises(ConfigError, match="1 to 255 bytes"):
        writer.send(name, *pages_of(1))


def test_the_same_pages_give_the_same_bytes():
    hashes = set()
    for _ in range(2):
        writer, outputs = written(2, compression=MultiFDCompression.ZLIB)
        writer.send("ram0", *pages_of(*range(300)))
        writer.sync()
        hashes.add(hashlib.sha256(b"".join(out.getvalue() for out in outputs)).hexdigest())
    assert len(hashes) == 1
