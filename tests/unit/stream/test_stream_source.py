"""The window over a channel: what it shows, what it asks for, what stays bounded."""

from __future__ import annotations

import os

import numpy as np
import pytest

from migsim.channel import FileInput, MemoryInput
from migsim.errors import StreamError
from migsim.stream import StreamReader, check_stream
from migsim.stream.source import ByteSource, open_source

WINDOW = 2 << 20


def pattern(size):
    return np.arange(size, dtype=np.uint32).view(np.uint8)[:size].tobytes()


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("chunk_bytes", [None, 1000, 70_000])
def test_everything_comes_once_and_in_order(seekable, chunk_bytes):
    raw = pattern(5 << 20)
    source = ByteSource(
        MemoryInput(raw, offset=7, seekable=seekable, chunk_bytes=chunk_bytes or len(raw))
    )
    generator = np.random.default_rng(1)
    at = 7
    while at < len(raw):
        size = int(generator.integers(1, 90_000))
        assert source.position == at
        view = source.window(size)
        assert bytes(view[:size]) == raw[at : at + size]
        step = min(size, len(view)) // 2 + 1
        source.advance(step)
        at += step
    assert source.at_end
    assert source.window(10) == b""


@pytest.mark.parametrize("seekable", [True, False])
def test_the_buffer_grows_only_with_what_arrives(seekable):
    source = ByteSource(MemoryInput(bytes(100), seekable=seekable))
    assert len(source.window(1 << 62)) == 100
    assert len(source._view) <= WINDOW
    raw = pattern(9 << 20)
    source = ByteSource(MemoryInput(raw, seekable=seekable))
    assert bytes(source.take(8 << 20, "s", "much")) == raw[: 8 << 20]
    assert len(source._view) <= 16 << 20


def test_small_steps_never_make_the_buffer_large():
    source = ByteSource(MemoryInput(bytes(20 << 20)))
    while not source.at_end:
        source.advance(min(len(source.window(4104)), 4104))
    assert len(source._view) == WINDOW


def test_what_is_missing_is_named():
    source = ByteSource(MemoryInput(b"abc", offset=1))
    with pytest.raises(StreamError, match="offset 0x1 in place: expected a thing") as caught:
        source.take(3, "place", "a thing")
    assert caught.value.found == "the end after 2 bytes"


def test_a_seekable_source_looks_elsewhere_without_moving():
    raw = pattern(1 << 20)
    source = ByteSource(MemoryInput(raw, offset=5))
    assert source.seekable
    assert source.size_bytes == len(raw)
    assert bytes(source.window(3)[:3]) == raw[5:8]
    assert source.read_at(900_000, 10) == raw[900_000:900_010]
    assert source.read_at(len(raw) - 3, 1 << 40) == raw[-3:]
    assert source.read_at(len(raw) + 1, 10) == b""
    assert bytes(source.take(2, "s", "two")) == raw[5:7]
    for place in (10, 9, 0, 500_000, 500_100, len(raw) - 1):
        source.seek(place)
        assert source.position == place
        assert bytes(source.window(1)[:1]) == raw[place : place + 1]
    pipe = ByteSource(MemoryInput(raw, seekable=False))
    assert not pipe.seekable
    assert pipe.size_bytes is None


def test_a_source_is_its_own_source():
    source = ByteSource(MemoryInput(b""))
    assert open_source(source) is source


def test_a_file_that_shrinks_while_it_is_read_ends_early(sample, tmp_path):
    """No bus error, as with a mapped file: an error with the place where it ends now."""
    raw, _ = sample("pc-8m")
    path = tmp_path / "stream"
    path.write_bytes(raw)
    channel = FileInput(path)
    cut = 5_000_000
    items = iter(StreamReader(channel))
    for _ in range(8):
        next(items)
    os.truncate(path, cut)
    with pytest.raises(StreamError) as caught:
        list(items)
    channel.close()
    assert cut - 4104 - 8 <= caught.value.offset <= cut
    assert caught.value.section == "ram"


def test_memory_does_not_follow_the_length_of_the_file(sample, tmp_path):
    """The one block is announced with 8 MiB; its pages come again until the file has 512 MiB."""
    tracemalloc = pytest.importorskip("tracemalloc")
    raw, _ = sample("none-1m")
    head = raw[: raw.index(b"\2\0\0\0\1")]
    page = b"\0\0\0\0\0\0\0\x28" + bytes(4096)
    part = b"\2\0\0\0\1" + b"\0\0\0\0\0\0\0\x08\4ram0" + bytes(4096) + page * 2000
    part += b"\0\0\0\0\0\0\0\x10" + b"\x7e\0\0\0\1"
    path = tmp_path / "stream"
    with path.open("wb") as file:
        file.write(head)
        for _ in range(20):
            file.write(part)
        file.write(b"\0")
    channel = FileInput(path)
    tracemalloc.start()
    try:
        summary = check_stream(channel)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    channel.close()
    assert summary.normal_pages == {"ram0": 20 * 2001}
    assert most < 16 << 20
