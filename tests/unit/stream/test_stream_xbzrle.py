"""Deltas against a plain model, their records, and those that a real QEMU wrote."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput
from migsim.errors import ConfigError, StreamError
from migsim.stream import BlockInfo, PageBatch, RamBlocks, StreamReader, encode_pages
from migsim.stream.source import ByteSource
from migsim.stream.xbzrle import OVERFLOW, Deltas, encode_deltas
from migsim.stream.xbzrle_decode import apply_deltas, check_deltas, delta_runs
from migsim.stream.xbzrle_records import Sent, XbzrleBatch, encode_records, read_deltas

BLOCK = BlockInfo("ram0", 64 * 4096)


def length(number):
    return bytes((number,)) if number < 128 else bytes((number & 127 | 128, number >> 7))


def model(old, new):
    """Return the delta of one page, None where it is too long, byte by byte."""
    out, at, place = b"", 0, 0
    while at < len(old):
        if old[at] == new[at]:
            at += 1
            continue
        end = at
        while end < len(old) and old[end] != new[end]:
            end += 1
        out += length(at - place) + length(end - at) + bytes(new[at:end])
        at = place = end
    return None if len(out) > len(old) - (2 if place < len(old) else 0) else out


def each(deltas):
    return [
        deltas.data[start : start + size].tobytes() if size >= 0 else None
        for start, size in zip(deltas.starts, deltas.sizes, strict=True)
    ]


def deltas_of(*raw):
    sizes = np.array([len(one) for one in raw], np.int64)
    return Deltas(np.frombuffer(b"".join(raw), np.uint8), sizes)


def flipped(*stretches):
    old = np.arange(4096, dtype=np.uint32).astype(np.uint8)
    new = old.copy()
    for first, last in stretches:
        new[first:last] ^= 0xFF
    return old, new


def various_pages(count, seed=1):
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 256, (count, 4096), dtype=np.uint8)
    new = old.copy()
    for row in range(count):
        match row % 6:
            case 1:
                new[row] = rng.integers(0, 256, 4096)
            case 2:
                new[row, :: rng.integers(2, 9)] ^= 1
            case 3:
                new[row, rng.integers(0, 8) : 4096 - rng.integers(0, 8)] ^= 3
            case 4:
                new[row, rng.random(4096) < rng.random() * 0.5] ^= 7
            case 5:
                new[row, rng.integers(0, 4096)] ^= 1
    return old, new


def test_many_pages_are_encoded_as_one_by_one():
    old, new = various_pages(300)
    found = encode_deltas(old, new)
    expected = [model(*rows) for rows in zip(old.tolist(), new.tolist(), strict=True)]
    assert each(found) == expected
    assert None in expected
    assert b"" in expected
    assert any(delta and len(delta) > 4000 for delta in expected)


@pytest.mark.parametrize(
    ("stretches", "size"),
    [
        ([], 0),
        ([(0, 1)], 3),
        ([(127, 128)], 3),
        ([(128, 129)], 4),
        ([(0, 127)], 2 + 127),
        ([(0, 128)], 3 + 128),
        ([(4095, 4096)], 4),
        ([(0, 1), (2, 3)], 6),
        ([(0, 1), (128, 129)], 3 + 3),
        ([(0, 1), (129, 130)], 3 + 4),
        ([(0, 4091)], 4094),  # one more byte, and the unchanged end would not fit
        ([(0, 4092)], OVERFLOW),
        ([(3, 4096)], 4096),
        ([(2, 4096)], OVERFLOW),
        ([(0, 4096)], OVERFLOW),
    ],
)
def test_sizes_at_the_limits(stretches, size):
    old, new = flipped(*stretches)
    found = encode_deltas(old[None], new[None])
    assert found.sizes.tolist() == [size]
    assert found.data.size == max(size, 0)


def test_pages_of_other_sizes():
    old = np.zeros((2, 16384), np.uint8)
    new = old.copy()
    new[1, 9000:16384] = 1
    found = encode_deltas(old, new)
    assert found.sizes.tolist() == [0, 4 + 7384]
    apply_deltas(found, old)
    assert (old == new).all()
    with pytest.raises(ConfigError, match="32768"):
        encode_deltas(np.zeros((1, 32768), np.uint8), np.ones((1, 32768), np.uint8))


def test_no_pages():
    found = encode_deltas(np.empty((0, 4096), np.uint8), np.empty((0, 4096), np.uint8))
    assert found.data.size == found.sizes.size == found.starts.size == 0
    check_deltas(found)


def test_applying_gives_the_new_pages_and_leaves_the_others():
    old, new = various_pages(300)  # more than fit into one piece
    found = encode_deltas(old, new)
    assert found.data.size > 1 << 18
    pages = old.copy()
    apply_deltas(found, pages)
    fits = found.sizes != OVERFLOW
    assert (pages[fits] == new[fits]).all()
    assert (pages[~fits] == old[~fits]).all()


def test_one_delta_is_read_as_its_runs():
    delta = b"\x02\x03abc" + b"\x81\x01\x01d" + b"\x85\x00\x01e"
    assert delta_runs(delta) == [(2, 2, 3), (5 + 129, 8, 1), (135 + 5, 12, 1)]
    page = np.zeros((1, 4096), np.uint8)
    apply_deltas(deltas_of(delta), page)
    assert page[0, 2:5].tobytes() == b"abc"
    assert page[0, [134, 140]].tobytes() == b"de"
    assert np.count_nonzero(page) == 5


@pytest.mark.parametrize(
    ("delta", "at", "expected"),
    [
        (b"\x00", 0, "how many bytes stay"),
        (b"\x80", 0, "how many bytes stay"),
        (b"\x05\x01", 1, "how many bytes are new"),
        (b"\x80\x01\x01", 2, "how many bytes are new"),
        (b"\x80\x80\x01\x01a", 0, "one or two bytes"),
        (b"\x00\x80\x80a", 1, "one or two bytes"),
        (b"\x00\x00a", 1, "a run of new bytes"),
        (b"\x00\x80\x00a", 1, "a run of new bytes"),
        (b"\x00\x03ab", 2, "3 new bytes"),
        (b"\x00\x01a\x00\x01b", 3, "unchanged bytes between"),
        (b"\x00\x01a\x80\x00\x01b", 3, "unchanged bytes between"),
        (b"\x80\x20\x01a", 0, "inside the page"),
        (b"\xff\x1f\x02ab", 0, "inside the page"),
        (b"\xff\x7f\x01a", 0, "inside the page"),
        (b"\x01\x01a\xfd\x1f\x02bc", 3, "inside the page"),
        (b"\x01\x01a\x01", 3, "how many bytes stay"),
    ],
)
def test_malformed_deltas_are_told_with_their_place(delta, at, expected):
    good = b"\x07\x01x"
    for read in (
        lambda: delta_runs(delta, 1000),
        lambda: check_deltas(deltas_of(delta), np.array([1000])),
        lambda: check_deltas(deltas_of(good, delta, good), np.array([5, 1000, 7])),
        lambda: apply_deltas(
            deltas_of(good, delta), np.zeros((2, 4096), np.uint8), np.array([5, 1000])
        ),
    ):
        with pytest.raises(StreamError, match=expected) as caught:
            read()
        assert (caught.value.offset, caught.value.section) == (1000 + at, "ram")


@pytest.mark.parametrize("delta", [b"", b"\xfe\x1f\x02ab", b"\xff\x1f\x01a", b"\x00\x01a"])
def test_deltas_at_the_edges_of_a_page_are_taken(delta):
    check_deltas(deltas_of(delta, delta))
    delta_runs(delta)


def record(pfn, delta, *, flags=0x60, block=None, encoding=1, size=None):
    name = b"" if block is None else bytes((len(block),)) + block.encode()
    size = len(delta) if size is None else size
    return struct.pack(">Q", pfn << 12 | flags) + name + struct.pack(">BH", encoding, size) + delta


def read_from(raw, *, pfn=1, chunk_bytes=None):
    """Read records behind the word of the first one."""
    source = ByteSource(MemoryInput(raw, seekable=chunk_bytes is None, chunk_bytes=chunk_bytes))
    source.take(8, "ram", "a word")
    return source, read_deltas(source, pfn, BLOCK, 0)


def test_records_that_follow_each_other_come_together():
    deltas = [b"\x01\x01a", b"\x02\x02bc", b""]
    rest = struct.pack(">Q", 0x10)
    raw = b"".join(record(pfn, delta) for pfn, delta in zip((1, 5, 3), deltas, strict=True))
    source, batch = read_from(raw + rest)
    assert batch.pfns.tolist() == [1, 5, 3]
    assert each(batch.deltas) == deltas
    assert batch.offsets.tolist() == [11, 25, 40]
    assert (batch.offset, batch.block, batch.named) == (0, "ram0", False)
    assert source.position == len(raw)
    pages = np.zeros((3, 4096), np.uint8)
    batch.apply_to(pages)
    assert pages[0, 1] == ord("a")
    assert pages[1, 2:4].tobytes() == b"bc"
    assert not pages[2].any()


@pytest.mark.parametrize(
    "following",
    [
        record(1, b"\x00\x01z"),  # the same page again: its order must not be lost
        record(2, b"\x00\x01z", flags=0x40, block="ram0"),
        struct.pack(">Q", 0x28) + bytes(4096),
    ],
)
def test_a_batch_ends_before(following):
    raw = record(1, b"\x00\x01a")
    source, batch = read_from(raw + following)
    assert batch.pfns.tolist() == [1]
    assert source.position == len(raw)


def test_a_pipe_is_not_waited_for():
    raw = record(1, b"\x00\x01a") + record(2, b"\x00\x01b")
    source, batch = read_from(raw, chunk_bytes=1)
    assert batch.pfns.tolist() == [1]
    assert source.position == len(raw) // 2


@pytest.mark.parametrize(
    ("raw", "at", "expected"),
    [
        (record(1, b"\x00\x01a", encoding=2), 8, "encoding 1"),
        (record(1, b"", size=4097), 9, "at most 4096"),
        (record(1, b"\x00\x01a", size=100), 11, "a delta of 100"),
        (record(1, b"")[:9], 8, "encoding and length"),
        (record(1, b"\x00\x00a"), 12, "a run of new bytes"),
        (record(1, b"\x00\x01a") + record(64, b""), 14, "a page below 0x40"),
        (record(1, b"\x00\x01a") + record(2, b"\x00\x02a"), 27, "2 new bytes"),
    ],
)
def test_malformed_records(raw, at, expected):
    with pytest.raises(StreamError, match=expected) as caught:
        read_from(raw)
    assert caught.value.offset == at


@pytest.mark.parametrize("name", [None, "ram0"])
def test_records_of_pages_and_zeros_are_as_without_deltas(name):
    rng = np.random.default_rng(4)
    data = rng.integers(0, 256, (40, 4096), dtype=np.uint8)
    pfns = rng.permutation(64)[:40].astype(np.int64)
    zero = rng.random(40) < 0.4
    kinds = np.where(zero, Sent.ZERO, Sent.PAGE).astype(np.uint8)
    found = encode_records(name, pfns, data, kinds, deltas_of())
    assert found.tobytes() == encode_pages(name, pfns, data, zero).tobytes()


@pytest.mark.parametrize("first", list(Sent))
def test_records_of_all_kinds_are_read_back(first, parts):
    rng = np.random.default_rng(5)
    pages = rng.integers(0, 256, (8, 4096), dtype=np.uint8)
    old = pages.copy()
    old[:, 100:200] ^= 1
    kinds = np.roll(np.arange(8, dtype=np.uint8) % 4, -first)
    changed = np.flatnonzero(kinds == Sent.DELTA)
    deltas = encode_deltas(old[changed], pages[changed])
    raw = encode_records("ram0", np.arange(8), pages, kinds, deltas).tobytes()
    stream = parts(
        blocks=struct.pack(">Q", 0x8004) + b"\x04ram0" + struct.pack(">Q", 0x8000), pages=raw
    ).join()
    for item in StreamReader(MemoryInput(stream)):
        apply(item, {"ram0": old})
    expected = np.where((kinds == Sent.ZERO)[:, None], 0, pages)
    sent = kinds != Sent.NOTHING
    assert (old[sent] == expected[sent]).all()
    assert (old[~sent] != expected[~sent]).any(axis=1).all()


def test_a_record_of_a_delta_is_laid_out_like_this():
    kinds = np.array([Sent.DELTA], np.uint8)
    data = np.zeros((1, 4096), np.uint8)
    found = encode_records(None, np.array([7]), data, kinds, deltas_of(b"\x01\x01a"))
    assert found.tobytes() == bytes.fromhex("0000000000007060 01 0003") + b"\x01\x01a"


def test_nothing_to_send_is_no_byte():
    kinds = np.full(3, Sent.NOTHING, np.uint8)
    data = np.zeros((3, 4096), np.uint8)
    assert encode_records("ram0", np.arange(3), data, kinds, deltas_of()).size == 0


def apply(item, ram):
    if isinstance(item, RamBlocks):
        for block in item.blocks:
            ram.setdefault(block.name, np.zeros((block.pages, 4096), np.uint8))
    elif isinstance(item, PageBatch):
        ram[item.block][item.pfns] = 0 if item.is_zero else item.data
    elif isinstance(item, XbzrleBatch):
        pages = ram[item.block][item.pfns]
        item.apply_to(pages)
        ram[item.block][item.pfns] = pages


@pytest.mark.parametrize("name", ["pc-8m-xbzrle", "microvm-2m-xbzrle-cache"])
@pytest.mark.parametrize("chunk_bytes", [None, 5000])
def test_recorded_deltas_give_the_senders_ram(sample, name, chunk_bytes):
    raw, entry = sample(name)
    assert hashlib.sha256(raw).hexdigest() == entry["raw_sha256"]
    ram, deltas = {}, 0
    for item in StreamReader(
        MemoryInput(raw, seekable=chunk_bytes is None, chunk_bytes=chunk_bytes)
    ):
        apply(item, ram)
        deltas += item.pfns.size if isinstance(item, XbzrleBatch) else 0
    assert deltas == entry["xbzrle_pages"]
    assert {block: hashlib.sha256(pages).hexdigest() for block, pages in ram.items()} == {
        block: facts["sha256"] for block, facts in entry["blocks"].items()
    }
