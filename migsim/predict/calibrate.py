"""Measure this host's constants: with a real QEMU where there is one, with small loops otherwise.

With QEMU, stopped guests without a system are migrated: one of zero pages and one of filled ones,
into a file and to a second QEMU, and loaded again: these are the costs per page.  Then a small
machine that runs is saved a few times: these are the fixed parts of a migration and of its stop
(the reference's where that QEMU knows no cpr-reboot).  Without QEMU, memory and sockets are timed,
and the fixed parts stay those of the reference.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np

from ..errors import ChannelError
from ..ram.pages import zero_page_mask
from ..units import MIB, PAGE_SIZE
from .fixedparts import FixedParts, measure_fixed_parts
from .hostmodel import REFERENCE, HostModel
from .qemuruns import MeasuredSave, measure_file_save, measure_socket_save

PAGES: Final = 1 << 16
"""Pages of a measured guest: 256 MiB."""
NAPS: Final = 40
REPEATS: Final = 3
FIXED_RUNS: Final = 5
REPEATING_S: Final = 20.0
"""After this long nothing is measured twice, so that a busy host takes no minute either."""


def calibrate(qemu: str | None = None) -> HostModel:
    """Return the constants of this host, measured in under a minute.

    ``qemu`` is the binary to use; None looks for one on the path.

    Raises:
        ChannelError: a QEMU was named and cannot be run.
    """
    binary = qemu or shutil.which("qemu-system-x86_64")
    late = wake_late_s()
    if binary is None:
        return _without_qemu(late)
    return _with_qemu(binary, late)


def wake_late_s() -> float:
    """Return by how much a sleeper wakes up late, in seconds (median)."""
    late = []
    for _ in range(NAPS):
        begin = time.perf_counter()
        time.sleep(0.005)
        late.append(time.perf_counter() - begin - 0.005)
    return float(np.median(late))


def zero_scan_s() -> float:
    """Return the seconds that finding one page to be zero takes."""
    pages = np.zeros((PAGES // 4, PAGE_SIZE), np.uint8)
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        zero_page_mask(pages)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) / len(pages)


def socket_page_s() -> float:
    """Return the seconds that sending one page over a unix socket takes."""
    left, right = socket.socketpair()
    total = 64 * MIB
    chunk = bytes(32 * (PAGE_SIZE + 8))

    def drain() -> None:
        buffer = bytearray(1 << 20)
        while right.recv_into(buffer):
            pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    begin = time.perf_counter()
    for _ in range(total // len(chunk)):
        left.sendall(chunk)
    left.close()
    reader.join()
    right.close()
    return (time.perf_counter() - begin) / (total / PAGE_SIZE)


def file_page_s(directory: Path) -> float:
    """Return the seconds that writing one page into a file in ``directory`` takes."""
    chunk = bytes(range(256)) * (32 * PAGE_SIZE // 256)
    total = 64 * MIB
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        begin = time.perf_counter()
        for _ in range(total // len(chunk)):
            file.write(chunk)
        return (time.perf_counter() - begin) / (total / PAGE_SIZE)


def _memory_directory() -> Path:
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def _without_qemu(late: float) -> HostModel:
    zero, sent, written = zero_scan_s(), socket_page_s(), file_page_s(_memory_directory())
    return REFERENCE.updated(
        name=f"{os.uname().nodename}: memory and sockets, without QEMU",
        socket_page_s=zero + sent,
        file_page_s=zero + written,
        mapped_page_s=zero + written,
        multifd_page_s=zero + sent,
        stopped_page_s=zero + sent,
        socket_zero_page_s=2 * zero,
        file_zero_page_s=zero,
        multifd_zero_page_s=zero,
        wake_late_s=late,
    )


def _with_qemu(binary: str, late: float) -> HostModel:
    directory = _memory_directory()
    deadline = time.monotonic() + REPEATING_S
    with tempfile.TemporaryDirectory(prefix="migsim-", dir=directory) as work:
        root = Path(work)

        def median(fill: float, *capabilities: str, live: bool = False) -> MeasuredSave:
            how = measure_socket_save if live else measure_file_save
            runs: list[MeasuredSave] = []
            while not runs or (len(runs) < REPEATS and time.monotonic() < deadline):
                runs.append(how(binary, root, PAGES, fill, capabilities))
            return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]

        empty, full = median(0.0), median(1.0)
        mapped = median(1.0, "mapped-ram")
        zero_live, full_live = median(0.0, live=True), median(1.0, live=True)
        zero_multi = median(0.0, "multifd", live=True)
        full_multi = median(1.0, "multifd", live=True)
        try:
            fixed = measure_fixed_parts(binary, root, FIXED_RUNS)
        except ChannelError:
            fixed = FixedParts(
                REFERENCE.setup_s, REFERENCE.stop_s, REFERENCE.device_s, REFERENCE.cpr_fixed_s
            )

    def page_s(run: MeasuredSave) -> float:
        return max(0.0, run.seconds - fixed.stopped_first_s) / PAGES

    return REFERENCE.updated(
        name=f"{os.uname().nodename}: QEMU {empty.version}",
        socket_page_s=page_s(full_live),
        multifd_page_s=page_s(full_multi),
        stopped_page_s=page_s(full_live),
        file_page_s=page_s(full),
        mapped_page_s=page_s(mapped),
        file_zero_page_s=page_s(empty),
        socket_zero_page_s=page_s(zero_live),
        multifd_zero_page_s=page_s(zero_multi),
        wake_late_s=late,
        setup_s=fixed.setup_s,
        stop_s=fixed.stop_s,
        device_s=fixed.device_s,
        cpr_fixed_s=fixed.stopped_first_s,
        load_page_s=full.load_s / PAGES,
        load_zero_page_s=empty.load_s / PAGES,
    )
