"""``migsim stream``: options and order of work; what is done is in ``migsim.streamtool``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..units import parse_size

if TYPE_CHECKING:
    from ..streamtool.files import Progress, StreamFiles

DONE = 0
FINDINGS = 1
"""The answer is bad news: something is wrong, or differs, or not all could be saved."""

File: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The state file.")]
Offset: TypeAlias = Annotated[
    str, typer.Option(metavar="SIZE", help="Where the stream begins in the file (4096, 1M).")
]
Channels: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--channel", metavar="FILE", help="A recorded multifd channel; repeat for each."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def info(
    file: File, *, offset: Offset = "0", channel: Channels = None, as_json: AsJson = False
) -> int:
    """What is in a state file: machine, sections, RAM blocks, devices."""
    from ..streamtool import stream_info

    with _progress("reading", as_json) as progress:
        result = stream_info(_files(file, offset, channel), progress)
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_info

        print_info(result)
    return DONE if result.fault is None else FINDINGS


def show(
    file: File,
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="[SECTION[/FIELD]]",
            help="A section by name, pattern or name#instance, and a field in it.",
        ),
    ] = None,
    *,
    offset: Offset = "0",
    channel: Channels = None,
    as_json: AsJson = False,
) -> int:
    """The state of devices, decoded: fields with names, types, places and values."""
    from ..streamtool import show_state

    with _progress("reading", as_json) as progress:
        result = show_state(_files(file, offset, channel), section, progress)
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_state

        print_state(result, whole="/" in (section or ""))
    return DONE if result.fault is None else FINDINGS


def check(
    file: File,
    *,
    machine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Machine type of the receiver.")
    ] = None,
    offset: Offset = "0",
    channel: Channels = None,
    as_json: AsJson = False,
) -> int:
    """Is the stream whole, would a QEMU 10.0 load it, and what does it need to?"""
    from ..streamtool import check_stream

    with _progress("checking", as_json) as progress:
        result = check_stream(_files(file, offset, channel), machine, progress)
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_check

        print_check(result)
    return DONE if result.ok else FINDINGS


def _files(file: Path, offset: str, channels: list[Path] | None) -> StreamFiles:
    from ..streamtool import StreamFiles

    return StreamFiles.at(file, parse_size(offset, "offset"), channels or ())


def _print_json(result: object) -> None:
    from ..streamtool import to_json

    typer.echo(json.dumps(to_json(result), indent=2))


@contextmanager
def _progress(what: str, as_json: bool) -> Iterator[Progress | None]:
    """Give a function that shows how far the work has come, on a terminal, while it lasts."""
    from .console import progress_bar

    with progress_bar(what, wanted=not as_json) as tell:
        yield tell


COMMANDS = (info, show, check)
"""The commands of the group, in the order of its help."""
