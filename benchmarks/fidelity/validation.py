"""Cross-validation: constants and intervals are judged on groups that they were not fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from migsim.predict.exact import predict_exact
from migsim.predict.fluid import predict_fluid_many
from migsim.predict.intervals import WIDENINGS, Widening, ranges, widen

from .score import error_of

if TYPE_CHECKING:
    from migsim.predict.hostmodel import HostModel

FITTED = (
    *("socket_zero_page_s", "file_zero_page_s", "multifd_zero_page_s", "wake_late_s"),
    *("socket_page_s", "file_page_s", "mapped_page_s", "multifd_page_s", "stopped_page_s"),
    *("setup_s", "stop_s", "device_s", "cpr_fixed_s"),
)
"""Constants that are fitted; all of the host model but the dirty log and the buffer of a wire."""
SCALES = (0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 2.0, 2.8)
"""Multiples of the shipped value that a fit chooses from."""
ROUNDS = 3
SHARP = 0.01
"""Errors of total time well below this share count by their size, those above by their logarithm:
one disturbed run must not decide."""
SHARP_MS = 5.0
"""The same for errors of the downtime, in milliseconds."""


def left_out_errors(runs, host):
    """Return (errors, constants of each fold): every group is judged by the others' constants.

    All of `FITTED` are fitted, by the fluid model, one constant after the other, out of `SCALES`
    times the shipped values.  The errors are those of the page-exact model.
    """
    fit = _Fit([run for run in runs if run.completed], host)
    folds, by_id = [], {}
    for group in dict.fromkeys(run.group for run in runs):
        fitted = fit.without(group)
        folds.append(fitted)
        constants = host.updated(**fitted)
        for run in runs:
            if run.group == group:
                by_id[id(run)] = error_of(run, predict_exact(run.inputs, constants))
    return [by_id[id(run)] for run in runs], folds


def fitted_to_all(runs, host):
    """Return the constants that fit all runs best."""
    return _Fit([run for run in runs if run.completed], host).without(None)


class _Fit:
    """What each multiple of each constant changes in the times of each run."""

    def __init__(self, runs, host: HostModel) -> None:
        self.groups = np.array([run.group for run in runs])
        self.host = host
        inputs = [run.inputs for run in runs]
        self.total = np.array([run.outcome["total_time"] for run in runs], float)
        self.down = np.array([run.outcome["downtime"] for run in runs], float)
        self.base = _times(inputs, host)
        self.change = np.zeros((len(FITTED), len(SCALES), 2, len(runs)))
        for i, name in enumerate(FITTED):
            for j, scale in enumerate(SCALES):
                changed = host.updated(**{name: scale * getattr(host, name)})
                self.change[i, j] = _times(inputs, changed) - self.base

    def without(self, group):
        """Return the constants that fit the runs of all other groups best."""
        kept = self.groups != group
        base, change = self.base[:, kept], self.change[..., kept]
        at = [SCALES.index(1.0)] * len(FITTED)
        for _ in range(ROUNDS):
            for i in range(len(FITTED)):
                rest = base + sum(change[k, at[k]] for k in range(len(FITTED)) if k != i)
                costs = [self._cost(rest + change[i, j], kept) for j in range(len(SCALES))]
                at[i] = int(np.argmin(costs))
        return {
            name: SCALES[j] * getattr(self.host, name) for name, j in zip(FITTED, at, strict=True)
        }

    def _cost(self, times, kept):
        total = np.log1p(np.abs(times[0] / self.total[kept] - 1) / SHARP)
        down = np.log1p(np.abs(times[1] - self.down[kept]) / SHARP_MS)
        return np.nansum(total) + np.nansum(down)


def _times(inputs, host):
    """Return total time and downtime of each in ms; nan where it does not end."""
    answers = predict_fluid_many(inputs, host)
    nan = float("nan")
    return np.array(
        [
            [nan if p.total_time_ms is None else p.total_time_ms for p in answers],
            [nan if p.downtime_ms is None else p.downtime_ms for p in answers],
        ]
    )


FACTORS = (0.6, 0.8, 1.0, 1.25, 1.5, 2.0)
ADDED = {
    "total_time_ms": [(s, a) for s in (0.0, 0.004, 0.008) for a in (2.0, 6.0)],
    "downtime_ms": [(s, a) for s in (0.0, 0.05) for a in (1.0, 2.0)],
    "transferred_bytes": [(s, a) for s in (0.001, 0.003, 0.005) for a in (4096.0, 50000.0)],
}


def coverage(runs, predictions, host, level=0.9):
    """Return per quantity (held by the shipped intervals, held when fitted to other groups)."""
    known = [
        (run, p, _ranges(run, host))
        for run, p in zip(runs, predictions, strict=True)
        if run.completed and p.converges
    ]
    measured = {
        "total_time_ms": lambda r: r.outcome["total_time"],
        "downtime_ms": lambda r: r.outcome["downtime"],
        "transferred_bytes": lambda r: r.transferred,
    }
    out = {}
    for name, value in measured.items():
        options = [Widening(f, s, a) for f in FACTORS for s, a in ADDED[name]]
        held = np.array([[_holds(k, name, value, w) for w in options] for k in known])
        widths = np.array([[_width(k, name, w) for w in options] for k in known])
        groups = np.array([k[0].group for k in known])
        fitted = []
        for i in range(len(known)):
            rest = groups != groups[i]
            enough = held[rest].mean(0) >= level
            narrow = np.where(enough, np.median(widths[rest], 0), np.inf)
            fitted.append(held[i, int(np.argmin(narrow))])
        shipped = np.mean([_holds(k, name, value, WIDENINGS[name]) for k in known])
        enough = held.mean(0) >= level
        best = options[int(np.argmin(np.where(enough, np.median(widths, 0), np.inf)))]
        out[name] = (float(shipped), float(np.mean(fitted)), best)
    return out


def _ranges(run, host):
    inputs = run.inputs
    if not inputs.copies_ram:
        return dict.fromkeys(WIDENINGS, (1.0, 1.0))
    return ranges(inputs, host, seed=1)


def _bounds(known, name, widening):
    _, prediction, shares = known
    return widen(getattr(prediction, name), shares[name], widening)


def _holds(known, name, value, widening):
    return value(known[0]) in _bounds(known, name, widening)


def _width(known, name, widening):
    bounds = _bounds(known, name, widening)
    return (bounds.high - bounds.low) / max(1.0, getattr(known[1], name))
