"""The scan for zero pages over 256 MiB; rates are bytes of RAM per second."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reference import MIB, memcpy, scaled
from migsim.ram.pages import zero_page_mask

pytestmark = pytest.mark.benchmark(group="zero-page scan")

SIZE = scaled(256 * MIB, 4 * MIB)


@pytest.mark.parametrize("kind", ["all_zero", "every_other_page", "every_other_mib", "random"])
def test_scan(against, kind):
    ram = np.zeros(SIZE, np.uint8)
    ram[:] = 0  # a page that was never written is not in memory
    pages = ram.reshape(-1, 4096)
    expected = {
        "all_zero": np.ones(len(pages), np.bool_),
        "every_other_page": np.arange(len(pages)) % 2 == 0,
        "every_other_mib": np.arange(len(pages)) // 256 % 2 == 0,
        "random": np.zeros(len(pages), np.bool_),
    }[kind]
    pages[~expected] = np.random.default_rng(0).integers(1, 256, 4096, np.uint8)
    mask = against(memcpy(SIZE), lambda: zero_page_mask(pages), size=SIZE)
    assert np.array_equal(mask, expected)
