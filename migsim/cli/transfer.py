"""``migsim save`` and ``migsim load``: RAM in a file to a state file, and back."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..errors import ParameterError
from ..units import GIB, parse_size

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..ramfile import Moved, Tell

Threads: TypeAlias = Annotated[
    int, typer.Option(metavar="N", help="Threads for bulk work; 0: as the machine has room for.")
]
ShowProgress: TypeAlias = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a bar, on a terminal.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def save(
    *,
    ram: Annotated[Path, typer.Option(metavar="FILE", help="Guest RAM; it is only read.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="State file.")],
    machine: Annotated[str, typer.Option(metavar="TYPE", help="Type of machine.")] = "none",
    block: Annotated[str, typer.Option(metavar="NAME", help="Name of the RAM block.")] = "ram0",
    form: Annotated[
        str, typer.Option("--format", metavar="plain|mapped-ram", help="How RAM lies in the file.")
    ] = "plain",
    mode: Annotated[str, typer.Option(metavar="normal|cpr-reboot", help="The mode.")] = "normal",
    ignore_shared: Annotated[
        bool, typer.Option("--ignore-shared", help="Leave RAM in its file.")
    ] = False,
    prealloc: Annotated[
        bool, typer.Option(help="Bring RAM into the page table first, outside the time.")
    ] = False,
    threads: Threads = 0,
    progress: ShowProgress = True,
    as_json: AsJson = False,
) -> int:
    """Save guest RAM that lies in a file as a state file that QEMU loads."""
    from ..qapi.enums import MigMode
    from ..ramfile import Format, save_ram

    if form not in tuple(Format):
        raise ParameterError("format", form, f"one of {', '.join(Format)}")
    modes = (MigMode.NORMAL, MigMode.CPR_REBOOT)
    if mode not in {m.value for m in modes}:
        raise ParameterError("mode", mode, "normal or cpr-reboot")
    _use_threads(threads)
    with _bar("saving", progress and not as_json) as tell:
        moved = save_ram(
            ram,
            output,
            machine=machine,
            block=block,
            form=Format(form),
            mode=MigMode(mode),
            ignore_shared=ignore_shared,
            prealloc=prealloc,
            tell=tell,
        )
    _print(moved, "save", as_json)
    return 0


def load(
    source: Annotated[Path, typer.Argument(metavar="IN", help="State file.")],
    *,
    ram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where RAM goes; without it, it is only tried."),
    ] = None,
    offset: Annotated[str, typer.Option(help="Byte at which the stream begins.")] = "0",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Map a mapped-ram file as RAM instead of reading it.")
    ] = False,
    threads: Threads = 0,
    progress: ShowProgress = True,
    as_json: AsJson = False,
) -> int:
    """Load a state file into a machine that fits it, its RAM into a file."""
    from ..ramfile import load_ram

    _use_threads(threads)
    with _bar("loading", progress and not as_json) as tell:
        moved = load_ram(
            source, ram, offset=parse_size(offset, "offset"), in_place=in_place, tell=tell
        )
    _print(moved, "load", as_json)
    return 0


def _peak_rss() -> int | None:
    """Return the most resident memory of this process at once, RAM included, in bytes."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _use_threads(count: int) -> None:
    from ..threads import limit_threads

    if count < 0:
        raise ParameterError("threads", str(count), "0 or more")
    limit_threads(count)


def _bar(what: str, wanted: bool) -> AbstractContextManager[Tell | None]:
    if not wanted:
        return nullcontext()
    from .console import progress_bar

    return progress_bar(what)


def _print(moved: Moved, what: str, as_json: bool) -> None:
    done = {"save": "saved", "load": "loaded"}[what]
    if as_json:
        facts = {
            f"{what}_s": moved.seconds,
            "ram_bytes": moved.ram_bytes,
            "file_bytes": moved.file_bytes,
            "bytes_per_s": moved.bytes_per_s,
            "normal_pages": moved.normal_pages,
            "zero_pages": moved.zero_pages,
            "peak_rss": _peak_rss(),
        }
        typer.echo(json.dumps(facts))
        return
    pages = ""
    if moved.normal_pages is not None:
        pages = f"{moved.normal_pages} pages with content, {moved.zero_pages} zero; "
    typer.echo(
        f"{done} {moved.ram_bytes / GIB:.3g} GiB of RAM in {moved.seconds:.3g} s"
        f" ({moved.bytes_per_s / GIB:.3g} GiB/s); {pages}file of {moved.file_bytes} bytes"
    )
