"""Every stream cut off everywhere: ``python -m fuzzing.cuts``.

Each recorded stream is cut at every byte of its first and last 64 KiB and at 1,000 places between.
A cut has to be found where it is: the error's place lies behind everything that was read and not
behind the cut, and where the error tells how many bytes were left, they reach to the cut.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from fuzzing.cases import Base, load
from state_files import MANIFEST

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream import EndMarker, PageBatch, open_stream

EDGE = 64 << 10
BETWEEN = 1000
BATCH = 4096
_LEFT = re.compile(r"the end after (\d+) bytes")


def cuts_of(base: Base) -> np.ndarray:
    """Return all lengths that a stream is cut to, from its offset on, ascending."""
    first, size = base.offset, len(base.parts[0])
    head, tail = min(size, first + EDGE), max(first, size - EDGE)
    between = np.random.default_rng(size).integers(head, max(tail, head + 1), BETWEEN)
    cuts = np.unique(np.concatenate((np.arange(first, head), between, np.arange(tail, size))))
    return cuts[cuts < size]


def opened(base: Base, cut: int | None = None):
    raw = memoryview(base.parts[0])[:cut]
    further = base.parts[1 : 1 + base.channels]
    channels = [MemoryInput(channel) for channel in further]
    return open_stream(MemoryInput(raw, offset=base.offset), channels=channels)


def end_marker(base: Base) -> int | None:
    """Return where the end marker is; None in a stream that has none."""
    try:
        for item in opened(base).items():
            if isinstance(item, EndMarker):
                return item.offset
    except StreamError:
        pass
    return None


def wrong_with(base: Base, cut: int, end: int | None) -> str | None:
    """Cut a stream; return what is wrong with how that is found, None if nothing is."""
    seen = base.offset
    try:
        for item in opened(base, cut).items():
            # Pages of other channels and of fixed places lie elsewhere.
            if not isinstance(item, PageBatch):
                seen = item.offset
    except StreamError as error:
        if not seen <= error.offset <= cut:
            return f"between {seen} and {cut}, but {error}"
        left = _LEFT.search(error.found or "")
        if left and error.offset + int(left[1]) != cut:
            return f"{left[1]} bytes in front of {cut}, but {error}"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    # A stream may lack the description, so exactly one cut leaves a whole one.
    return None if end is not None and cut == end + 1 else "no error"


def batch(name: str, first: int, every: int) -> tuple[str, int, int, list[tuple[int, str]]]:
    """Try a number of cuts of one stream; return how many, and what was wrong."""
    base = load(name)
    cuts = cuts_of(base)[first : first + BATCH : every].tolist()
    end = end_marker(base)
    found = ((cut, wrong_with(base, cut, end)) for cut in cuts)
    return name, first, len(cuts), [(cut, text) for cut, text in found if text is not None]


def batches() -> Iterator[tuple[str, int]]:
    for name in MANIFEST:
        for first in range(0, cuts_of(load(name)).size, BATCH):
            yield name, first


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzzing.cuts", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, help="try only each so many-th cut")
    parser.add_argument("--state", type=Path, default=Path(".fuzz"), help="folder for what is done")
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    state = options.state / f"cuts{options.every}.json"
    done = {tuple(key): n for key, n in json.loads(state.read_text())} if state.exists() else {}
    todo = [key for key in batches() if key not in done]
    wrong, begun = 0, time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(batch, name, first, options.every) for name, first in todo]
        for job in jobs:
            name, first, count, found = job.result()
            for cut, text in found:
                print(f"{name} cut to {cut}: {text}", flush=True)
            wrong += len(found)
            if not found:
                done[name, first] = count
                state.write_text(json.dumps(list(done.items())))
    spent = time.monotonic() - begun
    print(f"{sum(done.values())} cuts of {len(MANIFEST)} streams, {wrong} wrong, {spent:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
