"""``migsim demo``: options and order of work; what happens is in ``migsim.demo``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, ParameterError
from ..units import MIB, parse_size
from .pictures import check_plot

if TYPE_CHECKING:
    from ..demo import Scenario

RAM_KINDS = "tmpfs-pkram, dax, memfd-luo, disk; lost: tmpfs; copied: memfd, anonymous"


def cpr_reboot(
    *,
    seed: Annotated[int, typer.Option(help="Decides which pages the guest writes.")] = 0,
    ram: Annotated[str, typer.Option(metavar="SIZE", help="Guest RAM, such as 1G.")] = "128M",
    rate: Annotated[
        float, typer.Option(metavar="PAGES_PER_S", help="Page writes per second of the guest.")
    ] = 25_000.0,
    ram_kind: Annotated[
        str, typer.Option(metavar="KIND", help=f"What the RAM lies in: {RAM_KINDS}.")
    ] = "tmpfs-pkram",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a picture (.png, .svg, .pdf).")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the files in this empty directory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Save a guest with cpr-reboot, reboot the host, resume: beside normal migration.

    The host is simulated, its files are real, time is virtual.  The status is 1 when the guest
    lost something.
    """
    check_plot(plot)
    from ..demo import walk_cpr_reboot

    scenario = _scenario(seed, ram, rate, ram_kind)
    with ExitStack() as cleanup:
        if keep is None:
            import tempfile

            root = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="migsim-")))
        else:
            root = _new_directory(keep)
        result = walk_cpr_reboot(root, scenario)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
    else:
        from .walkthrough import print_walkthrough

        print_walkthrough(result, kept=keep)
    if plot is not None:
        from ..viz import draw_walkthrough, write_figure

        write_figure(draw_walkthrough(result), plot)
        if not as_json:
            typer.echo(f"Picture in {plot}.")
    return 0 if result.ok else 1


def _scenario(seed: int, ram: str, rate: float, ram_kind: str) -> Scenario:
    from ..demo import Scenario
    from ..host import RamKind

    try:
        kind = RamKind(ram_kind)
    except ValueError:
        known = ", ".join(kind.value for kind in RamKind)
        raise ParameterError("ram-kind", ram_kind, f"one of {known}") from None
    size = parse_size(ram, "ram", default_unit=MIB)
    return Scenario(ram_bytes=size, rate_pages_per_s=rate, seed=seed, ram_kind=kind)


def _new_directory(path: Path) -> Path:
    """Return ``path`` as an empty directory, made if it is missing.

    Raises:
        ConfigError: it is not empty, not a directory, or cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"directory {path}", "is a file; name a new or an empty directory")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(f"directory {path}", "is not empty; name a new or an empty one")
    except OSError as error:
        raise ConfigError(f"directory {path}", error.strerror or str(error)) from error
    return path
