"""Picture of predictions: what remains to be sent over time, with the stops marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ..units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..predict.compare import Compared


def draw_compared(compared: Sequence[Compared]) -> Figure:
    """Return the picture of ways to migrate one guest: a line each, its stop as a thick bar."""
    figure = Figure(figsize=(9, 5))
    axes = figure.subplots()
    for number, one in enumerate(compared):
        answer, colour = one.prediction, f"C{number}"
        times = [point.time_ms / 1000 for point in answer.trajectory]
        left = [point.remaining_bytes / MIB for point in answer.trajectory]
        label = one.way.label if answer.converges else f"{one.way.label} (does not end)"
        if answer.total_time_ms is None or answer.downtime_ms is None:
            axes.plot(times, left, color=colour, label=label)
            continue
        end = answer.total_time_ms / 1000
        axes.plot([*times, end], [*left, 0.0], color=colour, label=label)
        stop = end - answer.downtime_ms / 1000
        axes.plot([stop, end], [0.0, 0.0], color=colour, linewidth=6, solid_capstyle="butt")
    axes.set_xlabel("time, s (thick: the guest stands still)")
    axes.set_ylabel("dirty RAM, MiB")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure
