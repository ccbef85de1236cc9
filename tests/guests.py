"""Generated guests: workloads of a few dozen pages, the same for the same numbers."""

from __future__ import annotations

from hypothesis import strategies as st

from migsim.guest.workloads import HotCold, PageCounter, SequentialSweep, Uniform

PAGES = 64

guests = st.tuples(
    st.sampled_from(["sweep", "uniform", "hot", "counter"]), st.floats(1, 9e3), st.integers(0, 99)
)


def workload(kind: str, rate: float, seed: int):
    """Return a new guest; equal arguments, equal writes."""
    last = PAGES - 1
    match kind:
        case "sweep":
            return SequentialSweep(1, last, rate_pages_per_s=rate)
        case "uniform":
            return Uniform(0, last, rate_pages_per_s=rate, seed=seed)
        case "hot":
            return HotCold(0, last, hot_pages=9, hot_share=0.9, rate_pages_per_s=rate, seed=seed)
        case _:
            return PageCounter(rate_pages_per_s=rate, first=1, pages=40)
