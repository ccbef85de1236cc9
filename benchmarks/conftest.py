"""The fixture that measures a reference beside each benchmark, and the table at the end.

A rate on a shared machine says little by itself.  So the reference runs once before every round
of the benchmark, in the same process, and the ratio of the medians is what to look at.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.reference import SMALL, Line, Reference

_LINES = pytest.StashKey[list[Line]]()
_MEMORY = Path("/dev/shm")
_REFERENCE_ROUNDS = 5  # at least


class Against:
    """Runs a benchmark and its reference by turns."""

    def __init__(self, benchmark, lines: list[Line]) -> None:
        self._benchmark = benchmark
        self._lines = lines

    def __call__(
        self,
        reference: Reference,
        function: Callable[..., object],
        *,
        size: int,
        setup: Callable[[], tuple[tuple[object, ...], dict[str, object]]] | None = None,
        rounds: int = 9,
    ) -> object:
        """Benchmark ``function``, which deals with ``size`` bytes; return what it returned last.

        ``setup`` makes new arguments before every round, which is not timed.
        """
        bench = self._benchmark
        rounds = min(rounds, 2) if SMALL else rounds
        beside: list[float] = []

        def by_turns():
            beside.append(reference.seconds())
            return setup() if setup is not None else ((), {})

        reference.run()
        warm_up = min(rounds - 1, 1)
        result = bench.pedantic(function, setup=by_turns, rounds=rounds, warmup_rounds=warm_up)
        while len(beside) < (1 if SMALL else _REFERENCE_ROUNDS):
            beside.append(reference.seconds())
        seconds = bench.stats.stats.median
        line = Line(
            group=bench.group,
            name=bench.name.removeprefix("test_"),
            seconds=seconds,
            rate=size / seconds,
            reference=reference.name,
            reference_rate=reference.size / statistics.median(beside),
        )
        bench.extra_info.update(
            rate=line.rate,
            reference=line.reference,
            reference_rate=line.reference_rate,
            ratio=line.ratio,
        )
        self._lines.append(line)
        return result


@pytest.fixture
def against(benchmark, request) -> Against:
    return Against(benchmark, request.config.stash.setdefault(_LINES, []))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, so that no disk is measured."""
    where = str(_MEMORY) if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="migsim-bench-", dir=where) as name:
        yield Path(name)


def pytest_terminal_summary(terminalreporter, config) -> None:
    lines = config.stash.get(_LINES, [])
    if not lines:
        return
    terminalreporter.section("ratios to a reference measured in the same run")
    for line in lines:
        terminalreporter.write_line(
            f"{line.group:<18} {line.name:<34} {_time(line.seconds):>10}"
            f" {_rate(line.rate):>13} = {line.ratio:>9.3g} x {line.reference}"
            f" ({_rate(line.reference_rate)})"
        )


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _rate(per_s: float) -> str:
    """Return bytes per second; what counts whole runs instead has far smaller numbers."""
    return f"{per_s / (1 << 30):.3g} GiB/s" if per_s > 1e6 else f"{per_s:.0f} runs/s"
