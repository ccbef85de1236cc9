"""How quick the front-end is, beside a real QEMU in the same run.

    PYTHONPATH=.:tests python benchmarks/frontend.py [--repeat N] [--count N]

Prints one line a figure: milliseconds to the greeting, round trips a second, seconds for the
sweep over guest memory that ends an outside case, memory and answers of many machines.  The
programs take turns; the best of the repeats counts, as other work on the host only makes it worse.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conformance.ladder.guestmem import sweep
from conformance.ladder.image import boot_image
from conformance.ladder.play import DEFAULT
from conformance.ladder.program import Instance, find_program, launch

QEMU = "qemu-system-x86_64"
_NONE = ("-nodefaults", "-machine", "none")
_ROUND_TRIPS = 5000
_GUEST = ("-accel", "tcg", "-machine", "q35", "-nodefaults", "-m", "150M")


def greeting_s(command: str, folder: Path) -> float:
    """Return the time from the start to the greeting, of a program that listens."""
    path = folder / "greeting"
    begin = time.perf_counter()
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            f"exec {command} -nodefaults -display none -machine none"
            f" -qmp unix:{path},server=on,wait=off",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        with socket.socket(socket.AF_UNIX) as client:
            while True:
                with contextlib.suppress(OSError):
                    client.connect(str(path))
                    break
                time.sleep(0.001)
            client.recv(4096)
            return time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait()


def connecting_s(command: str, folder: Path) -> float:
    """Return the time of a whole probe of the outside client: start, questions, SIGTERM."""
    begin = time.perf_counter()
    with launch(find_program(command), folder, "probe", ["-machine", "none"]) as probe:
        probe.qmp.ok("qom-list-types", implements="accel", abstract=False)
        probe.quit()
        assert probe.process.stdout is not None
        probe.process.stdout.close()
    return time.perf_counter() - begin


def _instance(command: str, folder: Path, *options: str) -> Instance:
    return launch(find_program(command), folder, "bench", options)


def round_trip_s(command: str, folder: Path) -> float:
    """Return the time of one ``query-status``."""
    with _instance(command, folder, *_NONE) as program:
        begin = time.perf_counter()
        for _ in range(_ROUND_TRIPS):
            program.qmp.ok("query-status")
        spent = (time.perf_counter() - begin) / _ROUND_TRIPS
        program.quit()
    return spent


def sweep_s(command: str, folder: Path) -> float:
    """Return the time of the sweep over 25,344 pages, one byte and one reply after the other."""
    image = folder / "image"
    image.write_bytes(boot_image())
    drive = ("-drive", f"if=none,id=d,file={image},format=raw", "-device", "ide-hd,drive=d")
    with _instance(command, folder, *_GUEST, *drive) as program:
        program.qmp.ok("stop")
        begin = time.perf_counter()
        sweep(program, sequential=True)
        spent = time.perf_counter() - begin
        program.quit()
    return spent


FIGURES: tuple[tuple[str, str, float, Callable[[str, Path], float]], ...] = (
    # What, unit, units a second, how.
    ("start to greeting", "ms", 1e3, greeting_s),
    ("a whole probe", "ms", 1e3, connecting_s),
    ("query-status", "us", 1e6, round_trip_s),
    ("sweep of 25,344 bytes", "s", 1.0, sweep_s),
)


@contextlib.contextmanager
def _farm(folder: Path, count: int) -> Iterator[subprocess.Popen[bytes]]:
    words = ["serve", "--count", str(count), "--dir", str(folder), "--"]
    process = subprocess.Popen(
        [sys.executable, "-m", "migsim", *words, "-machine", "none", "-m", "256M"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.communicate()


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def many(folder: Path, count: int) -> None:
    """Print what ``count`` machines in one process cost, and how soon all of them answer."""
    with _farm(folder / "one", 1) as process:
        alone = _resident_bytes(process.pid)
    with _farm(folder / "all", count) as process:
        each = (_resident_bytes(process.pid) - alone) / count
        begin = time.perf_counter()
        clients = [_asked(folder / "all" / f"{n}.qmp") for n in range(count)]
        for client in clients:
            _answered(client)
        spent = time.perf_counter() - begin
        answered = _resident_bytes(process.pid)
        for client in clients:
            client.close()
    total = answered / count
    print(
        f"{count} machines: {each / 1024:.0f} KiB each, {total / 1024:.0f} KiB with all that they"
        f" share, all answer in {spent:.2f} s"
    )


def _asked(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-status","id":1}')
    return client


def _answered(client: socket.socket) -> None:
    data = b""
    while b'"id": 1' not in data:
        piece = client.recv(4096)
        assert piece, data
        data += piece
    assert json.loads(data.splitlines()[-1])["return"]["status"] == "running"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    reference = shutil.which(QEMU)
    for what, unit, per_s, measure in FIGURES:
        if args.only not in what:
            continue
        ours, theirs = [], []
        for _ in range(args.repeat):
            with tempfile.TemporaryDirectory(prefix="fe") as folder:
                ours.append(measure(DEFAULT, Path(folder)))
                if reference:
                    theirs.append(measure(QEMU, Path(folder)))
        line = f"{what}: {min(ours) * per_s:.1f} {unit}"
        if theirs:
            line += f", QEMU {min(theirs) * per_s:.1f}, ratio {min(ours) / min(theirs):.2f}"
        print(f"{line} (median {sorted(ours)[len(ours) // 2] * per_s:.1f})", flush=True)
    if args.only in "many machines":
        with tempfile.TemporaryDirectory(prefix="fe") as folder:
            many(Path(folder), args.count)


if __name__ == "__main__":
    main()
