"""Cross-validation: constants and intervals are judged on groups that they were not fitted to."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from migsim.predict.exact import predict_exact
from migsim.predict.intervals import WIDENINGS, Widening, ranges, widen

from .data import is_bound
from .score import error_of

if TYPE_CHECKING:
    from migsim.predict.hostmodel import HostModel

SOCKET_ZERO_S = (0.2e-6, 0.3e-6, 0.35e-6, 0.4e-6, 0.45e-6, 0.5e-6, 0.6e-6)
FILE_ZERO_S = (0.1e-6, 0.15e-6, 0.2e-6, 0.25e-6, 0.3e-6, 0.4e-6, 0.5e-6)
LATE_S = (0.1e-3, 0.3e-3, 0.5e-3, 0.8e-3)
CLIP = 0.05
"""An error above this counts as this much in the fit: one disturbed run must not decide."""


def left_out_errors(runs, host):
    """Return errors of bound runs, each with constants fitted to all other groups.

    Three constants are fitted: the cost of a zero page to a live destination and into a file, and
    how late a sleeper wakes up.  Returns (errors, constants chosen most often).
    """
    bound = [run for run in runs if is_bound(run)]
    table = {id(run): _evaluate(run, host) for run in bound}
    groups = defaultdict(list)
    for run in bound:
        groups[run.group].append(run)
    errors, chosen = [], []
    for group, members in groups.items():
        others = [run for run in bound if run.group != group]
        constants = _best(others, table)
        chosen.append(constants)
        errors += [_at(table[id(run)], run, constants) for run in members]
    return errors, max(set(chosen), key=chosen.count)


def _zeros(run):
    return FILE_ZERO_S if run.config["transport"] == "file" else SOCKET_ZERO_S


def _evaluate(run, host: HostModel):
    """Return the error of ``run`` for every pair of zero-page cost and lateness."""
    inputs = run.inputs
    return {
        (zero, late): error_of(
            run,
            predict_exact(
                inputs,
                host.updated(socket_zero_page_s=zero, file_zero_page_s=zero, wake_late_s=late),
            ),
        )
        for zero in _zeros(run)
        for late in LATE_S
    }


def _at(errors, run, constants):
    socket_zero, file_zero, late = constants
    return errors[(file_zero if run.config["transport"] == "file" else socket_zero), late]


def _best(runs, table):
    def cost(kind_runs, zero, late):
        values = [table[id(run)][zero, late].total for run in kind_runs]
        return sum(min(CLIP, abs(v)) for v in values if v is not None)

    files = [run for run in runs if run.config["transport"] == "file"]
    sockets = [run for run in runs if run.config["transport"] != "file"]
    best = None
    for late in LATE_S:
        socket = min(SOCKET_ZERO_S, key=lambda z: cost(sockets, z, late))
        file = min(FILE_ZERO_S, key=lambda z: cost(files, z, late))
        total = cost(sockets, socket, late) + cost(files, file, late)
        if best is None or total < best[0]:
            best = (total, (socket, file, late))
    return best[1]


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
