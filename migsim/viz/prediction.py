"""Pictures of predictions: what remains to be sent over time, and where the stops go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..units import MIB, format_duration
from .figure import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    heading,
    new_figure,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..predict.compare import Compared

_COLOURS: Final = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)
_STYLES: Final = ("-", (0, (5, 3)), "-", (0, (5, 3)), "-", (0, (1.5, 2)))
_PARTS: Final = (
    ("ram_ms", BLUE, "last RAM pass"),
    ("device_ms", ORANGE, "device state"),
    ("fixed_ms", GREY, "fixed"),
    ("load_ms", GREEN, "load on the target"),
)


def draw_compared(compared: Sequence[Compared]) -> Figure:
    """Return the picture of ways to migrate one guest: what was left to send, and the stops."""
    figure = new_figure(10, 5.4 + 0.26 * len(compared))
    ratios = (4.2, 0.26 * len(compared))
    grid = figure.add_gridspec(
        2, 1, height_ratios=ratios, left=0.2, right=0.97, top=0.87, bottom=0.09, hspace=0.12
    )
    axes = figure.add_subplot(grid[0])
    stops = figure.add_subplot(grid[1], sharex=axes)
    plain(axes, grid="y")
    plain(stops)
    heading(axes, "RAM left to send, by the way to migrate", "below: when the guest stands still")
    for number, one in enumerate(compared):
        _draw_way(axes, stops, number, one)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_ylabel("MiB", fontsize=9, color=DARK)
    axes.tick_params(axis="x", labelbottom=False)
    axes.legend(fontsize=8.5, frameon=False)
    stops.set_ylim(len(compared) - 0.5, -0.5)
    stops.set_yticks(range(len(compared)), [one.way.label for one in compared], fontsize=8.5)
    stops.tick_params(axis="y", length=0)
    stops.set_xlabel("time in seconds", fontsize=9, color=DARK)
    return figure


def _draw_way(axes: Axes, stops: Axes, number: int, one: Compared) -> None:
    answer, colour = one.prediction, _COLOURS[number % len(_COLOURS)]
    times = [point.time_ms / 1000 for point in answer.trajectory]
    left = [point.remaining_bytes / MIB for point in answer.trajectory]
    label = one.way.label if answer.converges else f"{one.way.label} (does not end)"
    # Ways that run alike lie on each other: dashes let the one below be seen.
    style = _STYLES[number % len(_STYLES)]
    end = None if answer.total_time_ms is None else answer.total_time_ms / 1000
    if end is None or answer.downtime_ms is None:
        axes.plot(times, left, color=colour, linestyle=style, label=label)
        stops.text(0, number, " does not end", va="center", fontsize=8.5, color=colour)
        return
    axes.plot([*times, end], [*left, 0.0], color=colour, linestyle=style, label=label)
    stop = answer.downtime_ms / 1000
    stops.barh(number, stop, 0.6, end - stop, color=colour, linewidth=0)
    text = f" {format_duration(stop)}"
    stops.text(end, number, text, va="center", fontsize=8.5, color=DARK)


def draw_downtime_parts(compared: Sequence[Compared]) -> Figure:
    """Return the picture of where the stop goes, a stacked bar for each way to migrate.

    Ways that do not end have no stop, and are left out.
    """
    ended = [one for one in compared if one.prediction.converges]
    height = 1.6 + 0.5 * max(len(ended), 1)
    figure = new_figure(9, height)
    axes = figure.add_axes((0.24, 0.62 / height, 0.72, 1 - 1.5 / height))
    figure.text(
        0.03, 1 - 0.4 / height, "Where the stop goes", fontsize=14, fontweight="bold", color=INK
    )
    plain(axes, grid="x")
    left = [0.0] * len(ended)
    for name, colour, label in _PARTS:
        widths = [float(getattr(one.prediction.downtime, name)) for one in ended]
        axes.barh(range(len(ended)), widths, 0.6, left, color=colour, label=label, linewidth=0)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for lane, total in enumerate(left):
        axes.text(total, lane, f" {format_duration(total / 1000)}", va="center", fontsize=9)
    axes.set_xlim(0, max([*left, 1.0]) * 1.16)
    axes.set_ylim(len(ended) - 0.5, -0.5)
    axes.set_yticks(range(len(ended)), [one.way.label for one in ended], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("milliseconds", fontsize=9, color=DARK)
    axes.legend(
        fontsize=8.5,
        frameon=False,
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
    )
    return figure
