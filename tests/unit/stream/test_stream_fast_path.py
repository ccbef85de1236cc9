"""The packed and overlapped paths against a writer of RAM that is as simple as can be."""

from __future__ import annotations

import errno
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from migsim.behind import LENT_BYTES, WriteBehind
from migsim.channel import FileInput, FileOutput, MemoryOutput
from migsim.errors import ChannelError
from migsim.stream import BlockInfo, OutFile, PageBatch, StreamReader, StreamWriter
from migsim.stream.mapped_ram import layout
from migsim.threads import limit_threads

PAGE = 4096


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    limit_threads(request.param)
    yield request.param
    limit_threads(0)


def simple_records(name: str, ram: np.ndarray, zero: np.ndarray) -> bytes:
    """Page records, one after another, as the format describes them."""
    parts = []
    for pfn, page in enumerate(ram):
        flags = (0x02 if zero[pfn] else 0x08) | (0x20 if pfn else 0)
        parts.append(struct.pack(">Q", pfn * PAGE | flags))
        if pfn == 0:
            parts.append(bytes([len(name)]) + name.encode())
        parts.append(b"\0" if zero[pfn] else page.tobytes())
    return b"".join(parts)


def ram_of(zero: np.ndarray) -> np.ndarray:
    rows = np.zeros((zero.size, PAGE), np.uint8)
    rows[~zero] = np.random.default_rng(zero.size).integers(1, 256, PAGE, np.uint8)
    rows[:, :8] += np.arange(zero.size, dtype="<u8").view(np.uint8).reshape(-1, 8) % 7
    rows[zero] = 0
    return rows


# Patterns long enough for several buffers, short runs and long ones.
masks = st.one_of(
    hnp.arrays(np.bool_, st.integers(1, 90)),
    st.lists(st.tuples(st.booleans(), st.integers(1, 700)), min_size=1, max_size=5).map(
        lambda runs: np.concatenate([np.full(length, zero) for zero, length in runs])
    ),
)


@settings(max_examples=15)
@given(zero=masks, cut=st.integers(0, 1000), head=st.integers(0, 3000))
def test_records_are_those_of_the_simple_writer(tmp_path_factory, zero, cut, head):
    ram = ram_of(zero)
    expected = b"h" * head + simple_records("ram0", ram, zero) + b"tail"
    path = tmp_path_factory.mktemp("fast") / "state"
    for count in (1, 2):
        limit_threads(count)
        try:
            for channel in (MemoryOutput(), FileOutput(path, overlap=True)):
                out = OutFile(channel)
                out.put(b"h" * head)
                at = min(cut, zero.size)
                for name, some in (("ram0", slice(0, at)), ("ram0", slice(at, zero.size))):
                    pfns = np.arange(zero.size)[some]
                    first = name if some.start == 0 else None
                    out.put_pages(first, pfns, ram[some], zero[some])
                    out.end_part()
                out.put(b"tail")
                assert out.position == len(expected)
                out.flush()
                assert out.transferred == len(expected)
                channel.close()
                wrote = channel.getvalue() if isinstance(channel, MemoryOutput) else None
                assert (path.read_bytes() if wrote is None else wrote) == expected
        finally:
            limit_threads(0)


@settings(max_examples=12)
@given(zero=masks)
def test_placed_pages_are_at_their_places(tmp_path_factory, zero):
    ram = ram_of(zero)
    path = tmp_path_factory.mktemp("fast") / "state"
    limit_threads(2)
    try:
        channel = FileOutput(path, overlap=True)
        writer = StreamWriter(OutFile(channel), mapped_ram=True)
        writer.header()
        writer.configuration("none", ("mapped-ram",))
        writer.ram_setup(1, [BlockInfo("ram0", zero.size * PAGE)])
        with writer.lasting_pages():
            writer.pages("ram0", np.arange(zero.size), ram, zero)
        writer.begin_part(1)
        writer.end_ram_part(1)
        writer.finish()
        channel.close()
    finally:
        limit_threads(0)
    raw = path.read_bytes()
    at = raw.index(b"\x04ram0") + 5 + 8
    region = layout(at, zero.size)
    size = ram.nbytes
    assert raw[region.pages_offset : region.pages_offset + size] == ram.tobytes()
    stored = np.unpackbits(
        np.frombuffer(raw, np.uint8, -(-zero.size // 64) * 8, region.bitmap_offset),
        bitorder="little",
    )
    assert np.array_equal(stored[: zero.size].astype(bool), ~zero)
    loaded = np.zeros_like(ram)
    with open(path, "rb") as file:
        for item in StreamReader(FileInput(path, fd=os.dup(file.fileno()))):
            if isinstance(item, PageBatch):
                loaded[item.pfns] = item.data
    assert np.array_equal(loaded, ram)


def test_a_full_target_is_told_and_nothing_hangs(threads, monkeypatch, tmp_path):
    channel = FileOutput(tmp_path / "state", overlap=True)
    assert channel.overlaps is (threads > 1)
    pwrite = os.pwrite
    room = [3 << 20]

    def full(fd, data, position):
        if position + len(data) > room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    out = OutFile(channel)
    ram = np.ones((8192, PAGE), np.uint8)

    def save():
        for first in range(0, len(ram), 512):
            some = slice(first, first + 512)
            pfns = np.arange(first, first + 512)
            out.put_pages("ram0" if first == 0 else None, pfns, ram[some], np.zeros(512, bool))
        out.flush()

    with pytest.raises(ChannelError) as caught:
        save()
    assert caught.value.errno == errno.ENOSPC
    channel.close()  # told already
    channel.close()


def test_what_nobody_was_told_is_told_at_the_end():
    def broken(_position, _data):
        raise OSError(errno.EIO, "broken")

    behind = WriteBehind(broken)
    behind.give(0, behind.lend(), 10)
    with pytest.raises(OSError, match="broken"):
        behind.stop()
    behind = WriteBehind(broken)
    behind.place(0, memoryview(b"x"))
    with pytest.raises(OSError, match="broken"):
        behind.settle()
    behind.stop()


def test_buffers_are_few_and_come_back():
    wrote = bytearray(64 * LENT_BYTES)

    def write(position, data):
        wrote[position : position + len(data)] = data

    behind = WriteBehind(write)
    buffers = set()
    for number in range(64):
        room = behind.lend()
        buffers.add(id(room.obj))
        room[:] = bytes([number + 1]) * LENT_BYTES
        behind.give(number * LENT_BYTES, room, LENT_BYTES)
    behind.settle()
    assert not behind.busy
    behind.stop()
    assert len(buffers) <= 8
    found = np.frombuffer(wrote, np.uint8).reshape(64, LENT_BYTES)
    assert (found == np.arange(1, 65, dtype=np.uint8)[:, None]).all()


def test_other_calls_of_a_file_wait_for_what_is_under_way(tmp_path):
    limit_threads(2)
    try:
        channel = FileOutput(tmp_path / "state", overlap=True)
        for number in range(12):
            room = channel.lend()
            room[:] = bytes([number + 1]) * len(room)
            channel.write_lent(room, len(room))
        last = channel.position - 1
        got = bytearray(1)
        assert channel.read_at(last, memoryview(got)) == 1
        assert got == bytes([12])
        channel.resize(5)
        assert os.path.getsize(tmp_path / "state") == 5
        channel.close()
    finally:
        limit_threads(0)
