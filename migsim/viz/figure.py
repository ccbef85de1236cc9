"""What all pictures share: colours, a plain look, and how they get into a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

from .. import __version__

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers (after Okabe and Ito).
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
RED: Final = "#D55E00"
PURPLE: Final = "#8A5A9E"
SKY: Final = "#A8D5EE"
INK: Final = "#222222"
DARK: Final = "#4A4A4A"
GREY: Final = "#8C8C8C"
PALE: Final = "#EDEDED"

DOTS_PER_INCH: Final = 150
NOTEBOOK_DOTS_PER_INCH: Final = 80

# Dates would make two pictures of one result differ.
_METADATA: Final[dict[str, dict[str, str | None]]] = {
    "png": {"Software": f"migsim {__version__}"},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


class Picture(Figure):
    """A figure that a notebook shows as it is, whatever it does with other figures."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=NOTEBOOK_DOTS_PER_INCH, metadata=_METADATA["png"])
        return buffer.getvalue()


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of that size in inches."""
    return Picture(figsize=(width_in, height_in), dpi=DOTS_PER_INCH, facecolor="white")


def plain(axes: Axes, *, grid: str | None = None) -> None:
    """Take the frame off, but for the bottom; draw a faint grid along one axis if asked."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, length=3, color=GREY)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(visible=True, axis="x" if grid == "x" else "y", color=PALE, linewidth=0.9)


def heading(axes: Axes, text: str, below: str = "") -> None:
    """Give ``axes`` a heading at its left edge, and a line in grey under it."""
    axes.set_title(text, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=20)
    if below:
        axes.annotate(
            below,
            (0, 1),
            (0, 7),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=9,
            color=GREY,
        )


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure`` to a file whose name says the format; the same figure, the same bytes.

    Raises:
        OSError: the file cannot be written.
        ValueError: no such format.
    """
    metadata = _METADATA.get(str(path).rpartition(".")[2].lower(), {})
    figure.savefig(path, metadata=metadata, facecolor="white")
