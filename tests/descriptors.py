"""Descriptors of this process that a piece of code left open.

Only what was *opened* since the snapshot counts. Other tests of the same process leave garbage
whose descriptors close whenever the collector runs: comparing numbers blames the wrong code.
"""

from __future__ import annotations

import os

Descriptors = dict[int, tuple[str, int]]


def open_descriptors() -> Descriptors:
    """Every open descriptor: its number, and what it refers to (path or kind, inode number)."""
    found: Descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = (os.readlink(f"/proc/self/fd/{name}"), os.fstat(int(name)).st_ino)
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def opened_since(before: Descriptors) -> Descriptors:
    """The descriptors that are open now and were not, or referred to something else, before."""
    return {
        number: what for number, what in open_descriptors().items() if before.get(number) != what
    }
