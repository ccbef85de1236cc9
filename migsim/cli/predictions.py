"""Predictions as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from ..units import format_duration, format_size
from .console import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from ..predict.advise import Advice
    from ..predict.compare import Compared
    from ..predict.hostmodel import HostModel
    from ..predict.inputs import Inputs
    from ..predict.result import Prediction


def print_prediction(inputs: Inputs, prediction: Prediction) -> None:
    """Print one prediction: the numbers, their parts, why, and what was assumed."""
    console = output()
    console.print(_verdict(prediction))
    table = Table(box=box.SIMPLE_HEAD, show_header=True)
    for name in ("", "expected", f"{prediction.level:.0%} interval"):
        table.add_column(name)
    table.add_row("total time", ms(prediction.total_time_ms), _range(prediction, "total_time_ms"))
    table.add_row("downtime", ms(prediction.downtime_ms), _range(prediction, "downtime_ms"))
    if prediction.converges:
        parts = prediction.downtime
        table.add_row("  last RAM pass", ms(parts.ram_ms), "")
        table.add_row("  device state", ms(parts.device_ms), "")
        table.add_row("  fixed", ms(parts.fixed_ms), "")
        table.add_row("  load on the target, beside", ms(parts.load_ms), "")
    size = format_size(prediction.transferred_bytes)
    table.add_row("transferred", size, _size_range(prediction))
    pages = f"{prediction.normal_pages:,} normal, {prediction.zero_pages:,} zero"
    table.add_row("pages", pages, "")
    table.add_row("passes", str(prediction.dirty_sync_count), "")
    if prediction.expected_downtime_ms is not None:
        table.add_row("QEMU's own expected-downtime", ms(prediction.expected_downtime_ms), "")
    console.print(table)
    for reason in prediction.why:
        console.print(f"- {reason}", soft_wrap=True)
    _print_assumed(console, inputs)
    console.print(
        f"Model {prediction.model}, host constants {prediction.host!r}, seed {prediction.seed}.",
        soft_wrap=True,
    )


def print_compared(inputs: Inputs, compared: Sequence[Compared]) -> None:
    """Print ways to migrate side by side."""
    console = output()
    table = Table(box=box.SIMPLE_HEAD, title="One guest, several ways", title_justify="left")
    for name in ("", "ends", "total time", "downtime", "transferred", "passes", "asks for"):
        table.add_column(name)
    for one in compared:
        answer = one.prediction
        table.add_row(
            one.way.label,
            "yes" if answer.converges else "NO",
            ms(answer.total_time_ms),
            ms(answer.downtime_ms),
            format_size(answer.transferred_bytes),
            str(answer.dirty_sync_count),
            one.way.note,
        )
    console.print(table)
    _print_assumed(console, inputs)
    if compared:
        answer = compared[0].prediction
        console.print(f"Host constants {answer.host!r}, seed {answer.seed}.", soft_wrap=True)


def print_advice(inputs: Inputs, advice: Sequence[Advice]) -> None:
    """Print settings, those that meet the goals first, and why the others do not."""
    console = output()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "downtime-limit", "total time", "downtime", "why not"):
        table.add_column(name)
    for one in advice:
        answer = one.prediction
        limit = one.settings.get("downtime-limit")
        table.add_row(
            one.label,
            "-" if limit is None else f"{limit} ms",
            ms(answer.total_time_ms),
            ms(answer.downtime_ms),
            one.rejected or Text("meets the goals", style="green"),
        )
    console.print(table)
    _print_assumed(console, inputs)


def print_host(host: HostModel, path: Path) -> None:
    """Print host constants and where they are kept."""
    console = output()
    table = Table(box=box.SIMPLE_HEAD, title=host.name, title_justify="left")
    table.add_column("constant")
    table.add_column("value", justify="right")
    for name, value in host.to_dict().items():
        if name != "name":
            table.add_row(name, f"{value:.4g}")
    console.print(table)
    console.print(f"Kept in {path}; use it with --calibration {path}.", soft_wrap=True)


def _print_assumed(console: Console, inputs: Inputs) -> None:
    if inputs.assumed:
        given = "; ".join(f"{name} {value}" for name, value in inputs.assumed)
        console.print(f"Assumed: {given}.", soft_wrap=True)


def ms(value: float | None) -> str:
    """Return a time in milliseconds as text, ``-`` for none."""
    return "-" if value is None else format_duration(value / 1000)


def _verdict(prediction: Prediction) -> Text:
    if prediction.converges and prediction.throttle:
        return Text("Converges, but only with the guest throttled.", style="bold yellow")
    if prediction.converges:
        return Text("Converges.", style="bold green")
    return Text("Does not converge within the time limit.", style="bold red")


def _range(prediction: Prediction, name: str) -> str:
    bounds = prediction.intervals.get(name)
    return "" if bounds is None else f"{ms(bounds.low)} to {ms(bounds.high)}"


def _size_range(prediction: Prediction) -> str:
    bounds = prediction.intervals.get("transferred_bytes")
    return "" if bounds is None else f"{format_size(bounds.low)} to {format_size(bounds.high)}"
