"""``--plot``: the picture of a result, asked for on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ParameterError
from ..extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw a picture (.png, .svg, .pdf).")
]
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
"""Formats that a picture can be written in, by the end of its name."""


def check_plot(plot: Path | None) -> None:
    """Refuse a picture that cannot be drawn before any work is done."""
    if plot is None:
        return
    if plot.suffix.lower() not in PICTURE_SUFFIXES:
        raise ParameterError("plot", str(plot), f"a file name with {', '.join(PICTURE_SUFFIXES)}")
    if not plot.parent.is_dir():
        raise ParameterError("plot", str(plot), "a file in a directory that exists")
    require("viz")


def write_plot(figure: Figure, plot: Path) -> None:
    """Write ``figure`` to the file that was asked for."""
    from ..viz.figure import write_figure

    write_figure(figure, plot)
