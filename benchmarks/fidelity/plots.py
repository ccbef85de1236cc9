"""Predicted against measured, and residuals by what they might depend on."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("svg")
from matplotlib.figure import Figure

mpl.rcParams["svg.hashsalt"] = "migsim"
MIB = 1 << 20


def _by_kind(axes, errors, x, y):
    kinds = sorted({e.run.kind for e in errors})
    for number, kind in enumerate(kinds):
        picked = [e for e in errors if e.run.kind == kind]
        axes.plot(
            [x(e) for e in picked],
            [y(e) for e in picked],
            "o",
            color=f"C{number}",
            markersize=4,
            alpha=0.7,
            label=kind,
        )


def total(errors, path):
    figure = Figure(figsize=(11, 5))
    left, right = figure.subplots(1, 2)
    timed = [e for e in errors if e.total is not None]
    _by_kind(
        left, timed, lambda e: e.run.outcome["total_time"], lambda e: e.prediction.total_time_ms
    )
    _by_kind(
        right,
        timed,
        lambda e: max(0.5, e.run.outcome["downtime"]),
        lambda e: max(0.5, e.prediction.downtime_ms),
    )
    for axes, what in ((left, "total time"), (right, "downtime")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot((1, 1e4), (1, 1e4), color="grey", linewidth=0.8)
        axes.set_xlabel(f"measured {what}, ms")
        axes.set_ylabel(f"predicted {what}, ms")
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def residuals(errors, path):
    figure = Figure(figsize=(13, 4.2))
    axes = figure.subplots(1, 3, sharey=True)
    timed = [e for e in errors if e.total is not None]
    patterns = ["idle", "seq", "random", "hotcold"]

    def pattern(e):
        return patterns.index("idle" if not e.run.config["rate"] else e.run.config["pattern"])

    def bandwidth(e):
        return (e.run.config["max_bandwidth"] or 4096 * MIB) / MIB

    def residual(e):
        return max(-0.3, min(0.3, e.total)) * 100

    panels = (
        ("pattern", pattern),
        ("max-bandwidth, MiB/s (unlimited at 4096)", bandwidth),
        ("downtime-limit, ms", lambda e: e.run.config["downtime_limit"]),
    )
    for panel, (name, x) in zip(axes, panels, strict=True):
        _by_kind(panel, timed, x, residual)
        panel.axhline(0, color="grey", linewidth=0.8)
        panel.set_xlabel(name)
    axes[0].set_xticks(range(4), patterns)
    axes[1].set_xscale("log")
    axes[2].set_xscale("log")
    axes[0].set_ylabel("total time, predicted over measured, % (cut at 30)")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
