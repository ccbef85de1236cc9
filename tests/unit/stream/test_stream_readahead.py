"""Reading a file ahead in a thread: the same bytes, the same ends, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
import threading

import numpy as np
import pytest
from descriptors import open_descriptors, opened_since

from migsim.channel import FileInput
from migsim.errors import ChannelError, StreamError
from migsim.stream import open_stream, source
from migsim.stream.source import ByteSource

SIZE = 11 << 20


def pattern(size):
    return np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()


@pytest.fixture
def early(monkeypatch):
    """Read ahead from the first bytes on, whatever the size and however busy the machine."""
    monkeypatch.setattr("migsim.threads._limit", 2)
    monkeypatch.setattr(source, "_IN_ORDER_BYTES", 1)
    monkeypatch.setattr(source, "_MUCH_BYTES", 1)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pattern(SIZE))
    return path


def read_some(reader, raw, *, until, most, seed=1):
    """Take pieces up to ``until`` and compare each."""
    generator = np.random.default_rng(seed)
    while reader.position < until:
        at, size = reader.position, int(generator.integers(1, most))
        view = reader.window(size)
        assert len(view) >= min(size, len(raw) - at)
        assert view[:size] == raw[at : at + size]
        reader.advance(min(size, len(view)))


def take_all(reader):
    while True:
        reader.take(5000, "ram", "a record")


def threads():
    return threading.active_count()


@pytest.mark.parametrize("most", [9, 5000, 60_000, 70_000, 5 << 20])
@pytest.mark.usefixtures("early")
def test_everything_comes_once_and_in_order(path, most):
    raw = path.read_bytes()
    if most == 9:
        raw = raw[:200_000]
        path.write_bytes(raw)
    channel = FileInput(path, 5)
    reader = ByteSource(channel)
    read_some(reader, raw, until=len(raw), most=most)
    assert reader.at_end
    assert reader.window(10) == b""
    reader.close()
    channel.close()


@pytest.mark.usefixtures("early")
def test_elsewhere_and_back_again(path):
    raw = path.read_bytes()
    reader = ByteSource(FileInput(path))
    for place in (3 << 20, 100, 9 << 20, 0):
        reader.seek(place)
        assert reader.window(5)[:5] == raw[place : place + 5]
        read_some(reader, raw, until=place + 900_000, most=7000)
    reader.close()


@pytest.mark.usefixtures("early")
def test_a_file_that_shrinks_ends_early(path):
    count = threads()
    raw = path.read_bytes()
    reader = ByteSource(FileInput(path))
    read_some(reader, raw, until=100_000, most=5000)
    os.truncate(path, 10 << 20)
    with pytest.raises(StreamError, match="the end after") as caught:
        take_all(reader)
    assert 10 << 20 <= caught.value.offset + 5000 <= SIZE + 5000
    assert threads() == count


@pytest.mark.usefixtures("early")
def test_an_error_of_the_file_comes_where_it_is_read(path, monkeypatch):
    count = threads()
    channel = FileInput(path)
    reader = ByteSource(channel)
    reader.advance(len(reader.window(1)))

    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("migsim.channel.ahead.os.preadv", broken)
    with pytest.raises(ChannelError, match="Input/output error") as caught:
        reader.window(1)
    assert caught.value.errno == errno.EIO
    assert threads() == count


@pytest.mark.usefixtures("early")
def test_nothing_is_left_of_a_reader_that_is_forgotten(path):
    before, count = open_descriptors(), threads()
    reader = ByteSource(FileInput(path))
    channel = reader._channel
    reader.advance(len(reader.window(1)))
    reader.window(1)
    assert threads() == count + 1
    del reader
    gc.collect()
    assert threads() == count
    channel.close()
    assert not opened_since(before)


@pytest.mark.usefixtures("early")
def test_closing_a_stream_in_the_middle_ends_the_thread(path):
    before, count = open_descriptors(), threads()
    head = b"QEVM\0\0\0\3\7\0\0\0\4none\4\0\0\0\5\3dev" + bytes(7) + b"\1"
    path.write_bytes(head + pattern(SIZE))
    with open_stream(path) as stream:
        items = stream.items()
        for _ in range(2):
            next(items)
        stream._sources[0].advance(len(stream._sources[0].window(1)))
        stream._sources[0].window(1)
        assert threads() == count + 1
    assert threads() == count
    assert not opened_since(before)


def test_small_files_need_no_thread(path):
    count = threads()
    reader = ByteSource(FileInput(path))
    while not reader.at_end:
        reader.advance(len(reader.window(1)))
        assert threads() == count
