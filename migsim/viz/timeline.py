"""The timeline of a walk-through: two windows, the host between them, and the guest's RAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..demo.result import REBOOT, Voice
from ..qapi.enums import RunState
from ..qapi.transitions import info_status
from ..units import format_duration, format_size
from .figure import DARK, GREEN, GREY, INK, ORANGE, PALE, PURPLE, RED, SKY, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ..demo import StateSpan, Walkthrough

_COLOURS: Final = {
    RunState.RUNNING: GREEN,
    RunState.FINISH_MIGRATE: RED,
    RunState.POSTMIGRATE: GREY,
    RunState.INMIGRATE: PURPLE,
}
_RAM_LANE: Final = "guest RAM"
_LANES: Final = (Voice.WINDOW_1.value, Voice.HOST.value, Voice.WINDOW_2.value, _RAM_LANE)
_HEIGHT: Final = 0.64
_NOTHING: Final = "white"
_LIGHT: Final = (SKY, PALE, ORANGE)
_LETTER_SHARE: Final = 0.0065
"""Width of a letter, as a share of the whole time."""
_LEAST_SHARE: Final = 0.004
"""Least width of a stretch, as a share of the whole time: short ones can be seen, too."""


@dataclass(frozen=True, slots=True)
class _Story:
    """The moments that the picture hangs on, in virtual seconds."""

    stop_s: float
    quit_s: float
    reboot_s: tuple[float, float]
    resume_s: float
    end_s: float

    @classmethod
    def of(cls, walk: Walkthrough) -> _Story:
        first = [span for span in walk.spans if span.voice is Voice.WINDOW_1]
        last = walk.spans[-1]
        stop_s = next(s.start_s for s in first if s.state is RunState.FINISH_MIGRATE)
        return cls(stop_s, first[-1].end_s, walk.reboot_s, last.start_s, last.end_s)


def draw_timeline(axes: Axes, walk: Walkthrough) -> None:
    """Draw run states, reboot and RAM of ``walk`` as lanes over virtual time."""
    story = _Story.of(walk)
    plain(axes, grid="x")
    axes.set_xlim(0, story.end_s)
    axes.set_ylim(len(_LANES) - 0.5, -0.95)
    axes.set_yticks(range(len(_LANES)), _LANES, fontsize=10.5, fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("virtual time in seconds", fontsize=9, color=GREY)
    for voice in (Voice.WINDOW_1, Voice.WINDOW_2):
        _draw_states(axes, _LANES.index(voice), [s for s in walk.spans if s.voice is voice], story)
    _draw_host(axes, story)
    _draw_ram(axes, walk, story)
    _draw_stop(axes, walk, story)


def _bar(axes: Axes, lane: int, span_s: tuple[float, float], colour: str, text: str = "") -> None:
    """Draw a stretch of a lane with ``text`` in its middle, in ink that can be read on it."""
    start_s, end_s = span_s
    axes.barh(lane, end_s - start_s, _HEIGHT, start_s, color=colour, linewidth=0)
    ink = INK if colour in _LIGHT else "white"
    if colour == _NOTHING:
        ink = RED
    axes.text((start_s + end_s) / 2, lane, text, ha="center", va="center", fontsize=9.5, color=ink)


def _draw_states(axes: Axes, lane: int, spans: Sequence[StateSpan], story: _Story) -> None:
    """Draw the run states of one window; those too short for a name get it beside the lane."""
    least_s = _LEAST_SHARE * story.end_s
    beside = []
    drawn_s = spans[0].start_s
    for span in spans:
        start_s = max(span.start_s, drawn_s)
        drawn_s = max(span.end_s, start_s + least_s)
        name = info_status(span.state)
        wide = drawn_s - start_s > (len(name) + 2) * _LETTER_SHARE * story.end_s
        colour = _COLOURS.get(span.state, GREY)
        _bar(axes, lane, (start_s, drawn_s), colour, name if wide else "")
        if not wide:
            beside.append(f"{name}, {format_duration(span.seconds)}" if span.seconds else name)
    gap_s = 0.006 * story.end_s
    if spans[0].start_s == 0:
        text = "  →  ".join([*beside, "quit"])
        axes.text(drawn_s + gap_s, lane, text, va="center", fontsize=9.5, color=INK)
    else:
        text = "-incoming defer  →  " + "  →  ".join(beside)
        axes.text(spans[0].start_s - gap_s, lane, text, va="center", ha="right", fontsize=9.5,
                  color=INK)  # fmt: skip


def _draw_host(axes: Axes, story: _Story) -> None:
    lane, (begin_s, end_s) = _LANES.index(Voice.HOST), story.reboot_s
    _bar(axes, lane, (0, begin_s), PALE, "first kernel")
    text = f"{REBOOT}  kexec, {format_duration(end_s - begin_s)}"
    _bar(axes, lane, (begin_s, end_s), DARK, text)
    _bar(axes, lane, (end_s, story.end_s), PALE, "second kernel")


def _draw_ram(axes: Axes, walk: Walkthrough, story: _Story) -> None:
    """Draw where the bytes of the guest's RAM are."""
    saved, (begin_s, booted_s), end_s = walk.saved, story.reboot_s, story.end_s
    home = f"{format_size(walk.scenario.ram_bytes)} in {walk.scenario.ram_kind}"
    if not saved.in_place:
        copied = f"copied: {format_size(saved.file_bytes)} in the state file"
        pieces = [
            (0.0, story.quit_s, SKY, home),
            (story.quit_s, story.resume_s, ORANGE, copied),
            (story.resume_s, end_s, SKY, "as it was"),
        ]
    elif saved.equal:
        pieces = [(0.0, end_s, SKY, f"{home}: stays where it is")]
    else:
        pieces = [
            (0.0, begin_s, SKY, home),
            (begin_s, booted_s, _NOTHING, "lost in the reboot"),
            (booted_s, end_s, PALE, "zeroes"),
        ]
    for start_s, stop_s, colour, text in pieces:
        _bar(axes, _LANES.index(_RAM_LANE), (start_s, stop_s), colour, text)


def _draw_stop(axes: Axes, walk: Walkthrough, story: _Story) -> None:
    """Draw how long the guest stands still, with the parts of that time."""
    saved, y = walk.saved, -0.62
    arrow = {"arrowstyle": "<->", "color": RED, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (story.stop_s, y), (story.resume_s, y), arrowprops=arrow)
    parts = [("save", saved.stop_s), ("reboot", story.reboot_s[1] - story.reboot_s[0])]
    parts.append(("load", saved.load_s))
    told = " + ".join(f"{name} {format_duration(s)}" for name, s in parts if s is not None)
    text = f"guest stopped for {format_duration(story.resume_s - story.stop_s)} = {told}"
    middle_s = (story.stop_s + story.resume_s) / 2
    axes.text(middle_s, y - 0.1, text, ha="center", va="bottom", fontsize=9.5, color=RED)
