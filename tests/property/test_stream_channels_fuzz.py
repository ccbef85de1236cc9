"""Damaged channels, deltas, return paths and wrappers: StreamError, and nothing else."""

from __future__ import annotations

import json
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import StreamError
from migsim.qapi.enums import MultiFDCompression
from migsim.stream import BlockInfo
from migsim.stream.libvirt import read_wrapper
from migsim.stream.multifd import MultifdChannels
from migsim.stream.multifd_reader import MultifdChannel
from migsim.stream.multifd_writer import MultifdWriter
from migsim.stream.return_path import ReturnPathReader
from migsim.stream.source import ByteSource
from migsim.stream.xbzrle_records import read_deltas

STREAMS = Path(__file__).parents[1] / "data" / "streams"
ROUNDS = 1500
BLOCKS = {"ram0": BlockInfo("ram0", 64 * 4096)}
NASTY = (0, 1, 2, 127, 128, 255, 256, 4095, 4096, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 63)


def mutated(rng, raw, heads=()):
    """Return ``raw`` with a few changes, most of them in or near the places in ``heads``."""
    out = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        if not out:
            break
        near = int(rng.choice(heads)) + int(rng.integers(0, 80)) if len(heads) else 0
        at = min(near, len(out) - 1) if rng.random() < 0.8 else int(rng.integers(0, len(out)))
        match rng.integers(0, 6):
            case 0:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                out[at] = int(rng.integers(0, 256))
            case 2:
                size = int(rng.choice((1, 2, 4, 8)))
                value = int(rng.choice(len(NASTY)))
                out[at : at + size] = (NASTY[value] % (1 << 8 * size)).to_bytes(size, "big")
            case 3:
                del out[at : at + int(rng.integers(1, 20))]
            case 4:
                out[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case 5:
                del out[at:]
    return bytes(out)


def attempt(read):
    """Return the error that ``read`` ends with, or None; any other than StreamError fails."""
    try:
        read()
    except StreamError as error:
        return error
    return None


def small_channels(compression):
    """Return two channels with pages of all kinds, written by the writer."""
    outputs = [MemoryOutput(), MemoryOutput()]
    writer = MultifdWriter(outputs, compression=compression)
    data = np.random.default_rng(1).integers(0, 4, (40, 4096), dtype=np.uint8)
    writer.sync()
    for _ in range(3):
        writer.send("ram0", np.arange(40), data, np.arange(40) % 5 == 0)
        writer.flush()
    writer.sync()
    return [output.getvalue() for output in outputs]


def heads_of(raw):
    channel = MultifdChannel(ByteSource(MemoryInput(raw)))
    return [0] + [packet.offset for packet in channel]


def read_channels(sources):
    channels = MultifdChannels([ByteSource(MemoryInput(raw)) for raw in sources])
    for _ in range(2):
        for batch in channels.until_sync(BLOCKS):
            assert ((batch.pfns >= 0) & (batch.pfns < 64)).all()
            assert batch.is_zero or batch.data.shape == (batch.pfns.size, 4096)
    channels.finish()


@pytest.mark.parametrize("compression", list(MultiFDCompression))
def test_damaged_channels(compression):
    rng = np.random.default_rng(list(compression.encode()))
    whole = small_channels(compression)
    assert attempt(lambda: read_channels(whole)) is None
    heads = [heads_of(raw) for raw in whole]
    refused = 0
    for _ in range(ROUNDS):
        index = int(rng.integers(0, 2))
        sources = list(whole)
        sources[index] = mutated(rng, whole[index], heads[index])
        refused += attempt(lambda: read_channels(sources)) is not None  # noqa: B023
    assert ROUNDS // 2 < refused <= ROUNDS


def test_channels_cut_anywhere():
    whole = small_channels(MultiFDCompression.ZLIB)
    for size in (*range(0, 1500, 7), *range(1500, len(whole[0]), 997)):
        error = attempt(lambda: read_channels([whole[0][:size], whole[1]]))  # noqa: B023
        assert error is not None
        assert error.offset <= size


def recorded_deltas():
    """Return the delta records of a recorded stream that follow each other, as one stretch."""
    raw = lzma.decompress((STREAMS / "microvm-2m-xbzrle-cache.bin.xz").read_bytes())
    found, at = [], raw.find(b"\x60\x01")
    while at >= 0:
        word = struct.unpack_from(">Q", raw, at - 7)[0]
        size = struct.unpack_from(">H", raw, at + 2)[0]
        if word & 0xFFF == 0x60 and word >> 12 < 512 and 0 < size <= 4096:
            found.append(raw[at - 7 : at + 4 + size])
            at += size
        at = raw.find(b"\x60\x01", at + 1)
    return found


def test_damaged_deltas():
    rng = np.random.default_rng(7)
    records = recorded_deltas()
    assert len(records) > 30
    block = BlockInfo("ram0", 512 * 4096)
    pages = np.zeros((1024, 4096), np.uint8)

    def read(raw):
        source = ByteSource(MemoryInput(raw))
        while len(source.window(8)) >= 8:
            pfn = struct.unpack(">Q", source.take(8, "ram", "a word"))[0] >> 12
            if pfn >= block.pages:
                return
            batch = read_deltas(source, pfn, block, source.position - 8)
            batch.apply_to(pages[: batch.pfns.size])

    refused = 0
    for _ in range(ROUNDS):
        first = int(rng.integers(0, len(records)))
        some = records[first : first + 3]
        starts = np.cumsum([0] + [len(record) for record in some[:-1]])
        refused += attempt(lambda: read(mutated(rng, b"".join(some), starts))) is not None  # noqa: B023
    assert ROUNDS // 4 < refused <= ROUNDS


def test_damaged_return_paths():
    rng = np.random.default_rng(8)
    manifest = json.loads((STREAMS / "manifest.json").read_text())
    recorded = [
        (STREAMS / entry["return_path"]["file"]).read_bytes()
        for entry in manifest["samples"]
        if "return_path" in entry
    ]
    bitmap = (
        b"\0\5\0\5\4ram0" + struct.pack(">Q", 8) + bytes(8) + struct.pack(">Q", 0x123456789ABCDEF)
    )
    recorded.append(bitmap + b"\0\6\0\4\0\0\0\1" + recorded[0])
    assert len(recorded) >= 4
    refused = 0
    for _ in range(ROUNDS * 4):
        raw = mutated(rng, recorded[int(rng.integers(0, len(recorded)))])
        source = ByteSource(MemoryInput(raw))
        refused += attempt(lambda: list(ReturnPathReader(source))) is not None  # noqa: B023
    assert ROUNDS < refused <= ROUNDS * 4


def test_damaged_wrappers():
    rng = np.random.default_rng(9)
    data = b"<domain/>\0<cookie/>\0"
    head = struct.pack("<16s5I56x", b"LibvirtQemudSave", 2, len(data), 1, 0, 10)
    refused = 0
    for _ in range(ROUNDS * 4):
        source = ByteSource(MemoryInput(mutated(rng, head + data + b"QEVM", (16, 20, 28))))
        refused += attempt(lambda: read_wrapper(source)) is not None  # noqa: B023
    assert ROUNDS // 2 < refused <= ROUNDS * 4
