"""Errors of predictions, run by run and summed up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from migsim.predict.table import window_pages

BADLY_WRONG = 0.25


@dataclass(frozen=True)
class Error:
    """How one prediction differs from one run; None where a quantity cannot be compared."""

    run: object
    prediction: object
    verdict: bool
    total: float | None = None
    transferred: float | None = None
    passes: int | None = None
    downtime_ms: float | None = None


def error_of(run, prediction):
    verdict = run.completed == prediction.converges
    if not (run.completed and prediction.converges):
        return Error(run, prediction, verdict)
    return Error(
        run,
        prediction,
        verdict,
        prediction.total_time_ms / max(1, run.outcome["total_time"]) - 1,
        prediction.transferred_bytes / run.transferred - 1,
        prediction.dirty_sync_count - run.passes,
        prediction.downtime_ms - run.outcome["downtime"],
    )


@dataclass(frozen=True)
class Summary:
    n: int
    verdicts: float
    badly: float
    total: tuple[float, float]
    transferred: tuple[float, float]
    passes: float
    downtime: tuple[float, float]
    downtime_allowed: float


def summary(errors):
    """Return medians and 90th percentiles over ``errors``; None when there are none."""
    if not errors:
        return None
    timed = [e for e in errors if e.total is not None]
    badly = sum(
        not e.verdict or (e.total is not None and abs(e.total) > BADLY_WRONG) for e in errors
    )

    def two(values):
        if not values:
            return (float("nan"), float("nan"))
        return (float(np.median(values)), float(np.quantile(values, 0.9)))

    allowed = [abs(e.downtime_ms) <= max(25, 0.25 * e.run.outcome["downtime"]) for e in timed]
    return Summary(
        len(errors),
        sum(e.verdict for e in errors) / len(errors),
        badly / len(errors),
        two([abs(e.total) for e in timed]),
        two([abs(e.transferred) for e in timed]),
        sum(abs(e.passes) <= 1 for e in timed) / max(1, len(timed)),
        two([abs(e.downtime_ms) for e in timed]),
        sum(allowed) / max(1, len(allowed)),
    )


def windows(run):
    """Return (steps, steps that are exactly one full window, most common step is a window).

    A step is what the counter of normal pages moved by between two changes seen by the poll, in
    pass 1 and between non-zero pages; a poll that falls inside a window cuts it in two.
    """
    if not run.config["max_bandwidth"] or run.config["link_bandwidth"]:
        return 0, 0, None
    rows = [r for r in run.trajectory if r["status"] == "active" and r["sync_count"] == 1]
    steps = [
        b["normal"] - a["normal"]
        for a, b in pairwise(rows)
        if b["normal"] > a["normal"] and b["duplicate"] - a["duplicate"] < 64
    ]
    if len(steps) < 3:
        return 0, 0, None
    want = window_pages(run.inputs)
    joined = _joined(steps, want)
    common = Counter(steps).most_common(1)[0][0]
    return len(joined), sum(step == want for step in joined), common == want


def _joined(steps, want):
    """Put together neighbouring steps that make one window: a poll fell inside it."""
    out = []
    for step in steps:
        if out and out[-1] < want and out[-1] + step <= want:
            out[-1] += step
        else:
            out.append(step)
    return out
