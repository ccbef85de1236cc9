"""Text on a terminal: colours where there is one, plain text where the output is piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

PIPED_COLUMNS = 100


def output() -> Console:
    """Return the console for results; as wide as the terminal, or 100 columns in a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_COLUMNS)
    return console


@contextmanager
def progress_bar(
    what: str, *, wanted: bool = True
) -> Iterator[Callable[[int, int | None], None] | None]:
    """Give a function that is told how many bytes are done, and of how many.

    A bar is drawn on stderr while the context lasts, if that is a terminal; else, or when it is
    not ``wanted``, there is None to tell.
    """
    console = Console(stderr=True)
    if not wanted or not console.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
