"""``migsim predict``: one prediction, a file of them, or those of a running QEMU."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError, ParameterError
from ..units import MIB, parse_size
from .pictures import Plot, check_plot, write_plot

if TYPE_CHECKING:
    from ..predict.hostmodel import HostModel
    from ..predict.inputs import Inputs

Size = Annotated[str | None, typer.Option(metavar="SIZE")]
Ram = Annotated[str | None, typer.Option(metavar="SIZE", help="Guest RAM, such as 4G.")]
Nonzero = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Share of RAM that is not zero, 0 to 1.")
]
Rate = Annotated[
    float | None, typer.Option(metavar="PAGES_PER_S", help="Page writes per second of the guest.")
]
WorkingSet = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory that the writes go to.")
]
PatternName = Annotated[
    str | None, typer.Option("--pattern", metavar="NAME", help="seq, random or hotcold.")
]
Curve = Annotated[
    str | None,
    typer.Option(
        metavar="S:PAGES,...", help="Measured distinct dirty pages after some seconds each."
    ),
]
Bandwidth = Annotated[
    str | None, typer.Option(metavar="SIZE", help="max-bandwidth per second; 0: no limit.")
]
Link = Annotated[str | None, typer.Option(metavar="SIZE", help="The wire, per second.")]
Limit = Annotated[int | None, typer.Option("--downtime-limit", metavar="MS", help="In ms.")]
Mode = Annotated[str | None, typer.Option(help="normal or cpr-reboot.")]
TransportName = Annotated[
    str | None, typer.Option("--transport", metavar="NAME", help="unix (a socket), or file.")
]
Capabilities = Annotated[
    list[str] | None, typer.Option("--capability", metavar="NAME", help="Switch on; repeatable.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="Further parameter; repeatable."),
]
TimeLimit = Annotated[
    float | None, typer.Option(metavar="S", help="How long one is ready to wait, in seconds.")
]
Calibration = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Host constants of migsim calibrate.")
]
Seed = Annotated[int, typer.Option(help="Decides what is random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


PARALLEL_FROM = 32
"""Lines of a batch from which on all processors share the work."""


def predict(
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
    mode: Mode = None,
    transport: TransportName = None,
    capability: Capabilities = None,
    parameter: Parameters = None,
    time_limit: TimeLimit = None,
    model: Annotated[str, typer.Option(help="exact, fluid, or a baseline's name.")] = "exact",
    calibration: Calibration = None,
    batch: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configurations, one JSON line each.")
    ] = None,
    qmp: Annotated[
        str | None,
        typer.Option(metavar="SOCKET", help="Ask a running QEMU; nothing is changed on it."),
    ] = None,
    plot: Plot = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> int:
    """Predict how long a migration takes and how long it stops the guest.

    The status is 1 when it is not expected to end, or when a line of a batch cannot be predicted.
    """
    from ..predict.models import predict_with

    check_plot(plot)
    host = load_host(calibration)
    if batch is not None:
        return _batch(batch, model, host, seed)
    if qmp is not None:
        return _probe(qmp, nonzero, time_limit, host, seed, as_json=as_json)
    inputs = inputs_of(
        ram=ram,
        nonzero=nonzero,
        rate=rate,
        working_set=working_set,
        pattern=pattern,
        curve=curve,
        bandwidth=bandwidth,
        link=link,
        downtime_limit=downtime_limit,
        mode=mode,
        transport=transport,
        capabilities=capability,
        parameters=parameter,
        time_limit=time_limit,
    )
    prediction = predict_with(model, inputs, host, seed=seed, trajectory=True)
    if as_json:
        typer.echo(json.dumps(prediction.to_dict(), indent=2))
    else:
        from .predictions import print_prediction

        print_prediction(inputs, prediction)
    if plot is not None:
        from ..predict.compare import Compared, Way
        from ..viz import draw_compared

        write_plot(draw_compared([Compared(Way(inputs.mode, inputs), prediction)]), plot)
    return 0 if prediction.converges else 1


def load_host(path: Path | None) -> HostModel:
    """Return the stored host constants, or the reference's."""
    from ..predict.hostmodel import REFERENCE, HostModel

    return REFERENCE if path is None else HostModel.load(path)


def _batch(path: Path, model: str, host: HostModel, seed: int) -> int:
    from ..predict.batch import predict_batch
    from ..predict.models import predict_with

    failed = 0
    try:
        lines = path.read_text().splitlines()
        jobs = (os.cpu_count() or 1) if len(lines) >= PARALLEL_FROM else 1
        for answer in predict_batch(
            lines, partial(predict_with, model, host=host, seed=seed), jobs
        ):
            failed += "error" in answer
            typer.echo(json.dumps(answer, separators=(",", ":")))
    except OSError as error:
        raise ConfigError(f"file {path}", error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise ConfigError(f"file {path}", "is no text") from None
    return 1 if failed else 0


def _probe(
    path: str,
    nonzero: float | None,
    time_limit: float | None,
    host: HostModel,
    seed: int,
    *,
    as_json: bool,
) -> int:
    """Predict the guest of a running QEMU as it is set, and in every other way."""
    from ..predict.compare import compare
    from ..predict.models import predict_with
    from ..predict.probe import inputs_of_probe, probe
    from ..predict.qmpclient import ReadOnlyQmp

    with ReadOnlyQmp(path) as connection:
        seen = probe(connection)
    inputs = inputs_of_probe(seen, nonzero_fraction=nonzero, time_limit_s=time_limit or 3600.0)
    prediction = predict_with("exact", inputs, host, seed=seed)
    compared = compare(inputs, host, seed=seed)
    if as_json:
        ways = [{"way": c.way.label, **c.prediction.to_dict()} for c in compared]
        answer = {"as it is set": prediction.to_dict(), "ways": ways}
        typer.echo(json.dumps(answer, indent=2))
    else:
        from .predictions import print_compared, print_prediction

        print_prediction(inputs, prediction)
        print_compared(inputs, compared)
    return 0 if prediction.converges else 1


def inputs_of(
    *,
    ram: str | None,
    nonzero: float | None,
    rate: float | None,
    working_set: str | None,
    pattern: str | None,
    curve: str | None,
    bandwidth: str | None,
    link: str | None,
    downtime_limit: int | None,
    mode: str | None,
    transport: str | None,
    capabilities: list[str] | None,
    parameters: list[str] | None,
    time_limit: float | None,
) -> Inputs:
    """Return the inputs that these options say.

    Raises:
        ParameterError: one of them makes no sense.
    """
    from ..predict.defaults import inputs_from
    from ..predict.inputs import Pattern, Transport

    given: dict[str, Any] = {
        "ram_bytes": _size(ram, "ram", MIB),
        "nonzero_fraction": nonzero,
        "rate_pages_per_s": rate,
        "working_set_bytes": _size(working_set, "working-set", MIB),
        "pattern": _member(Pattern, "pattern", pattern),
        "curve": _curve(curve),
        "max_bandwidth": _size(bandwidth, "bandwidth"),
        "link_bytes_per_s": _size(link, "link"),
        "downtime_limit_ms": downtime_limit,
        "mode": _mode(mode),
        "transport": _member(Transport, "transport", transport),
        "capabilities": frozenset(capabilities) if capabilities else None,
        "parameters": _parameters(parameters),
        "time_limit_s": time_limit,
    }
    return inputs_from(given)


def _size(text: str | None, name: str, unit: int = 1) -> int | None:
    return None if text is None else parse_size(text, name, default_unit=unit)


def _member(kind: Any, name: str, text: str | None) -> Any:  # noqa: ANN401
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise ParameterError(name, text, f"one of {known}") from None


def _mode(text: str | None) -> str | None:
    from ..qapi.enums import MigMode

    return None if text is None else str(_member(MigMode, "mode", text).value)


def _curve(text: str | None) -> Any:  # noqa: ANN401
    from ..predict.curve import DirtyCurve

    if text is None:
        return None
    try:
        points = [part.split(":") for part in text.split(",")]
        times, pages = zip(*((float(time), float(count)) for time, count in points), strict=True)
    except ValueError:
        raise ParameterError("curve", text, "seconds:pages pairs such as 1:2000,5:6000") from None
    return DirtyCurve(times, pages)


def _parameters(texts: list[str] | None) -> dict[str, object] | None:
    if not texts:
        return None
    values: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ParameterError("parameter", text, "NAME=VALUE")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
