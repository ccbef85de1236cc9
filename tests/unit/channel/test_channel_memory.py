"""Channels in memory, sinks that count, and channels that break."""

from __future__ import annotations

import errno

import pytest

from migsim.channel import (
    CountingOutput,
    Fault,
    FaultKind,
    FaultyInput,
    FaultyOutput,
    FileOutput,
    MemoryInput,
    MemoryOutput,
    SkippingChannel,
)
from migsim.errors import ChannelError


def test_memory_keeps_copies():
    channel = MemoryOutput()
    data = bytearray(b"abc")
    channel.write(data)
    data[0] = 0
    channel.write(memoryview(b"de"))
    channel.flush()
    channel.close()
    assert channel.getvalue() == b"abcde"
    assert channel.position == 5


def read(channel, size_bytes):
    """Return what one look at the channel gives."""
    room = bytearray(size_bytes)
    return bytes(room[: channel.read_into(memoryview(room))])


def test_memory_as_a_seekable_source_and_as_a_pipe():
    channel = MemoryInput(b"abcdef", offset=2)
    whole = channel.seekable()
    assert whole is not None
    assert whole.size_bytes == 6
    room = bytearray(4)
    assert whole.read_at(1, memoryview(room)) == 4
    assert room == b"bcde"
    assert whole.read_at(5, memoryview(room)) == 1
    assert whole.read_at(7, memoryview(room)) == 0
    assert channel.position == 2
    assert read(channel, 10) == b"cdef"
    pipe = MemoryInput(b"abcdef", seekable=False, chunk_bytes=4)
    assert pipe.seekable() is None
    assert [read(pipe, 10), read(pipe, 10), read(pipe, 10)] == [b"abcd", b"ef", b""]
    assert pipe.position == 6
    pipe.close()


def test_counting():
    channel = CountingOutput(100)
    assert isinstance(channel, SkippingChannel)
    channel.write(b"abc")
    channel.skip(1 << 40)
    channel.flush()
    channel.close()
    assert channel.position == 103 + (1 << 40)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (FaultKind.BROKEN_PIPE, errno.EPIPE),
        (FaultKind.NO_SPACE, errno.ENOSPC),
        (FaultKind.IO_ERROR, errno.EIO),
    ],
)
def test_output_breaks_at_the_byte(kind, number):
    sink = MemoryOutput()
    channel = FaultyOutput(sink, Fault(5, kind))
    channel.write(b"abc")
    with pytest.raises(ChannelError) as caught:
        channel.write(b"def")
    assert (caught.value.errno, caught.value.operation) == (number, "write")
    assert sink.getvalue() == b"abcde"
    with pytest.raises(ChannelError):
        channel.write(b"g")
    assert channel.position == 5


def test_output_holds_up_to_the_last_byte():
    sink = MemoryOutput()
    channel = FaultyOutput(sink, Fault(3))
    channel.write(b"abc")
    channel.flush()
    channel.close()
    assert sink.getvalue() == b"abc"


def test_lost_bytes_make_no_noise():
    sink = MemoryOutput()
    channel = FaultyOutput(sink, Fault(4, FaultKind.LOST))
    for piece in (b"abc", b"def", b"ghi"):
        channel.write(piece)
    assert sink.getvalue() == b"abcd"


def test_counted_and_placed_bytes_break_too(tmp_path):
    counting = FaultyOutput(CountingOutput(), Fault(10))
    with pytest.raises(ChannelError):
        counting.skip(11)
    assert counting.position == 10
    inner = FileOutput(tmp_path / "file")
    placed = FaultyOutput(inner, Fault(2))
    placed.seek(3)
    with pytest.raises(ChannelError):
        placed.write_at(8, b"abc")
    placed.close()
    assert (tmp_path / "file").read_bytes() == bytes(8) + b"ab"


def test_the_channel_inside_must_be_able():
    counting = FaultyOutput(CountingOutput(), Fault(10))
    for use in (
        lambda: FaultyOutput(MemoryOutput(), Fault(10)).skip(1),
        lambda: counting.seek(1),
        lambda: counting.write_at(1, b"x"),
        lambda: counting.read_at(1, memoryview(bytearray(1))),
        lambda: counting.resize(1),
    ):
        with pytest.raises(TypeError):
            use()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_bytes_are_placed_read_back_and_cut(tmp_path, kind):
    channel = MemoryOutput() if kind == "memory" else FileOutput(tmp_path / "file")
    channel.write(b"head")
    channel.write_at(8, b"page")
    channel.seek(6)
    channel.write(b"t")
    assert channel.position == 7
    room = bytearray(20)
    assert channel.read_at(2, memoryview(room)) == 10
    assert room == b"ad\0\0t\0page" + bytes(10)
    assert channel.read_at(12, memoryview(room)) == 0
    for size in (10, 14):
        channel.resize(size)
    assert channel.read_at(0, memoryview(room)) == 14
    assert room[:14] == b"head\0\0t\0pa" + bytes(4)
    channel.close()


def test_a_file_cannot_be_larger_than_any(tmp_path):
    channel = FileOutput(tmp_path / "file")
    for size in (1 << 62, 1 << 70):
        with pytest.raises(ChannelError) as caught:
            channel.resize(size)
        assert caught.value.errno == errno.EFBIG
    channel.close()


@pytest.mark.parametrize("kind", list(FaultKind))
def test_input_breaks_at_the_byte(kind):
    channel = FaultyInput(MemoryInput(b"abcdefgh"), Fault(5, kind))
    assert channel.seekable() is None
    assert read(channel, 3) + read(channel, 3) == b"abcde"
    assert channel.position == 5
    if kind is FaultKind.LOST:
        assert read(channel, 1) == b""
    else:
        with pytest.raises(ChannelError) as caught:
            read(channel, 1)
        assert caught.value.operation == "read"
    channel.close()
