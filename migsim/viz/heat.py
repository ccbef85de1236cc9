"""The heat map of dirty pages: which parts of RAM were still to be sent, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..units import MIB, PAGE_SIZE
from .figure import DARK, INK, RED, heading, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recording import Recording


def draw_heat(recording: Recording) -> Figure:
    """Return the picture of where RAM was dirty when.

    Raises:
        ConfigError: the recording was made without looking at pages.
    """
    figure = new_figure(10, 5)
    axes = figure.add_axes((0.09, 0.13, 0.8, 0.7))
    draw_dirty(axes, recording)
    figure.text(0.03, 0.925, "Dirty RAM over time", fontsize=15, fontweight="bold", color=INK)
    return figure


def draw_dirty(axes: Axes, recording: Recording) -> None:
    """Draw the heat map of ``recording`` on ``axes``; colour is the dirty share of a stretch.

    Raises:
        ConfigError: the recording was made without looking at pages.
    """
    heat = recording.heat
    if heat is None:
        raise ConfigError("recording", "has no dirty pages; record it with stretches=64")
    plain(axes)
    heading(axes, "", "colour: share of pages that had to be sent yet; dashed: the guest stops")
    stretches = heat.shape[1]
    pages = max(recording.ram_bytes / PAGE_SIZE / stretches, 1.0)
    times = np.array([one.time_s for one in recording.samples])
    # A look holds until the next one; the last has no width of its own.
    edges = np.append(times, max(times[-1], times[0] + 1e-9))
    places = np.linspace(0, recording.ram_bytes / MIB, stretches + 1)
    mesh = axes.pcolormesh(
        edges,
        places,
        heat.T / pages,
        cmap="viridis",
        vmin=0,
        vmax=1,
        shading="flat",
        rasterized=True,
    )
    stop = recording.stop()
    if stop is not None:
        axes.axvline(stop.start_s, color=RED, linewidth=1.2, linestyle="--")
    axes.set_xlabel("time in seconds", fontsize=9, color=DARK)
    axes.set_ylabel("address in RAM, MiB", fontsize=9, color=DARK)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.04)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    bar.outline.set_visible(False)
