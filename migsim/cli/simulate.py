"""``migsim simulate``: one migration of a synthetic guest, watched in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .predict import (
    AsJson,
    Bandwidth,
    Capabilities,
    Limit,
    Mode,
    Nonzero,
    Parameters,
    PatternName,
    Ram,
    Rate,
    Seed,
    TimeLimit,
    WorkingSet,
    inputs_of,
)

if TYPE_CHECKING:
    from ..predict.inputs import Inputs
    from ..recording import Recording, Sample
    from ..vm import VM

_STRETCHES: Final = 96
_ROWS: Final = 24
_ELSEWHERE: Final = ("wire", "transport", "device state", "catch-up")
"""Inputs of predictions that a simulated machine has no use for."""
Picture = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw states, RAM and rates.")]
Heat = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw which RAM was dirty when.")]
Trace = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a trace for Perfetto.")]


def simulate(
    *,
    ram: Ram = None,
    nonzero: Nonzero = None,
    rate: Rate = None,
    working_set: WorkingSet = None,
    pattern: PatternName = None,
    bandwidth: Bandwidth = None,
    downtime_limit: Limit = None,
    mode: Mode = None,
    capability: Capabilities = None,
    parameter: Parameters = None,
    time_limit: TimeLimit = None,
    every: Annotated[float, typer.Option(metavar="S", help="Seconds between two looks.")] = 0.1,
    plot: Picture = None,
    heat: Heat = None,
    trace: Trace = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> int:
    """Migrate a synthetic guest in virtual time and show what happens, pass by pass.

    The status is 1 when the migration has not completed.
    """
    from ..recording import record_migration, write_trace
    from .pictures import check_plot

    check_plot(plot)
    check_plot(heat)
    inputs = inputs_of(
        ram=ram,
        nonzero=nonzero,
        rate=rate,
        working_set=working_set,
        pattern=pattern,
        curve=None,
        bandwidth=bandwidth,
        link=None,
        downtime_limit=downtime_limit,
        mode=mode,
        transport=None,
        capabilities=capability,
        parameters=parameter,
        time_limit=time_limit,
    )
    vm = machine_of(inputs, seed)
    stretches = 0 if heat is None else _STRETCHES
    recording = record_migration(
        vm, every_s=every, limit_s=inputs.time_limit_s, stretches=stretches
    )
    if as_json:
        typer.echo(json.dumps({**recording.to_dict(), "seed": seed}, indent=2))
    else:
        _print(recording, inputs, seed)
    if trace is not None:
        write_trace(recording, trace)
    _draw(recording, plot, heat)
    return 0 if recording.status == "completed" else 1


def machine_of(inputs: Inputs, seed: int) -> VM:
    """Return a machine whose guest is as ``inputs`` say; its RAM is bitmaps without bytes.

    Raises:
        MigsimError: a capability or parameter that does not fit.
    """
    from ..machine.config import MachineConfig
    from ..predict.exact import workload_of
    from ..ram.backends import BackendKind, BackendSpec, PhantomBackend
    from ..vm import VM

    memory = BackendSpec(BackendKind.PHANTOM, "ram0", inputs.ram_bytes, share=inputs.ram_shared)
    vm = VM(MachineConfig(memory=memory, workload=workload_of(inputs, seed), seed=seed))
    backend = vm.ram["ram0"].backend
    assert isinstance(backend, PhantomBackend)
    for first, count in inputs.ranges():
        backend.nonzero.set_range(first, first + count)
    given = {"max-bandwidth": inputs.max_bandwidth, "downtime-limit": inputs.downtime_limit_ms}
    vm.set_parameters({**given, "mode": inputs.mode, **inputs.parameters})
    vm.set_capabilities([(name, True) for name in sorted(inputs.capabilities | {"events"})])
    return vm


def _print(recording: Recording, inputs: Inputs, seed: int) -> None:
    from rich import box
    from rich.table import Table

    from ..units import format_duration, format_size
    from .console import output

    console = output()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("time", "guest", "migration", "pass", "left", "sent", "dirtied/s", "throttle"):
        table.add_column(name, justify="left" if name in ("guest", "migration") else "right")
    for one in _telling(recording):
        table.add_row(
            format_duration(one.time_s),
            one.run_state,
            one.status,
            str(one.passes),
            format_size(one.remaining_bytes),
            format_size(one.transferred_bytes),
            f"{one.dirty_pages_per_s:,}",
            f"{one.throttle_percent} %" if one.throttle_percent else "",
        )
    console.print(table)
    stop = recording.stop()
    still = "" if stop is None else f" The guest stood still for {format_duration(stop.seconds)}."
    end = format_duration(recording.end_s)
    console.print(f"{recording.status} after {end} of virtual time.{still} Seed {seed}.")
    used = [pair for pair in inputs.assumed if not pair[0].startswith(_ELSEWHERE)]
    for name, value in used:
        console.print(f"Assumed: {name} {value}.", soft_wrap=True)


def _telling(recording: Recording) -> list[Sample]:
    """Return the looks at which something changed, the last of those of each pass, a few more."""
    samples = recording.samples
    kept = [
        before
        for before, after in zip(samples, (*samples[1:], None), strict=True)
        if after is None
        or (before.passes, before.status, before.run_state)
        != (after.passes, after.status, after.run_state)
    ]
    return kept if len(kept) <= _ROWS else [*kept[: _ROWS // 2], *kept[-_ROWS // 2 :]]


def _draw(recording: Recording, plot: Path | None, heat: Path | None) -> None:
    if plot is None and heat is None:
        return
    from ..viz import draw_heat, draw_migration, write_figure

    if plot is not None:
        write_figure(draw_migration(recording), plot)
    if heat is not None:
        write_figure(draw_heat(recording), heat)
