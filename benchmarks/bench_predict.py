"""Predictions: a million configurations by the fluid model, a 16 GiB guest page by page."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.reference import SMALL
from migsim.predict.exact import predict_exact
from migsim.predict.fluid import solve
from migsim.predict.hostmodel import REFERENCE
from migsim.predict.inputs import Inputs, Pattern
from migsim.predict.table import table_of

MIB = 1 << 20


def guest(rng):
    pages = 1 << 18
    size = int(pages * rng.uniform(0.01, 0.5))
    bandwidth = int(rng.integers(32, 256)) * MIB
    return Inputs(
        ram_bytes=pages * 4096,
        nonzero_ranges=((0, int(pages * rng.uniform(0.1, 1))),),
        working_set=(0, size),
        rate_pages_per_s=float(rng.uniform(0, 1.5)) * bandwidth / 4096,
        pattern=Pattern(str(rng.choice(["seq", "random", "hotcold"]))),
        max_bandwidth=bandwidth,
        time_limit_s=60.0,
    )


@pytest.mark.benchmark(timer=time.process_time)
def test_fluid_predictions(benchmark):
    """A tenth of a million, in processor time: two seconds are twenty a million on one core."""
    rng = np.random.default_rng(1)
    table = table_of([guest(rng) for _ in range(1000)], REFERENCE).repeated(100)
    benchmark.pedantic(solve, (table,), rounds=3, iterations=1)
    assert SMALL or benchmark.stats.stats.min < 2.0


@pytest.mark.benchmark(timer=time.process_time)
def test_exact_16_gib(benchmark):
    inputs = Inputs(
        ram_bytes=16384 * MIB,
        nonzero_ranges=((0, 3 << 20),),
        working_set=(1 << 20, 1 << 18),
        rate_pages_per_s=8000.0,
        max_bandwidth=512 * MIB,
    )
    answer = benchmark.pedantic(predict_exact, (inputs,), rounds=3, iterations=1)
    assert answer.converges
    assert SMALL or benchmark.stats.stats.min < 2.0
