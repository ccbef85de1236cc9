"""RAM, what is in it, and who writes to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from hypothesis import strategies as st

from ...guest.page_counter import PageCounter
from ...guest.workloads import HotCold, Idle, SequentialSweep, TraceReplay, Uniform
from ...ram.backends import BackendKind, BackendSpec
from ...units import PAGE_SIZE

if TYPE_CHECKING:
    from ...guest.workload import Workload
    from ...ram.block import RAMBlock

WorkloadKind = Literal["idle", "sweep", "uniform", "hot", "counter", "sleeper", "trace"]

KINDS: Final[tuple[WorkloadKind, ...]] = (
    "idle", "sweep", "uniform", "hot", "counter", "sleeper", "trace",
)  # fmt: skip
_SIZES: Final = (1, 2, 63, 64, 65, 127, 128, 129)
"""Numbers of pages around the words of a bitmap and one flush of the stream."""


@dataclass(frozen=True, slots=True)
class WorkloadPlan:
    """A workload before it is made: every `make` returns one that writes the same.

    Attributes:
        kind: which; ``sleeper`` is a page counter that suspends itself.
        first, last: page numbers that it keeps to.
        rate_pages_per_s: how fast it writes.
        seed: decides what is random.
        hot_pages: of kind ``hot``: pages that get most of the writes.
        hot_share: of kind ``hot``: their share of the writes, 0 to 1.
    """

    kind: WorkloadKind
    first: int = 0
    last: int = 0
    rate_pages_per_s: float = 1000.0
    seed: int = 0
    hot_pages: int = 1
    hot_share: float = 0.9

    def make(self) -> Workload:
        """Return a new workload at its beginning."""
        first, last, rate = self.first, self.last, self.rate_pages_per_s
        match self.kind:
            case "idle":
                return Idle()
            case "sweep":
                return SequentialSweep(first, last, rate_pages_per_s=rate)
            case "uniform":
                return Uniform(first, last, rate_pages_per_s=rate, seed=self.seed)
            case "hot":
                return HotCold(
                    first, last, hot_pages=self.hot_pages, hot_share=self.hot_share,
                    rate_pages_per_s=rate, seed=self.seed,
                )  # fmt: skip
            case "counter" | "sleeper":
                return PageCounter(
                    rate_pages_per_s=rate, first=first, pages=last - first + 1,
                    suspends=self.kind == "sleeper",
                )  # fmt: skip
            case "trace":
                return TraceReplay(
                    [0.0, 0.5 / rate, 2 / rate], [first, last, first], period_s=3 / rate
                )


@st.composite
def workload_plans(
    draw: st.DrawFn,
    pages: int,
    *,
    first: int = 0,
    kinds: tuple[WorkloadKind, ...] = KINDS,
    fastest: float = 9000.0,
) -> WorkloadPlan:
    """Return a workload that writes to pages ``first`` to ``pages - 1``; shrinks to the first kind.

    ``fastest`` limits its page writes per second.
    """
    kind = draw(st.sampled_from(kinds))
    if kind == "idle":
        return WorkloadPlan("idle")
    low = draw(st.integers(first, pages - 1))
    size = draw(st.integers(1, pages - low))
    if kind == "hot" and size == 1:
        kind = "uniform"  # nothing would be cold
    return WorkloadPlan(
        kind,
        low,
        low + size - 1,
        draw(st.floats(1, fastest)),
        draw(st.integers(0, (1 << 64) - 1)),
        draw(st.integers(1, max(1, size - 1))),
        draw(st.floats(0, 1)),
    )


@dataclass(frozen=True, slots=True)
class Content:
    """What lies in RAM before anything runs: runs of pages of one byte or of random ones.

    Attributes:
        runs: first page, number of pages, and the byte, or None for random bytes.
        seed: decides the random ones.
    """

    runs: tuple[tuple[int, int, int | None], ...] = ()
    seed: int = 0

    def put_into(self, block: RAMBlock) -> None:
        """Write the content to ``block``; what lies beyond its end is left out."""
        view = block.view()
        generator = np.random.default_rng(self.seed)
        for first, count, byte in self.runs:
            part = view[first : first + count]
            part[:] = generator.integers(0, 256, part.shape, np.uint8) if byte is None else byte


@st.composite
def contents(draw: st.DrawFn, pages: int) -> Content:
    """Return the content of ``pages`` pages: zeroes, patterns, noise, the last page too."""
    run = st.tuples(
        st.integers(0, pages - 1), st.integers(1, pages), st.sampled_from([1, 0, 255, None])
    )
    runs = draw(st.lists(run, max_size=3))
    if draw(st.booleans()):
        runs.append((pages - 1, 1, 1))
    return Content(tuple(runs), draw(st.integers(0, 99)))


@st.composite
def ram_layouts(
    draw: st.DrawFn,
    *,
    most: int = 3,
    kinds: tuple[BackendKind, ...] = (BackendKind.RAM, BackendKind.MEMFD),
) -> tuple[BackendSpec, ...]:
    """Return one to ``most`` backends of a few pages each, ids ``ram0``, ``ram1``, ..."""
    pages = draw(st.lists(st.sampled_from(_SIZES), min_size=1, max_size=most))
    return tuple(
        BackendSpec(draw(st.sampled_from(kinds)), f"ram{n}", count * PAGE_SIZE)
        for n, count in enumerate(pages)
    )


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """One guest: how much RAM, what is in it, who writes to it."""

    pages: int
    content: Content = field(default_factory=Content)
    workload: WorkloadPlan = field(default_factory=lambda: WorkloadPlan("idle"))


@st.composite
def guest_plans(
    draw: st.DrawFn,
    pages: st.SearchStrategy[int] | None = None,
    kinds: tuple[WorkloadKind, ...] = KINDS,
) -> GuestPlan:
    """Return a guest of a few dozen pages, or of as many as ``pages`` draws."""
    count = draw(st.sampled_from(_SIZES) if pages is None else pages)
    return GuestPlan(count, draw(contents(count)), draw(workload_plans(count, kinds=kinds)))
