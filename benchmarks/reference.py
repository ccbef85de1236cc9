"""What benchmarks are compared with: the same machine, the same run, nothing of migsim's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MIB = 1 << 20
GIB = 1 << 30

SMALL = bool(os.environ.get("MIGSIM_BENCH_SMALL"))
"""Whether benchmarks only show that they still run: small, once or twice, held to no time."""


def scaled(full: int, small: int) -> int:
    """Return the size of a benchmark: ``full``, or ``small`` where it only has to run."""
    return small if SMALL else full


@dataclass(frozen=True)
class Reference:
    """Something to compare with.

    Attributes:
        name: what it is.
        size: what it deals with in one run, in the unit of the benchmark beside it (bytes).
        run: does it once.
    """

    name: str
    size: int
    run: Callable[[], object]

    def seconds(self) -> float:
        """Do it once and return how long that took."""
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start


@dataclass(frozen=True)
class Line:
    """One line of the table of ratios: rates are medians, in bytes per second."""

    group: str
    name: str
    seconds: float
    rate: float
    reference: str
    reference_rate: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference."""
        return self.rate / self.reference_rate


def memcpy(size_bytes: int) -> Reference:
    """Copying one array into another that has been written before."""
    source, target = np.ones(size_bytes, np.uint8), np.ones(size_bytes, np.uint8)
    return Reference("memcpy", size_bytes, lambda: np.copyto(target, source))


def raw_write(path: Path, size_bytes: int) -> Reference:
    """Writing a new file, one MiB a call."""
    data = np.ones(size_bytes, np.uint8)

    def run() -> None:
        path.unlink(missing_ok=True)
        with path.open("wb", buffering=0) as file:
            for at in range(0, size_bytes, MIB):
                file.write(data[at : at + MIB].data)

    return Reference("raw write", size_bytes, run)


def raw_read(path: Path, size_bytes: int) -> Reference:
    """Reading a file that exists, 128 KiB a call, as ``cat FILE > /dev/null`` does."""
    buffer = memoryview(bytearray(MIB // 8))

    def run() -> None:
        with path.open("rb", buffering=0) as reader:
            while reader.readinto(buffer):
                pass

    return Reference("raw read", size_bytes, run)


def raw_copy(folder: Path, size_bytes: int) -> Reference:
    """Reading a file and writing a new one, one MiB a call, through one buffer."""
    source, target = folder / "raw-source", folder / "raw-target"
    source.write_bytes(np.ones(size_bytes, np.uint8).data)
    buffer = memoryview(bytearray(MIB))

    def run() -> None:
        target.unlink(missing_ok=True)
        with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
            while size := reader.readinto(buffer):
                writer.write(buffer[:size])

    return Reference("raw copy", size_bytes, run)
