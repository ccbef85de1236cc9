"""What the machine itself can do: nothing of migsim's in here but the numbers' names."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.versus_qemu.ram import MIB, fresh

_MADV_POPULATE_READ = 22


def limits(ram: Path, folder: Path) -> dict[str, Callable[[], float]]:
    """Return functions that do something once and return the seconds, by what they do."""
    size = ram.stat().st_size
    out = folder / "limit"
    fd = os.open(ram, os.O_RDONLY)
    mapping = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    mapping.madvise(_MADV_POPULATE_READ)
    view = memoryview(mapping)
    source = np.frombuffer(mapping, np.uint8)
    piece = np.empty(min(256 * MIB, size), np.uint8)
    piece[:] = 1

    def timed(run: Callable[[], None]) -> Callable[[], float]:
        def once() -> float:
            fresh(out)
            began = time.perf_counter()
            run()
            took = time.perf_counter() - began
            fresh(out)
            return took

        return once

    def write(step: int) -> Callable[[], None]:
        def run() -> None:
            target = os.open(out, os.O_RDWR | os.O_CREAT)
            for at in range(0, size, step):
                os.write(target, view[at : at + step])
            os.close(target)

        return run

    def copy_range() -> None:
        target, at = os.open(out, os.O_RDWR | os.O_CREAT), 0
        while at < size:
            at += os.copy_file_range(fd, target, min(size - at, 64 * MIB), at, at)
        os.close(target)

    def memcpy() -> None:
        for at in range(0, size, piece.size):
            part = source[at : at + piece.size]
            np.copyto(piece[: part.size], part)

    def scan() -> None:
        words = source.view(np.uint64)
        for at in range(0, words.size, MIB // 8):
            words[at : at + MIB // 8].max()

    return {
        "write 1 MiB": timed(write(MIB)),
        "write 16 MiB": timed(write(16 * MIB)),
        "copy_file_range": timed(copy_range),
        "memcpy": timed(memcpy),
        "scan": timed(scan),
    }
