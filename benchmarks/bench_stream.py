"""Checking and converting a plain stream of 1 GiB of RAM; rates are file bytes per second."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reference import GIB, MIB, raw_copy, raw_read, scaled
from migsim.channel import FileOutput
from migsim.stream import BlockInfo, OutFile, StreamWriter, open_stream, rewrite

RAM_BYTES = scaled(GIB, 32 * MIB)
PAGES = RAM_BYTES // 4096
BATCH = 4096
ZERO = {
    "none": lambda pfns: np.zeros(pfns.size, bool),
    "every eighth": lambda pfns: pfns % 8 == 5,
    "every other": lambda pfns: pfns % 2 == 1,
}


def write_plain(path, zero: str) -> int:
    """Write a stream whose zero pages lie as ``zero`` says; return its length."""
    content = np.random.default_rng(0).integers(1, 256, (BATCH, 4096), np.uint8)
    channel = FileOutput(path)
    writer = StreamWriter(OutFile(channel))
    writer.header()
    writer.configuration("none")
    writer.ram_setup(1, [BlockInfo("ram0", RAM_BYTES)])
    writer.begin_part(1)
    for first in range(0, PAGES, BATCH):
        pfns = np.arange(first, first + BATCH)
        writer.pages("ram0", pfns, content, ZERO[zero](pfns))
    writer.end_ram_part(1)
    writer.finish()
    channel.close()
    return path.stat().st_size


@pytest.mark.benchmark(group="check 1 GiB")
@pytest.mark.parametrize("zero", ZERO)
def test_check(against, folder, zero):
    path = folder / "state"
    size = write_plain(path, zero)

    def check():
        with open_stream(path) as stream:
            return stream.summary()

    summary = against(raw_read(path, size), check, size=size)
    assert sum(summary.normal_pages.values()) + sum(summary.zero_pages.values()) == PAGES
    path.unlink()


@pytest.mark.benchmark(group="convert 1 GiB to mapped-ram")
@pytest.mark.parametrize("zero", ZERO)
def test_convert(against, folder, zero):
    path, target = folder / "state", folder / "mapped"
    size = write_plain(path, zero)

    def convert():
        target.unlink(missing_ok=True)
        channel = FileOutput(target)
        with open_stream(path) as stream:
            rewrite(stream.items(), StreamWriter(OutFile(channel), mapped_ram=True))
        channel.close()

    against(raw_copy(folder, size), convert, size=size, rounds=5)
    for made in folder.iterdir():
        made.unlink()
