"""One seed decides everything: random streams split per concern from one root seed."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of the concern named by ``names`` under ``seed``.

    The same seed and names give the same generator in every process and release, and two
    different names give independent ones, so that a new concern never disturbs an old one.
    """
    words = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for name in names:
        digest = hashlib.sha256(repr(name).encode()).digest()
        words.append(int.from_bytes(digest[:4], "little"))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
