"""``file:`` channels against the file system."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from migsim.channel import FileInput, FileOutput, RandomAccessChannel, SkippingChannel
from migsim.errors import ChannelError


def test_a_new_file_is_private_and_begins_with_a_hole(tmp_path):
    path = tmp_path / "new"
    channel = FileOutput(path, 5)
    assert channel.position == 5
    channel.write(b"abc")
    channel.write(bytearray(b"de"))
    assert channel.position == 10
    channel.close()
    channel.close()
    assert path.read_bytes() == bytes(5) + b"abcde"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("offset", "kept"), [(0, b""), (2, b"01"), (10, b"0123456789"), (12, b"0123456789\0\0")]
)
def test_an_old_file_is_cut_to_the_offset(tmp_path, offset, kept):
    path = tmp_path / "old"
    path.write_bytes(b"0123456789")
    FileOutput(path, offset).close()
    assert path.read_bytes() == kept


def test_bytes_can_be_placed_anywhere(tmp_path):
    channel = FileOutput(tmp_path / "file")
    assert isinstance(channel, RandomAccessChannel)
    assert not isinstance(channel, SkippingChannel)
    channel.write(b"head")
    channel.write_at(20, b"page")
    channel.seek(10)
    channel.write(b"tail")
    assert channel.position == 14
    channel.close()
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(6) + b"tail" + bytes(6) + b"page"


@pytest.mark.parametrize("side", [FileOutput, FileInput])
def test_open_errors_tell_why(tmp_path, side):
    with pytest.raises(ChannelError) as caught:
        side(tmp_path / "no" / "such")
    assert (caught.value.errno, caught.value.operation) == (errno.ENOENT, "open")
    assert caught.value.uri == f"file:{tmp_path}/no/such"
    with pytest.raises(ChannelError) as caught:
        side(tmp_path)
    assert caught.value.errno == errno.EISDIR


def test_write_errors_tell_why(tmp_path, monkeypatch):
    channel = FileOutput(tmp_path / "file")
    written = []

    def pwrite(fd, data, position):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append((bytes(data[:2]), position))
        return 2

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(ChannelError, match="No space") as caught:
        channel.write(b"abc")
    assert (caught.value.errno, caught.value.operation) == (errno.ENOSPC, "write")
    assert written == [(b"ab", 0)]
    channel.close()


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:3], at))
    channel = FileOutput(tmp_path / "file", 1)
    channel.write(b"0123456789")
    channel.close()
    assert (tmp_path / "file").read_bytes() == b"\0" + b"0123456789"


def test_what_cannot_be_cut_cannot_be_saved_to(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ChannelError) as caught:
        FileOutput(tmp_path / "fifo")
    assert caught.value.operation == "open"


def read(channel, size_bytes):
    """Return what one look at the channel gives."""
    room = bytearray(size_bytes)
    return bytes(room[: channel.read_into(memoryview(room))])


def read_at(channel, position, size_bytes):
    room = bytearray(size_bytes)
    return bytes(room[: channel.read_at(position, memoryview(room))])


def test_reading_starts_at_the_offset_and_can_look_anywhere(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    channel = FileInput(path, 4)
    assert channel.position == 4
    assert channel.seekable() is channel
    assert channel.size_bytes == 10
    assert read(channel, 3) == b"456"
    assert read_at(channel, 1, 4) == b"1234"
    assert channel.position == 7
    assert read(channel, 100) == b"789"
    assert read(channel, 1) == b""
    channel.close()
    channel.close()


@pytest.mark.parametrize("offset", [0, 7])
def test_empty_files_and_offsets_behind_the_end(tmp_path, offset):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    channel = FileInput(path, offset)
    assert channel.size_bytes == 0
    assert read(channel, 10) == b""
    assert read_at(channel, 1 << 64, 10) == b""
    channel.close()


def test_a_file_may_shrink_and_grow_while_it_is_open(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 16) + b"tail")
    channel = FileInput(path)
    os.truncate(path, 5)
    assert channel.size_bytes == 5
    assert read_at(channel, 1 << 15, 10) == b""
    assert read(channel, 1 << 16) == bytes(5)
    path.write_bytes(b"01234567")
    assert read(channel, 1 << 16) == b"567"
    channel.close()


def test_read_errors_tell_why(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abc")
    channel = FileInput(tmp_path / "file")

    def preadv(fd, room, position):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(ChannelError) as caught:
        read(channel, 3)
    assert (caught.value.errno, caught.value.operation) == (errno.EIO, "read")
    channel.close()


def test_a_fifo_is_read_in_order(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"abcdef"))
    writer.start()
    channel = FileInput(path)
    assert channel.seekable() is None
    data = b""
    while piece := read(channel, 4):
        data += piece
    writer.join(10)
    channel.close()
    assert data == b"abcdef"
    assert channel.position == 6


def test_a_fifo_has_no_offset(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.open("wb").close())
    writer.start()
    with pytest.raises(ChannelError) as caught:
        FileInput(path, 1)
    writer.join(10)
    assert caught.value.errno == errno.ESPIPE


def test_the_length_of_a_shared_descriptor_is_asked_without_moving_it(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    channel = FileInput(tmp_path / "file", 3, fd=os.dup(fd))
    assert channel.size_bytes == 10
    assert read(channel, 2) == b"34"
    assert os.lseek(fd, 0, os.SEEK_CUR) == 3
    channel.close()
    os.close(fd)
