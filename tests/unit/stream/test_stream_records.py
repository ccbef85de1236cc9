"""Page records as bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from migsim.errors import ConfigError
from migsim.stream import encode_pages, records_bytes


def slow(name, pfns, data, mask):
    out = b""
    for index, (pfn, row, zero) in enumerate(zip(pfns.tolist(), data, mask, strict=True)):
        named = name is not None and index == 0
        out += struct.pack(">Q", pfn << 12 | (2 if zero else 8) | (0 if named else 0x20))
        if named:
            out += bytes((len(name),)) + name.encode()
        out += b"\0" if zero else row.tobytes()
    return out


@pytest.mark.parametrize("name", [None, "r", "ram0", "n" * 255])
@pytest.mark.parametrize(
    "pattern", ["z", "n", "zn", "nz", "zzz", "nnn", "znzn", "nznz", "zzznnnz", "nnnzzzn", ""]
)
def test_records_as_one_would_write_them(name, pattern):
    mask = np.array([letter == "z" for letter in pattern], bool)
    generator = np.random.default_rng(7)
    data = generator.integers(0, 256, (mask.size, 4096), np.uint8)
    pfns = generator.integers(0, 1 << 40, mask.size)
    records = encode_pages(name, pfns, data, mask)
    assert records.tobytes() == slow(name, pfns, data, mask)
    assert records.size == records_bytes(name, mask)


def test_rows_may_be_a_strided_view():
    backing = np.random.default_rng(1).integers(0, 256, (6, 4104), np.uint8)
    data = backing[::2, 8:]
    for mask in (np.zeros(3, bool), np.array([False, True, False])):
        records = encode_pages(None, np.arange(3), data, mask)
        assert records.tobytes() == slow(None, np.arange(3), data, mask)


@pytest.mark.parametrize("name", ["", "n" * 256])
def test_names_that_have_no_place(name):
    with pytest.raises(ConfigError):
        encode_pages(name, np.arange(1), np.zeros((1, 4096), np.uint8), np.ones(1, bool))
