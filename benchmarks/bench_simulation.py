"""Page-exact simulation of large guests; rates are bytes of guest RAM sent per second of wall time.

The reference is memcpy: what a program that moved the bytes could reach at best.
"""

from __future__ import annotations

import pytest

from benchmarks.machines import phantom
from benchmarks.reference import GIB, MIB, SMALL, memcpy
from migsim.channel.counting import CountingOutput

pytestmark = pytest.mark.benchmark(group="simulation")

CASES = {
    "16_gib_at_128_mib_s": (16 * GIB, 12_000.0, 128 * MIB, 9),
    "64_gib_at_10_gib_s": (64 * GIB, 250_000.0, 10 * GIB, 9),
    "64_gib_at_1_gib_s": (64 * GIB, 100_000.0, GIB, 5),
    "1_tib_at_10_gib_s": (1024 * GIB, 220_000.0, 10 * GIB, 1),
    "1_tib_at_1_gib_s": (1024 * GIB, 90_000.0, GIB, 1),
}


@pytest.mark.parametrize("case", list(CASES)[: 1 if SMALL else None])
def test_migrate(against, case):
    size_bytes, writes_per_s, bandwidth, rounds = CASES[case]
    # The simulation is deterministic, so one run tells how much every run sends.
    sent = phantom(size_bytes, writes_per_s, bandwidth).save(CountingOutput())["ram"]
    assert sent["dirty-sync-count"] >= 8
    result = against(
        memcpy(256 * MIB),
        lambda vm: vm.save(CountingOutput()),
        size=sent["normal-bytes"],
        setup=lambda: ((phantom(size_bytes, writes_per_s, bandwidth),), {}),
        rounds=rounds,
    )
    assert result["ram"] == sent
