"""The picture of a state file: what lies where, to scale above, one by one below."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..units import format_size
from .figure import BLUE, DARK, GREEN, GREY, INK, ORANGE, PALE, PURPLE, RED, heading, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..streamtool.report import StreamInfo

_NAMED: Final = 30
"""So many parts of a file are listed; the smallest devices beyond are told as one."""
_LEGEND: Final = (
    "bytes of each part in file order, on a logarithmic scale: blue RAM, green described devices,"
    " orange opaque ones,\npurple about the stream itself"
)
_LEAST_SHARE: Final = 0.0015


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of the file."""

    name: str
    offset: int
    size_bytes: int
    colour: str


def draw_stream(info: StreamInfo) -> Figure:
    """Return the picture of what is in a state file."""
    parts = _parts(info)
    shown = _shortened(parts)
    height = 2.9 + 0.2 * len(shown)
    figure = new_figure(10, height)
    top = figure.add_axes((0.06, 1 - 1.75 / height, 0.89, 0.55 / height))
    below = figure.add_axes((0.3, 0.45 / height, 0.65, 1 - 2.75 / height))
    name = Path(info.path).name
    figure.text(0.03, 1 - 0.42 / height, name, fontsize=15, fontweight="bold", color=INK)
    figure.text(0.03, 1 - 0.68 / height, _facts(info), fontsize=9.5, color=GREY)
    _draw_scale(top, info, parts)
    figure.text(0.06, 1 - 2.2 / height, _LEGEND, fontsize=9, color=GREY)
    _draw_sizes(below, shown)
    return figure


def _facts(info: StreamInfo) -> str:
    machine = f"machine {info.machine}" if info.machine else "machine not named"
    size = f", {format_size(info.length_bytes)}"
    ending = "" if info.fault is None else f"; damaged at offset {info.fault.offset}"
    return f"{machine}, {info.form.value}{size}, {len(info.sections)} sections{ending}"


def _parts(info: StreamInfo) -> list[_Part]:
    """Return the stretches in file order; RAM is what is between its first and last byte."""
    parts = []
    if info.wrapper is not None:
        parts.append(_Part("libvirt's wrapper", info.wrapper.offset, info.wrapper.size_bytes, GREY))
    begin = info.offset
    for one in sorted(info.sections, key=lambda one: one.offset):
        if one.offset > begin and not parts:
            parts.append(_Part("header, configuration", begin, one.offset - begin, PURPLE))
        name = one.name if not one.instance_id else f"{one.name} #{one.instance_id}"
        colour = BLUE if one.iterable else (GREEN if one.described else ORANGE)
        parts.append(_Part(name, one.offset, one.size_bytes, colour))
    if info.description_offset is not None and info.description_bytes:
        found = _Part("description", info.description_offset, info.description_bytes, PURPLE)
        parts.append(found)
    if info.trailing_bytes:
        end = info.offset + info.length_bytes
        parts.append(_Part("not read", end - info.trailing_bytes, info.trailing_bytes, RED))
    return parts


def _shortened(parts: Sequence[_Part]) -> list[_Part]:
    if len(parts) <= _NAMED:
        return list(parts)
    least = sorted((one.size_bytes for one in parts), reverse=True)[_NAMED - 2]
    kept = [one for one in parts if one.size_bytes > least]
    rest = [one for one in parts if one.size_bytes <= least]
    name = f"{len(rest)} smaller sections"
    return [*kept, _Part(name, rest[0].offset, sum(one.size_bytes for one in rest), GREEN)]


def _draw_scale(axes: Axes, info: StreamInfo, parts: Sequence[_Part]) -> None:
    """Draw the file from its first to its last byte, to scale."""
    heading(axes, "", "the file to scale, left to right")
    whole = max(info.offset + info.length_bytes, 1)
    axes.barh(0, whole, 1, 0, color=PALE, linewidth=0)
    for one in parts:
        width = max(one.size_bytes, whole * _LEAST_SHARE)
        axes.barh(0, width, 1, one.offset, color=one.colour, linewidth=0)
    axes.set_xlim(0, whole)
    axes.set_axis_off()


def _draw_sizes(axes: Axes, parts: Sequence[_Part]) -> None:
    """Draw a bar for each part, on a logarithmic scale because RAM dwarfs the rest."""
    sizes = [max(one.size_bytes, 1) for one in parts]
    axes.barh(range(len(parts)), sizes, 0.72, color=[one.colour for one in parts], linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(1, max([*sizes, 10]) * 12)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_yticks(range(len(parts)), [one.name for one in parts], fontsize=8.5)
    for lane, (one, size) in enumerate(zip(parts, sizes, strict=True)):
        text = f" {format_size(one.size_bytes)} at {one.offset:#x}"
        axes.text(size, lane, text, va="center", fontsize=8, color=DARK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=False, length=0, which="both")
