"""``migsim serve``: many machines in one process."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    options: Annotated[
        list[str] | None, typer.Argument(help="QEMU-style options of every machine, behind --.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of machines.")] = 1,
    folder: Annotated[str, typer.Option("--dir", help="Where the sockets go.")] = ".",
) -> None:
    """Serve machines, each with a QMP socket DIR/N.qmp, until a signal comes."""
    from ..server.serve import DEFAULT_OPTIONS
    from ..server.serve import serve as run

    run(folder, count, options or DEFAULT_OPTIONS)
