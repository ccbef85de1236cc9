"""The picture of blockers by mode: a grid of features and modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..blockers import ROWS, blocked_modes, modes_at
from ..qapi.release import Release
from .figure import GREY, INK, PALE, RED, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure

_ROW_IN: Final = 0.24


def draw_blockers(
    features: Iterable[str] | None = None, release: Release = Release.DEFAULT
) -> Figure:
    """Return a grid of what blocks which mode in ``release``.

    ``features`` are names of the catalogue, by default those that do not block every mode alike.

    Raises:
        ConfigError: the catalogue has no such feature.
    """
    modes = modes_at(release)
    chosen = list(features) if features is not None else list(_telling(release))
    height = 1.5 + _ROW_IN * len(chosen)
    figure = new_figure(8, height)
    axes = figure.add_axes((0.5, 0.2 / height, 0.45, 1 - 1.35 / height))
    title = f"What blocks which migration mode in {release}"
    figure.text(0.04, 1 - 0.4 / height, title, fontsize=14, fontweight="bold", color=INK)
    for lane, feature in enumerate(chosen):
        blocked = blocked_modes(feature, release)
        for column, mode in enumerate(modes):
            colour = RED if mode in blocked else PALE
            axes.barh(lane, 0.9, 0.78, column - 0.45, color=colour, linewidth=0)
            word = "blocked" if mode in blocked else "free"
            ink = "white" if mode in blocked else GREY
            axes.text(column, lane, word, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xlim(-0.5, len(modes) - 0.5)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_yticks(range(len(chosen)), [ROWS[name].title for name in chosen], fontsize=9)
    axes.set_xticks(range(len(modes)), [mode.value for mode in modes], fontsize=9.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def _telling(release: Release) -> Iterable[str]:
    """Return the features that block some modes and leave others free."""
    modes = set(modes_at(release))
    return (name for name in ROWS if 0 < len(blocked_modes(name, release)) < len(modes))
