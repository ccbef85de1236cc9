"""Saves side by side: what was left to be sent over time, when the guest stopped, what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ..qapi.enums import MigMode
from ..units import MIB, format_duration
from .figure import BLUE, GREEN, GREY, INK, ORANGE, PALE, RED, heading, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from ..demo import Save, Walkthrough

_RUNS: Final = GREEN
_STOPPED: Final = RED


def colour(save: Save) -> str:
    """Return the colour of ``save`` in every picture."""
    if save.mode is MigMode.NORMAL:
        return BLUE
    return GREEN if save.in_place else ORANGE


def draw_remaining(axes: Axes, walk: Walkthrough) -> None:
    """Draw the RAM that each save had still to send; a dot marks the stop of the guest."""
    plain(axes, grid="y")
    below = (
        "a jump up is a new pass: what the guest wrote meanwhile; a dot is the stop of the guest"
    )
    heading(axes, "RAM left to be sent, in MiB", below)
    for save in walk.side_by_side:
        times_s, left = _path(save)
        axes.plot(times_s, left, color=colour(save), linewidth=2, solid_joinstyle="round")
        if save.stopped_at_s is not None:
            at = float(np.interp(save.stopped_at_s, times_s, left))
            axes.plot(save.stopped_at_s, at, "o", color=RED, markersize=7, zorder=5,
                      markeredgecolor="white", clip_on=False)  # fmt: skip
    axes.set_ylim(0, max(walk.scenario.ram_bytes / MIB * 1.08, 1))
    axes.set_xlim(left=0)
    axes.tick_params(axis="x", labelbottom=False)


def _path(save: Save) -> tuple[list[float], list[float]]:
    """Return times and MiB left as a line: up at a sync, down while a piece of work goes on."""
    times_s: list[float] = []
    left: list[float] = []
    ends_s = [*(sample.time_s for sample in save.samples[1:]), save.total_s]
    for sample, end_s in zip(save.samples, ends_s, strict=False):
        times_s += [sample.time_s, end_s]
        left += [sample.due_bytes / MIB, sample.remaining_bytes / MIB]
    if not times_s:
        return [0.0, save.total_s], [0.0, 0.0]
    return times_s, left


def draw_stops(axes: Axes, walk: Walkthrough) -> None:
    """Draw when the guest ran and when it was stopped, one row a save."""
    plain(axes)
    saves = walk.side_by_side
    for row, save in enumerate(saves):
        stop_s = save.total_s if save.stopped_at_s is None else save.stopped_at_s
        axes.barh(row, stop_s, 0.6, 0, color=_RUNS, alpha=0.35)
        axes.barh(row, save.total_s - stop_s, 0.6, stop_s, color=_STOPPED)
        text = "cancelled" if save.stop_s is None else f"stopped {format_duration(save.stop_s)}"
        axes.annotate(text, (save.total_s, row), (6, 0), textcoords="offset points", va="center",
                      fontsize=9, color=RED if save.completed else INK)  # fmt: skip
    _name_rows(axes, saves)
    axes.set_ylim(len(saves) - 0.4, -0.6)
    longest_s = max(save.total_s for save in saves)
    axes.set_xlim(0, longest_s * 1.25)
    axes.set_xlabel("virtual seconds since migrate", fontsize=9, color=GREY)


def _name_rows(axes: Axes, saves: Sequence[Save]) -> None:
    """Name every row in the colour of its save, which serves as the legend of the lines."""
    axes.set_yticks(range(len(saves)), [save.label for save in saves], fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    for label, save in zip(axes.get_yticklabels(), saves, strict=True):
        label.set(color=colour(save), fontweight="bold")


def draw_costs(
    axes: Axes,
    title: str,
    walk: Walkthrough,
    cost: Callable[[Save], float | None],
    show: Callable[[float], str],
) -> None:
    """Draw one cost of every save as a bar on a logarithmic scale, with its number."""
    plain(axes)
    heading(axes, title, "logarithmic scale")
    saves = walk.side_by_side
    values = [cost(save) for save in saves]
    known = [value for value in values if value]
    floor = min(known, default=1.0) / 6
    # Room for the numbers, as a share of the whole scale.
    top = max(known, default=1.0) * (max(known, default=1.0) / floor) ** 0.4
    axes.set_xscale("log")
    axes.set_xlim(floor, top)
    for row, (save, value) in enumerate(zip(saves, values, strict=True)):
        text = "not done" if value is None else show(value)
        if value:
            axes.barh(row, value - floor, 0.62, floor, color=colour(save))
        axes.annotate(text, (value or floor, row), (6, 0), textcoords="offset points",
                      va="center", fontsize=10, fontweight="bold", color=INK)  # fmt: skip
    _name_rows(axes, saves)
    axes.set_ylim(len(saves) - 0.45, -0.55)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.spines["bottom"].set_color(PALE)
