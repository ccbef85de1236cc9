"""``migsim watch``: a running migration as a picture on the terminal."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Group

    from ..recording.sample import Sample
    from ..recording.watched import Settings

_WIDTH: Final = 56
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_KEPT: Final = 100_000


def watch(
    *,
    qmp: Annotated[str, typer.Option(metavar="SOCKET", help="QMP socket of a QEMU or of migsim.")],
    every: Annotated[float, typer.Option(metavar="S", help="Seconds between two looks.")] = 0.5,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on when the migration is over.")
    ] = False,
    limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="S", help="Watch at most so long.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what was seen (.png, .svg, .pdf).")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a trace for Perfetto.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line for each look.")] = False,
) -> int:
    """Watch the migration of a running QEMU, or of a migsim machine; nothing is changed on it.

    Ends with the migration; the status is 1 when that failed or was cancelled.
    """
    from ..errors import ParameterError
    from ..predict.qmpclient import ReadOnlyQmp
    from ..recording.watched import settings_of
    from ..recording.watched import watch as looks
    from .pictures import check_plot

    check_plot(plot)
    if not every > 0:
        raise ParameterError("every", every, "a positive number of seconds")
    with ReadOnlyQmp(qmp) as connection:
        settings = settings_of(connection)
        coming = looks(
            connection,
            clock=time.monotonic,
            sleep=time.sleep,
            every_s=every,
            until_end=not follow,
        )
        samples = _show(_limited(coming, limit), settings, as_json=as_json)
    _write(settings, samples, plot, trace)
    return 1 if samples[-1].status in ("failed", "cancelled") else 0


def _limited(coming: Iterable[Sample], limit_s: float | None) -> Iterable[Sample]:
    for one in coming:
        yield one
        if limit_s is not None and one.time_s >= limit_s:
            return


def _show(coming: Iterable[Sample], settings: Settings, *, as_json: bool) -> list[Sample]:
    """Show each look as it comes: redrawn on a terminal, a line each elsewhere."""
    from .console import output

    console = output()
    samples: list[Sample] = []
    if as_json or not console.is_terminal:
        for one in coming:
            samples.append(one)
            typer.echo(json.dumps(asdict(one)) if as_json else _line(samples, settings))
            del samples[:-_KEPT]
        return samples
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        try:
            for one in coming:
                samples.append(one)
                del samples[:-_KEPT]
                live.update(picture(samples, settings), refresh=True)
        except KeyboardInterrupt:
            if not samples:
                raise
    return samples


def _line(samples: list[Sample], settings: Settings) -> str:
    from ..units import format_size

    one = samples[-1]
    throttle = f" throttle {one.throttle_percent} %" if one.throttle_percent else ""
    return (
        f"{one.time_s:8.1f} s  {one.status:<15} {one.run_state:<14} pass {one.passes:>3}"
        f"  left {format_size(one.remaining_bytes):>11}  sent"
        f" {format_size(one.transferred_bytes):>11}{throttle}  {_promise(samples, settings)}"
    ).rstrip()


def _promise(samples: list[Sample], settings: Settings) -> str:
    """Return in words when it will be over and how long the stop will be."""
    from ..recording.forecast import forecast
    from ..units import format_duration

    one = samples[-1]
    if one.status == "completed" and one.downtime_ms is not None:
        total = format_duration((one.total_time_ms or 0) / 1000)
        return f"over after {total}, stopped for {format_duration(one.downtime_ms / 1000)}"
    expected = forecast(samples, settings.downtime_limit_ms)
    if expected is None:
        return ""
    if expected.converges is None:
        return f"first pass: {format_duration(expected.left_s or 0.0)} more at most"
    if not expected.converges:
        return "does not end at these rates"
    left, stop = expected.left_s or 0.0, (expected.stop_ms or 0.0) / 1000
    return f"ends in {format_duration(left)}, stop of {format_duration(stop)}"


def picture(samples: list[Sample], settings: Settings) -> Group:
    """Return what is drawn on a terminal for ``samples``: bars, numbers and curves."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from ..recording.forecast import sending_rate
    from ..units import PAGE_SIZE, format_size

    one = samples[-1]
    limit = settings.bandwidth_bytes_per_s
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_column(justify="right")
    colour = "red" if one.run_state != "running" else "green"
    states = Text.assemble(
        (one.run_state, colour), "  ", (one.status, "bold"), f"  {settings.mode}"
    )
    table.add_row("state", states, f"pass {one.passes}")
    total = max(settings.ram_bytes, one.remaining_bytes, 1)
    bar = ProgressBar(total=total, completed=total - one.remaining_bytes, width=_WIDTH)
    table.add_row("RAM", bar, f"{format_size(one.remaining_bytes)} left")
    left = [sample.remaining_bytes for sample in samples]
    table.add_row("left", Text(curve(left), style="blue"), f"of {format_size(total)}")
    rates = [sending_rate(samples[: n + 1]) if samples[n].passes else 0.0 for n in _last(samples)]
    most = f" of {format_size(limit)}/s" if limit else ""
    table.add_row(
        "sent", Text(curve(rates), style="cyan"), f"{format_size(int(rates[-1]))}/s{most}"
    )
    dirtied = [sample.dirty_pages_per_s * PAGE_SIZE for sample in samples]
    table.add_row("dirtied", Text(curve(dirtied), style="yellow"), f"{format_size(dirtied[-1])}/s")
    if any(sample.throttle_percent for sample in samples):
        throttle = [sample.throttle_percent for sample in samples]
        table.add_row("throttle", Text(curve(throttle), style="red"), f"{throttle[-1]} %")
    promise = _promise(samples, settings) or "no migration is sending"
    head = Text(f"QEMU {settings.version}, {format_size(settings.ram_bytes)} of RAM", style="bold")
    tail = Text(f"{one.time_s:.1f} s watched; {promise}")
    return Group(head, table, tail)


def _last(samples: list[Sample]) -> range:
    return range(max(0, len(samples) - _WIDTH), len(samples))


def curve(values: Iterable[float], width: int = _WIDTH) -> str:
    """Return the last ``width`` of ``values`` as a row of blocks, the highest one full."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return " " * len(shown)
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(0, min(steps, round(v / top * steps)))] for v in shown)


def _write(
    settings: Settings, samples: list[Sample], plot: Path | None, trace: Path | None
) -> None:
    from ..recording import write_trace
    from ..recording.watched import recording_of

    recording = recording_of(settings, samples)
    if trace is not None:
        write_trace(recording, trace)
    if plot is not None:
        from ..viz import draw_migration, write_figure

        write_figure(draw_migration(recording), plot)
