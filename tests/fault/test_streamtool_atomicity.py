"""Whatever fails while a file is written, what had its name keeps it, unchanged."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from state_files import blocks_in, ram_hashes, sample_files

from migsim.errors import ChannelError, StreamError
from migsim.streamtool import (
    StreamFiles,
    StreamForm,
    check_stream,
    convert,
    extract_ram,
    replace_ram,
)

CALLS = ["pwrite", "ftruncate", "fsync", "rename", "fchmod", "preadv"]
MOST = 25


class Breaker:
    """Counts calls of one function of ``os``, and lets one of them fail."""

    def __init__(self, monkeypatch, name: str) -> None:
        self.count = 0
        self.fail_at: int | None = None
        self._real = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args, **options):
        self.count += 1
        if self.fail_at is not None and self.count > self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real(*args, **options)


def to_mapped(target, source="none-1m"):
    convert(sample_files(source), target, StreamForm.MAPPED_RAM)


def to_plain(target):
    convert(sample_files("none-2m-mapped-ram"), target, StreamForm.PLAIN, target_offset=8192)


def with_scratch(target):
    convert(sample_files("microvm-2m-xbzrle-cache"), target, StreamForm.PLAIN)


def other_ram(target):
    fill = target.parent / "fill"
    fill.write_bytes(b"\1" * (1 << 20))
    try:
        replace_ram(sample_files("none-1m"), target, {"ram0": fill})
    finally:
        fill.unlink()


def ram_alone(target):
    extract_ram(sample_files("none-1m"), target)


WORKS = {
    "plain to mapped-ram": to_mapped,
    "mapped-ram to plain": to_plain,
    "xbzrle to plain": with_scratch,
    "replace-ram": other_ram,
    "extract-ram": ram_alone,
}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("work", WORKS)
def test_a_failure_of_any_call_leaves_what_was_there(tmp_path, monkeypatch, work, call, there):
    for file in ("none-1m", "none-2m-mapped-ram", "microvm-2m-xbzrle-cache"):
        sample_files(file)  # unpacked before anything breaks
    target = tmp_path / "target"
    if there:
        target.write_bytes(b"precious" * 2000)
    with monkeypatch.context() as patch:
        breaker = Breaker(patch, call)
        WORKS[work](target)
        calls = breaker.count
    if call != "fchmod" or there:
        assert calls > 0
    places = sorted({round(at * (calls - 1) / MOST) for at in range(MOST + 1)}) if calls else []
    for place in places:
        target.unlink()
        if there:
            target.write_bytes(b"precious" * 2000)
        with monkeypatch.context() as patch:
            breaker = Breaker(patch, call)
            breaker.fail_at = place
            if call == "fsync" and place == calls - 1:
                WORKS[work](target)  # of the directory: the file is in place
                continue
            with pytest.raises(ChannelError):
                WORKS[work](target)
        assert os.listdir(tmp_path) == (["target"] if there else [])
        if there:
            assert target.read_bytes() == b"precious" * 2000
        else:
            target.touch()


def test_short_writes_and_reads_are_gone_on_with(tmp_path, monkeypatch):
    real_write, real_read = os.pwrite, os.preadv
    sample_files("none-1m")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: real_write(fd, data[:1000], at))
        patch.setattr(os, "preadv", lambda fd, rooms, at: real_read(fd, [rooms[0][:1111]], at))
        to_mapped(tmp_path / "target")
    files = StreamFiles.at(tmp_path / "target")
    assert ram_hashes(files, ["ram0"]) == blocks_in("none-1m")
    assert check_stream(files).ok


PROGRAM = """
import os, sys, time
from migsim.streamtool import StreamFiles, StreamForm, convert
real = os.pwrite
def slow(*args):
    print("writing", flush=True)
    time.sleep(0.05)
    return real(*args)
os.pwrite = slow
convert(StreamFiles.at(sys.argv[1]), sys.argv[2], StreamForm.PLAIN)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_killed_leaves_what_was_there(tmp_path, number):
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, sample_files("q35-8m").path, target],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline() == b"writing\n"
    time.sleep(0.1)
    process.send_signal(number)
    process.wait(20)
    process.stdout.close()
    assert process.returncode != 0
    assert target.read_bytes() == b"precious"
    assert {path.suffix for path in tmp_path.iterdir()} <= {"", ".part"}


def test_a_limit_of_the_file_size_is_an_error_and_no_torn_file(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "from migsim.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["stream", "convert", "--format", "plain", sample_files("none-1m").path]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, tmp_path / "target"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_source_that_shrinks_is_an_error_of_the_stream(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(sample_files("pc-8m-precopy-live").path.read_bytes())
    with pytest.raises(StreamError):
        convert(
            StreamFiles.at(source),
            tmp_path / "target",
            StreamForm.PLAIN,
            progress=lambda done, total: os.truncate(source, 1 << 20),
        )
    assert os.listdir(tmp_path) == ["source"]
