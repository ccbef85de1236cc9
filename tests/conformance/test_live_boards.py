"""Devices of whole machines against a real QEMU: sections, and a guest that goes on across."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boards import LINES, rows, save, sections
from boot_images import counting_image

pytestmark = pytest.mark.live

FREE = ("virtio-console",)
"""Sections whose size depends on what is behind the device."""
MIGSIM = [sys.executable, "-c", "from migsim.server.launch import console; console()"]
MORE = pytest.mark.skipif(
    "MIGSIM_LIVE" not in os.environ, reason="set MIGSIM_LIVE=all for the long ones"
)
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def shape(found):
    return [row if not str(row[0]).endswith(FREE) else row[:3] for row in found]


@pytest.mark.parametrize("text", LINES)
def test_sections_of_a_command_line(qemu, tmp_path, text):
    words = [word for word in shlex.split(text) if word != "-nodefaults"]
    source = qemu(*words, "-S", bare="-nodefaults" in text)
    source("migrate", uri=f"file:{tmp_path}/real")
    assert source.migration("completed", "failed")["status"] == "completed", source.log
    source.stop()
    real, ours = sections(tmp_path / "real"), save(text, tmp_path / "ours")
    assert shape(rows(ours)) == shape(rows(real))
    for one, other in zip(ours, real, strict=True):
        if not one.name.endswith(FREE):
            assert one.entry == other.entry


def wait(done: Callable[[], bool], limit_s: float = 90) -> None:
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


class Side:
    """One end of a migration: a program with the guest's disk and serial port."""

    def __init__(self, qemu, folder: Path, name: str, ours: bool, machine: str, *more: str) -> None:
        self._serial = folder / f"{name}.serial"
        words = ["-machine", machine, "-m", "150M", "-serial", f"file:{self._serial}"]
        words += ["-drive", f"if=none,id=d0,file={folder}/boot,format=raw"]
        words += ["-device", "ide-hd,drive=d0,secs=1,cyls=1,heads=1", *more]
        program = [*MIGSIM, "-allow-exec"] if ours else None
        self.run = qemu(*words, program=program, timeout_s=90)
        self._folder = folder

    def printed(self) -> str:
        return self._serial.read_text()

    def counters(self) -> bytes:
        path = self._folder / "memory"
        self.run("pmemsave", val=1 << 20, size=99 << 20, filename=str(path))
        return path.read_bytes()[::4096]


def check_order(counters: bytes) -> None:
    """The guest has counted in ascending order and lost nothing."""
    first = counters[0]
    same = len(counters) - len(counters.lstrip(bytes((first,))))
    assert counters[same:] == bytes(((first - 1) % 256,)) * (len(counters) - same)


CASES = [
    ("migsim", "qemu", "q35,accel=tcg", "unix"),
    ("qemu", "migsim", "q35,accel=tcg", "tcp"),
    *(
        pytest.param(case, marks=MORE)
        for case in (
            ("migsim", "qemu", "pc,accel=tcg", "file"),
            ("qemu", "migsim", "pc,accel=tcg", "exec"),
            ("migsim", "qemu", "q35,accel=tcg", "exec"),
            ("qemu", "migsim", "q35,accel=tcg", "file"),
            ("migsim", "qemu", "q35,accel=kvm", "tcp"),
        )
        if KVM or "kvm" not in case[2]
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_a_counting_guest_goes_on_on_the_other_side(qemu, tmp_path, case):
    source, target, machine, kind = case
    (tmp_path / "boot").write_bytes(counting_image())
    one = Side(qemu, tmp_path, "source", source == "migsim", machine)
    wait(lambda: "B" in one.printed())
    two = Side(qemu, tmp_path, "target", target == "migsim", machine, "-incoming", "defer")
    away, here = {
        "unix": (f"unix:{tmp_path}/m",) * 2,
        "tcp": ("", "tcp:127.0.0.1:0"),
        "file": (f"file:{tmp_path}/state",) * 2,
        "exec": (f"exec:cat > {tmp_path}/state", f"exec:cat {tmp_path}/state"),
    }[kind]
    one.run("migrate-set-parameters", max_bandwidth=10**9, downtime_limit=30_000)
    if kind in ("unix", "tcp"):
        two.run("migrate-incoming", uri=here, exit_on_error=False)
        if kind == "tcp":
            bound = two.run("query-migrate")["socket-address"][0]
            away = f"tcp:{bound['host']}:{bound['port']}"
    one.run("migrate", uri=away)
    assert one.run.migration("completed", "failed")["status"] == "completed", one.run.log
    if kind not in ("unix", "tcp"):
        two.run("migrate-incoming", uri=here, exit_on_error=False)
    assert two.run.migration("completed", "failed")["status"] == "completed", two.run.log
    wait(lambda: two.printed().count("B") >= 2)
    assert set(two.printed()) == {"B"}
    two.run("stop")
    if target == "qemu":
        check_order(two.counters())
