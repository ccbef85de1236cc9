"""The picture of a walk-through: who was in which state when, and what each save cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import format_duration, format_size
from .figure import GREY, INK, new_figure
from .saves import draw_costs, draw_remaining, draw_stops
from .timeline import draw_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..demo import Walkthrough


def draw_walkthrough(walk: Walkthrough) -> Figure:
    """Return the picture of ``walk``: a timeline above, the saves side by side below."""
    figure = new_figure(13, 9)
    scenario = walk.scenario
    title = "cpr-reboot: the host reboots under a guest that goes on"
    if not walk.ok:
        title = "cpr-reboot: the host reboots, and the guest loses its RAM"
    figure.text(0.025, 0.95, title, fontsize=16, fontweight="bold", color=INK)
    figure.text(
        0.025,
        0.923,
        f"{format_size(scenario.ram_bytes)} of RAM in {scenario.ram_kind},"
        f" {scenario.rate_pages_per_s:,.0f} page writes a second, seed {scenario.seed};"
        " times are virtual",
        fontsize=10,
        color=GREY,
    )
    above = figure.add_gridspec(1, 1, left=0.085, right=0.97, top=0.885, bottom=0.575)
    below = figure.add_gridspec(
        2,
        2,
        height_ratios=(3.2, 1),
        width_ratios=(1.75, 1),
        left=0.125,
        right=0.97,
        top=0.435,
        bottom=0.065,
        hspace=0.1,
        wspace=0.4,
    )
    draw_timeline(figure.add_subplot(above[0]), walk)
    remaining = figure.add_subplot(below[0, 0])
    draw_remaining(remaining, walk)
    draw_stops(figure.add_subplot(below[1, 0], sharex=remaining), walk)
    costs = below[:, 1].subgridspec(2, 1, hspace=0.95)
    title = "The save stops the guest for"
    draw_costs(figure.add_subplot(costs[0]), title, walk, lambda s: s.stop_s, format_duration)
    title = "The state file takes"
    draw_costs(figure.add_subplot(costs[1]), title, walk, lambda s: s.file_bytes, format_size)
    return figure
