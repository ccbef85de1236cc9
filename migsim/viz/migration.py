"""The picture of one migration: states, what was left to send, how fast, and the stop."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ..units import MIB, PAGE_SIZE, format_duration, format_size
from .figure import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RED,
    SKY,
    heading,
    new_figure,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recording import Recording, Span

_COLOURS: Final = {
    "running": GREEN,
    "active": BLUE,
    "finish-migrate": RED,
    "postmigrate": GREY,
    "inmigrate": PURPLE,
    "paused": ORANGE,
    "suspended": ORANGE,
    "device": RED,
    "completed": GREY,
    "failed": RED,
    "cancelled": ORANGE,
    "setup": SKY,
}
_LIGHT: Final = (SKY, PALE, ORANGE)
_LETTER_SHARE: Final = 0.009
_PASSES_NAMED: Final = 14


def draw_migration(recording: Recording) -> Figure:
    """Return the picture of ``recording``: three rows over one time axis.

    Above the run states and migration statuses, then RAM that was still to be sent with the passes
    as stripes, below the rates of sending and of dirtying.
    """
    figure = new_figure(11, 7)
    grid = figure.add_gridspec(
        3, 1, height_ratios=(0.8, 3, 1.5), left=0.1, right=0.97, top=0.87, bottom=0.09, hspace=0.42
    )
    states = figure.add_subplot(grid[0])
    remaining = figure.add_subplot(grid[1], sharex=states)
    rates = figure.add_subplot(grid[2], sharex=states)
    figure.text(0.03, 0.95, _title(recording), fontsize=15, fontweight="bold", color=INK)
    figure.text(0.03, 0.918, _facts(recording), fontsize=9.5, color=GREY)
    draw_states(states, recording)
    draw_remaining(remaining, recording)
    draw_rates(rates, recording)
    states.set_xlim(0, max(recording.end_s, 1e-6))
    for axes in (states, remaining):
        axes.tick_params(axis="x", labelbottom=False)
    rates.set_xlabel("time in seconds", fontsize=9, color=DARK)
    return figure


def draw_states(axes: Axes, recording: Recording) -> None:
    """Draw run state and migration status as two lanes."""
    plain(axes)
    axes.set_ylim(1.5, -0.5)
    axes.set_yticks((0, 1), ("guest", "migration"), fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    whole = max(recording.end_s, 1e-6)
    for lane, spans in enumerate((recording.run_states(), recording.statuses())):
        for span in spans:
            _lane(axes, lane, span, whole)


def draw_remaining(axes: Axes, recording: Recording) -> None:
    """Draw the RAM that was left to send, the passes as stripes, the stop as a red bar."""
    plain(axes, grid="y")
    heading(axes, "RAM left to send", "stripes are passes; the red bar is the stop of the guest")
    _stripes(axes, recording.passes())
    begun = [one for one in recording.samples if one.passes]
    times = [one.time_s for one in begun]
    left = [one.remaining_bytes / MIB for one in begun]
    axes.plot(times, left, color=BLUE, linewidth=1.8)
    axes.set_ylim(0, max([*left, 1.0]) * 1.08)
    axes.set_ylabel("MiB", fontsize=9, color=DARK)
    stop = recording.stop()
    if stop is not None:
        axes.axvspan(stop.start_s, stop.end_s, color=RED, alpha=0.25, linewidth=0)
        axes.plot([stop.start_s, stop.end_s], [0, 0], color=RED, linewidth=7, clip_on=False)


def draw_rates(axes: Axes, recording: Recording) -> None:
    """Draw how fast RAM left, and how fast the guest dirtied it, both in MiB per second."""
    plain(axes, grid="y")
    heading(axes, "Rates")
    times, sent = _sent(recording)
    axes.step(times, sent, where="pre", color=BLUE, linewidth=1.5, label="sent")
    times = [one.time_s for one in recording.samples]
    dirtied = [one.dirty_pages_per_s * PAGE_SIZE / MIB for one in recording.samples]
    axes.step(times, dirtied, where="post", color=ORANGE, linewidth=1.5, label="dirtied")
    throttle = [one.throttle_percent for one in recording.samples]
    if any(throttle):
        other = axes.twinx()
        plain(other)
        other.fill_between(times, throttle, step="post", color=RED, alpha=0.15, linewidth=0)
        other.set_ylim(0, 100)
        other.set_ylabel("throttle, %", fontsize=9, color=RED)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MiB/s", fontsize=9, color=DARK)
    axes.legend(fontsize=8.5, frameon=False, loc="upper right", ncols=2, borderaxespad=0)


def _sent(recording: Recording) -> tuple[list[float], list[float]]:
    """Return moments, and the rate of sending, MiB/s, over the time up to each.

    Looks that follow each other closely say nothing about a rate: they are left out.
    """
    samples = recording.samples
    gaps = sorted(after.time_s - before.time_s for before, after in pairwise(samples))
    least = gaps[len(gaps) // 2] / 2 if gaps else 0.0
    times, rates, last = [samples[0].time_s], [0.0], samples[0]
    for one in samples[1:]:
        if one.time_s - last.time_s > least:
            gained = max(0, one.transferred_bytes - last.transferred_bytes)
            times.append(one.time_s)
            rates.append(gained / MIB / (one.time_s - last.time_s))
            last = one
    return times, rates


def _stripes(axes: Axes, passes: Sequence[Span]) -> None:
    for number, one in enumerate(passes):
        if number % 2 == 0:
            axes.axvspan(one.start_s, one.end_s, color=PALE, alpha=0.6, linewidth=0)
    whole = passes[-1].end_s if passes else 0.0
    for one in passes[:_PASSES_NAMED]:
        name = one.name.removeprefix("pass ")
        if whole and one.seconds / whole > len(name) * _LETTER_SHARE:
            middle = (one.start_s + one.end_s) / 2
            place = axes.get_xaxis_transform()
            axes.text(middle, 0.95, name, transform=place, ha="center", fontsize=8, color=GREY)


def _lane(axes: Axes, lane: int, span: Span, whole_s: float) -> None:
    colour = _COLOURS.get(span.name, PURPLE)
    axes.barh(lane, span.seconds, 0.66, span.start_s, color=colour, linewidth=0)
    if span.seconds / whole_s > len(span.name) * _LETTER_SHARE:
        ink = INK if colour in _LIGHT else "white"
        middle = (span.start_s + span.end_s) / 2
        axes.text(middle, lane, span.name, ha="center", va="center", fontsize=9, color=ink)


def _title(recording: Recording) -> str:
    stop = recording.stop()
    if recording.status == "completed" and stop is not None:
        total = format_duration(recording.end_s)
        return f"{recording.mode}: over in {total}, the guest stood still for" + (
            f" {format_duration(stop.seconds)}"
        )
    return f"{recording.mode}: {recording.status} after {format_duration(recording.end_s)}"


def _facts(recording: Recording) -> str:
    rate = recording.bandwidth_bytes_per_s
    limit = f"{format_size(rate)}/s" if rate else "no limit"
    last = recording.samples[-1]
    return (
        f"{format_size(recording.ram_bytes)} of RAM, max-bandwidth {limit}, downtime-limit"
        f" {recording.downtime_limit_ms} ms; {format_size(last.transferred_bytes)} sent in"
        f" {last.passes} passes"
    )
