"""Guest RAM in a file: how it is filled."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

MIB = 1 << 20
GIB = 1 << 30
FILLS = ("random", "half", "zero", "sparse")


def fill(path: Path, size_bytes: int, kind: str) -> None:
    """Make the file: all random, every other MiB zero, all zero but allocated, or one hole.

    A number from 0 to 100 is the per cent of MiBs that are zero, spread evenly.
    """
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as file:
        if kind == "sparse":
            os.ftruncate(file.fileno(), size_bytes)
            return
        share = {"random": 0, "half": 50, "zero": 100}.get(kind)
        share = int(kind) if share is None else share
        content = np.random.default_rng(7).integers(0, 256, (4, MIB), np.uint8)
        zero = np.zeros(MIB, np.uint8)
        for number in range(size_bytes // MIB):
            is_zero = (number + 1) * share // 100 > number * share // 100
            row = content[number % 4]
            row[:8] = np.array([number], "<u8").view(np.uint8)
            file.write(zero if is_zero else row)


def fresh(path: Path) -> Path:
    """Return ``path`` after taking away what is there."""
    path.unlink(missing_ok=True)
    return path
