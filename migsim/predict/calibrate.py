"""Measure this host's constants: with a real QEMU where there is one, with small loops otherwise.

With QEMU, stopped guests without a system are migrated: one of zero pages and one of filled ones,
into a file and to a second QEMU.  What differs between two sizes is the cost per page, what is left
the fixed part.  Without QEMU, memory and sockets are timed.
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

from ..ram.pages import zero_page_mask
from ..units import MIB, PAGE_SIZE
from .hostmodel import REFERENCE, HostModel
from .qemuruns import MeasuredSave, measure_file_save, measure_socket_save

PAGES: Final = 1 << 16
"""Pages of a measured guest: 256 MiB."""
NAPS: Final = 40
REPEATS: Final = 3


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
    with tempfile.TemporaryDirectory(prefix="migsim-", dir=directory) as work:
        root = Path(work)
        file = _medians(lambda fill: measure_file_save(binary, root, PAGES, fill))
        mapped = measure_file_save(binary, root, PAGES, 1.0, mapped_ram=True)
        live = _medians(lambda fill: measure_socket_save(binary, root, PAGES, fill))
    empty_file, full_file, version = file
    empty_live, full_live, _ = live
    zero_file = empty_file / PAGES
    return REFERENCE.updated(
        name=f"{os.uname().nodename}: QEMU {version}",
        socket_page_s=full_live / PAGES,
        multifd_page_s=full_live / PAGES,
        stopped_page_s=full_live / PAGES,
        file_page_s=full_file / PAGES,
        mapped_page_s=mapped.seconds / PAGES,
        file_zero_page_s=zero_file,
        multifd_zero_page_s=empty_live / PAGES / 1.4,
        socket_zero_page_s=empty_live / PAGES,
        wake_late_s=late,
    )


def _medians(measure: object) -> tuple[float, float, str]:
    """Return seconds of an empty and of a filled guest, and the version of QEMU."""
    assert callable(measure)
    runs: dict[float, list[MeasuredSave]] = {
        fill: [measure(fill) for _ in range(REPEATS)] for fill in (0.0, 1.0)
    }
    empty, full = (float(np.median([run.seconds for run in runs[fill]])) for fill in (0.0, 1.0))
    return empty, full, runs[0.0][0].version
