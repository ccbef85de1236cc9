"""``migsim compare``, ``migsim advise`` and ``migsim calibrate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .predict import (
    AsJson,
    Bandwidth,
    Calibration,
    Curve,
    Limit,
    Link,
    Nonzero,
    PatternName,
    Ram,
    Rate,
    Seed,
    TimeLimit,
    WorkingSet,
    inputs_of,
    load_host,
)

if TYPE_CHECKING:
    from ..predict.inputs import Inputs


def compare(
    *,
    ram: Ram = None,
    nonzero: Nonzero = None,
    rate: Rate = None,
    working_set: WorkingSet = None,
    pattern: PatternName = None,
    curve: Curve = None,
    bandwidth: Bandwidth = None,
    link: Link = None,
    downtime_limit: Limit = None,
    time_limit: TimeLimit = None,
    calibration: Calibration = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a picture (.png, .svg, .pdf).")
    ] = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> int:
    """Put the ways to migrate one guest side by side."""
    from ..predict.compare import compare as compare_ways
    from .pictures import check_plot

    check_plot(plot)
    inputs = _guest(
        ram, nonzero, rate, working_set, pattern, curve, bandwidth, link, downtime_limit, time_limit
    )
    compared = compare_ways(inputs, load_host(calibration), seed=seed)
    if as_json:
        rows = [{"way": c.way.label, **c.prediction.to_dict()} for c in compared]
        typer.echo(json.dumps(rows, indent=2))
    else:
        from .predictions import print_compared

        print_compared(inputs, compared)
    if plot is not None:
        from ..viz.figure import write_figure
        from ..viz.prediction import draw_compared

        write_figure(draw_compared(compared), plot)
    return 0


def advise(
    *,
    ram: Ram = None,
    nonzero: Nonzero = None,
    rate: Rate = None,
    working_set: WorkingSet = None,
    pattern: PatternName = None,
    curve: Curve = None,
    bandwidth: Bandwidth = None,
    link: Link = None,
    longest_stop: Annotated[
        float, typer.Option(metavar="MS", help="Longest stop of the guest, in ms.")
    ] = 300.0,
    longest_time: Annotated[
        float, typer.Option(metavar="S", help="Longest time in all, in seconds.")
    ] = 300.0,
    throttle: Annotated[bool, typer.Option(help="Whether the guest may be slowed down.")] = True,
    mode: Annotated[
        list[str] | None, typer.Option(help="A mode that is possible; repeatable.")
    ] = None,
    calibration: Calibration = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> int:
    """Find settings that keep a longest stop and a longest time.

    The status is 1 when none does.
    """
    from ..predict.advise import Goals
    from ..predict.advise import advise as find

    inputs = _guest(
        ram, nonzero, rate, working_set, pattern, curve, bandwidth, link, None, longest_time
    )
    modes = frozenset(mode or ("normal", "cpr-reboot"))
    goals = Goals(longest_stop, longest_time, throttle, modes)
    advice = find(inputs, goals, load_host(calibration), seed=seed)
    if as_json:
        rows = [
            {
                "way": a.label,
                "settings": a.settings,
                "rejected": a.rejected,
                "prediction": a.prediction.to_dict(),
            }
            for a in advice
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        from .predictions import print_advice

        print_advice(inputs, advice)
    return 0 if advice and not advice[0].rejected else 1


def calibrate(
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the constants go.")] = Path(
        "calibration.json"
    ),
    qemu: Annotated[
        str | None, typer.Option(metavar="BINARY", help="The QEMU to measure with.")
    ] = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> int:
    """Measure what pages and stops cost on this host, in under a minute."""
    from ..predict.calibrate import calibrate as measure

    host = measure(qemu)
    host.save(output)
    if as_json:
        typer.echo(json.dumps({"seed": seed, **host.to_dict()}, indent=2))
    else:
        from .predictions import print_host

        print_host(host, output)
    return 0


def _guest(  # noqa: PLR0917
    ram: str | None,
    nonzero: float | None,
    rate: float | None,
    working_set: str | None,
    pattern: str | None,
    curve: str | None,
    bandwidth: str | None,
    link: str | None,
    downtime_limit: int | None,
    time_limit: float | None,
) -> Inputs:
    return inputs_of(
        ram=ram,
        nonzero=nonzero,
        rate=rate,
        working_set=working_set,
        pattern=pattern,
        curve=curve,
        bandwidth=bandwidth,
        link=link,
        downtime_limit=downtime_limit,
        mode=None,
        transport=None,
        capabilities=None,
        parameters=None,
        time_limit=time_limit,
    )
