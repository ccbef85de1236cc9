"""``migsim stream``: options and order of work; what is done is in ``migsim.streamtool``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from ..errors import ParameterError
from ..units import parse_size
from .pictures import Plot, check_plot, write_plot

if TYPE_CHECKING:
    from ..streamtool import Progress, StreamFiles, WrittenStream
    from ..streamtool import ZeroPages as ZeroPagesKind

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
Source: TypeAlias = Annotated[Path, typer.Argument(metavar="SRC", help="The state file to read.")]
Target: TypeAlias = Annotated[Path, typer.Argument(metavar="DST", help="The file to write.")]
TargetOffset: TypeAlias = Annotated[
    str, typer.Option(metavar="SIZE", help="Where the stream is to begin in DST.")
]
ZeroPages: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="omit|mark",
        help="Leave zero pages out (for fresh RAM), or tell each; by default as QEMU does.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def info(
    file: File,
    *,
    offset: Offset = "0",
    channel: Channels = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> int:
    """What is in a state file: machine, sections, RAM blocks, devices."""
    from ..streamtool import stream_info

    check_plot(plot)
    with _progress("reading", as_json) as progress:
        result = stream_info(_files(file, offset, channel), progress)
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_info

        print_info(result)
    if plot is not None:
        from ..viz import draw_stream

        write_plot(draw_stream(result), plot)
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


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A state file.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The one to compare it with.")],
    *,
    ram: Annotated[
        bool, typer.Option("--ram", help="Compare the contents of RAM, page by page.")
    ] = False,
    offset: Offset = "0",
    offset_b: Annotated[
        str, typer.Option(metavar="SIZE", help="Where the stream begins in B.")
    ] = "0",
    channel: Channels = None,
    channel_b: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A recorded multifd channel of B.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What differs between two state files: sections, versions, fields, pages of RAM."""
    from ..streamtool import compare_streams

    with _progress("comparing", as_json) as progress:
        result = compare_streams(
            _files(a, offset, channel), _files(b, offset_b, channel_b), ram=ram, progress=progress
        )
    if as_json:
        _print_json(result)
    else:
        from .stream_diff_text import print_difference

        print_difference(result)
    return DONE if result.same else FINDINGS


def extract_ram(
    file: File,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")
    ],
    block: Annotated[
        str | None, typer.Option(metavar="ID", help="The RAM block; not needed for an only one.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a broken stream, write what can be read.")
    ] = False,
    offset: Offset = "0",
    channel: Channels = None,
    as_json: AsJson = False,
) -> int:
    """The content of a RAM block as a file: its exact length, holes where it is zero."""
    from .. import streamtool

    with _progress("extracting", as_json) as progress:
        result = streamtool.extract_ram(
            _files(file, offset, channel), output, block, partial=partial, progress=progress
        )
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_extracted

        print_extracted(result)
    return DONE if result.fault is None else FINDINGS


def convert(
    source: Source,
    target: Target,
    *,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="plain or mapped-ram.")],
    dst_offset: TargetOffset = "0",
    drop_description: Annotated[
        bool, typer.Option("--drop-description", help="Leave the description at the end out.")
    ] = False,
    zero_pages: ZeroPages = None,
    offset: Offset = "0",
    channel: Channels = None,
    as_json: AsJson = False,
) -> int:
    """A state file of any form as a plain or a mapped-ram one; whole or not at all."""
    from .. import streamtool

    wanted = _one_of(streamtool.StreamForm, form, "format", ("plain", "mapped-ram"))
    with _progress("converting", as_json) as progress:
        result = streamtool.convert(
            _files(source, offset, channel, beside="--dst-offset"),
            target,
            wanted,
            target_offset=parse_size(dst_offset, "dst-offset"),
            zero_pages=_zero_pages(zero_pages),
            drop_description=drop_description,
            progress=progress,
        )
    return _written(result, as_json)


def replace_ram(
    source: Source,
    target: Target,
    *,
    block: Annotated[
        list[str], typer.Option("--block", metavar="ID", help="The RAM block; may be repeated.")
    ],
    from_: Annotated[
        list[Path],
        typer.Option("--from", metavar="FILE", help="Its new content; one for each --block."),
    ],
    dst_offset: TargetOffset = "0",
    zero_pages: ZeroPages = None,
    offset: Offset = "0",
    channel: Channels = None,
    as_json: AsJson = False,
) -> int:
    """A state file with other content of RAM blocks, everything else as it was."""
    from .. import streamtool

    if len(block) != len(from_) or len(set(block)) != len(block):
        raise ParameterError("block", ", ".join(block), "each block once, with a --from for it")
    with _progress("writing", as_json) as progress:
        result = streamtool.replace_ram(
            _files(source, offset, channel, beside="--dst-offset"),
            target,
            dict(zip(block, from_, strict=True)),
            target_offset=parse_size(dst_offset, "dst-offset"),
            zero_pages=_zero_pages(zero_pages),
            progress=progress,
        )
    return _written(result, as_json)


COMMANDS = (info, show, check, diff, extract_ram, convert, replace_ram)
"""The commands of the group, in the order of its help."""

_Chosen = TypeVar("_Chosen", bound=StrEnum)


def _one_of(
    kinds: type[_Chosen], text: str, name: str, known: Sequence[str] | None = None
) -> _Chosen:
    known = tuple(kind.value for kind in kinds) if known is None else known
    if text not in known:
        raise ParameterError(name, text, f"one of {', '.join(known)}")
    return kinds(text)


def _zero_pages(text: str | None) -> ZeroPagesKind | None:
    from ..streamtool import ZeroPages

    return None if text is None else _one_of(ZeroPages, text, "zero-pages")


def _written(result: WrittenStream, as_json: bool) -> int:
    if as_json:
        _print_json(result)
    else:
        from .stream_text import print_written

        print_written(result)
    return DONE


def _files(
    file: Path, offset: str, channels: list[Path] | None, *, beside: str = ""
) -> StreamFiles:
    """Return the files of a stream; ``beside`` is an option that ``offset`` may be mistaken for."""
    from ..streamtool import StreamFiles, begins_stream

    files = StreamFiles.at(file, parse_size(offset, "offset"), channels or ())
    if files.offset and not begins_stream(files) and begins_stream(StreamFiles.at(file)):
        hint = f"; {beside} is for the new file" if beside else ""
        raise ParameterError("offset", offset, f"the place of the stream, which is 0{hint}")
    return files


def _print_json(result: object) -> None:
    from ..streamtool import to_json

    typer.echo(json.dumps(to_json(result), indent=2))


@contextmanager
def _progress(what: str, as_json: bool) -> Iterator[Progress | None]:
    """Give a function that shows how far the work has come, on a terminal, while it lasts."""
    from .console import progress_bar

    with progress_bar(what, wanted=not as_json) as tell:
        yield tell
