"""A file that appears complete or not at all, and what it refuses to take the place of."""

from __future__ import annotations

import os
import stat

import pytest
from descriptors import open_descriptors, opened_since

from migsim.errors import ChannelError
from migsim.streamtool import AtomicFile


def write(path, data=b"new", **options):
    with AtomicFile(path, **options) as out:
        out.channel.write(data)


def write_and(path, act):
    """Write, and do something before the file is put in place."""
    with AtomicFile(path) as out:
        out.channel.write(b"new")
        act()


def throw(error):
    def act():
        raise error

    return act


def test_a_new_file_is_for_its_owner_only(tmp_path):
    old = os.umask(0)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(old)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_nothing_is_there_before_the_end(tmp_path):
    with AtomicFile(tmp_path / "file") as out:
        out.channel.write(b"new")
        assert not (tmp_path / "file").exists()
        (other,) = tmp_path.iterdir()
        assert other.name.startswith(".file.")
    assert out.kept


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_a_file_that_is_there_is_replaced_and_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    with path.open("rb") as held:
        write(path)
        assert held.read() == b"old"  # who has it open keeps what was there
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ChannelError("x", "read", "y")])
def test_an_exception_leaves_everything_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises((ValueError, KeyboardInterrupt, ChannelError)):
        write_and(path, throw(error))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    for target in ("real", "missing"):
        link = tmp_path / "link"
        link.symlink_to(tmp_path / target)
        with pytest.raises(ChannelError) as error:
            write(link)
        assert "symbolic link" in str(error.value)
        assert link.is_symlink()
        link.unlink()
    assert (tmp_path / "real").read_bytes() == b"old"
    assert not (tmp_path / "missing").exists()


def test_a_directory_a_pipe_and_a_device_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "fifo", tmp_path / "directory", "/dev/null", tmp_path, "/"):
        with pytest.raises(ChannelError):
            write(path)
    assert sorted(os.listdir(tmp_path)) == ["directory", "fifo"]


def test_a_write_protected_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(ChannelError) as error:
        write(path)
    assert "write-protected" in str(error.value)
    assert path.read_bytes() == b"old"


def test_a_file_that_is_read_meanwhile_is_refused_by_any_name(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"old")
    os.link(source, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(source)
    for path, read in (
        (source, source),
        (tmp_path / "hard", source),
        (source, tmp_path / "soft"),
        (tmp_path / "sub" / ".." / "source", source),
    ):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(ChannelError) as error:
            write(path, sources=[tmp_path / "missing", read])
        assert "read meanwhile" in str(error.value)
    assert source.read_bytes() == b"old"


@pytest.mark.parametrize("path", ["missing/file", "file/file"])
def test_a_directory_that_is_not_there(tmp_path, path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ChannelError) as error:
        write(tmp_path / path)
    assert path in str(error.value)
    assert os.listdir(tmp_path) == ["file"]


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(ChannelError):
        write_and(path, lambda: path.write_bytes(b"of somebody else"))
    assert path.read_bytes() == b"of somebody else"
    with pytest.raises(ChannelError):
        write_and(path, lambda: (path.unlink(), path.symlink_to(tmp_path / "other")))
    assert path.is_symlink()
    path.unlink()
    path.write_bytes(b"old")
    with pytest.raises(ChannelError):
        write_and(path, lambda: (path.unlink(), path.write_bytes(b"of somebody else")))
    assert path.read_bytes() == b"of somebody else"
    assert os.listdir(tmp_path) == ["file"]


def test_a_long_name(tmp_path):
    name = "n" * 255
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_errors_call_the_file_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(ChannelError) as error:
        write(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)
    assert "space" in str(error.value)


def fail(*args):
    raise OSError(28, os.strerror(28))


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    rename = os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: order.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
    monkeypatch.setattr(os, "rename", lambda *args: (order.append("rename"), rename(*args)))
    write(tmp_path / "file")
    assert order == [False, "rename", True]


def test_no_descriptor_is_left_open(tmp_path):
    before = open_descriptors()
    write(tmp_path / "file")
    with pytest.raises(ChannelError):
        write(tmp_path)
    assert not opened_since(before)
