"""``migsim blockers``: what on a QEMU command line forbids migration, before it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .pictures import Plot, check_plot, write_plot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..cmdline.dryrun import DryRun, FoundBlocker
    from ..qapi.enums import MigMode
    from ..qapi.release import Release

_INDENT = "    "


def blockers(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- QEMU-OPTION...]", help="A QEMU command line, with or without the program."
        ),
    ] = None,
    *,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="Only what forbids this migration mode.")
    ] = None,
    release: Annotated[
        str, typer.Option(metavar="X.Y", help="Release of QEMU: 8.2, 10.0 or 11.1.")
    ] = "10.0",
    catalogue: Annotated[
        bool, typer.Option("--all", help="Everything known that forbids migration.")
    ] = False,
    plot: Plot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """List what on a QEMU command line forbids migration: which modes, and what lifts it.

    Nothing is started; disk images are looked at where they can be read. The status is 0 if
    nothing forbids the mode (without --mode: any mode), 1 if something does.
    """
    check_plot(plot)
    at = _release(release)
    wanted = None if mode is None else _mode(mode, at)
    if catalogue:
        return _print_catalogue(at, wanted, as_json=as_json)
    from ..cmdline.dryrun import dry_run

    result = dry_run(words or [], at)
    blocking = result.blocking(wanted)
    if as_json:
        _print_json({**result.to_dict(), "blockers": [one.to_dict() for one in blocking]})
    else:
        _print_text(result, blocking, wanted)
    if plot is not None:
        from ..viz import draw_blockers

        features = dict.fromkeys(one.row.feature for one in blocking)
        write_plot(draw_blockers(features or None, at), plot)
    return 1 if blocking else 0


def _release(text: str) -> Release:
    from ..errors import ParameterError
    from ..qapi.release import Release

    release = Release.parse(text)
    if release < Release.V8_2:
        raise ParameterError("release", text, f"{Release.V8_2} or later, which has migration modes")
    return release


def _mode(name: str, release: Release) -> MigMode:
    from ..blockers.rows import modes_at
    from ..errors import ParameterError

    for mode in modes_at(release):
        if mode.value == name:
            return mode
    known = ", ".join(mode.value for mode in modes_at(release))
    raise ParameterError("mode", name, f"one of {known} in {release}")


def _print_json(values: object) -> None:
    import json

    typer.echo(json.dumps(values, indent=2))


def _print_text(result: DryRun, blocking: tuple[FoundBlocker, ...], wanted: MigMode | None) -> None:
    for number, alike in enumerate(_alike(blocking), 1):
        typer.echo(f"{number}. {_headline(alike)}")
        for line in _details(alike):
            typer.echo(_INDENT + line)
    for path in result.unread:
        typer.echo(f"Not read: image {_shown(path)}; taken to be of the format that was named.")
    for refusal in result.unmodelled:
        typer.echo(f"Not judged: {_shown(refusal.option)} ({_shown(refusal.reason)}).")
    typer.echo(_summary(result, blocking, wanted))


def _shown(text: str) -> str:
    from .visible import visible

    return visible(text)


def _alike(found: tuple[FoundBlocker, ...]) -> list[list[FoundBlocker]]:
    """Return what was found with the things of one kind together, such as all blocks of RAM."""
    groups: dict[object, list[FoundBlocker]] = {}
    for one in found:
        groups.setdefault((one.row.feature, one.modes, one.certain), []).append(one)
    return list(groups.values())


def _headline(alike: list[FoundBlocker]) -> str:
    one = alike[0]
    verb = "forbids" if one.certain else "may forbid"
    names = ", ".join(f"'{_shown(other.applied.name)}'" for other in alike if other.applied.name)
    modes = ", ".join(mode.value for mode in one.modes)
    return f"{one.row.title}{' ' if names else ''}{names} {verb} {modes}"


def _details(alike: list[FoundBlocker]) -> Iterator[str]:
    one = alike[0]
    options = dict.fromkeys(_shown(other.applied.option) for other in alike)
    yield f"option:   {', '.join(options)}"
    yield f"when:     {one.row.when}"
    yield f"lift:     {one.row.lift}"
    yield f"releases: {_span(one)}"
    if one.row.note:
        yield f"note:     {one.row.note}"


def _span(one: FoundBlocker) -> str:
    first = f"since {one.row.since}" if one.row.since else "since before 8.2"
    last = f"gone in {one.row.until}" if one.row.until else "still in 11.1"
    return f"{first}, {last}"


def _summary(result: DryRun, blocking: tuple[FoundBlocker, ...], wanted: MigMode | None) -> str:
    free = ", ".join(mode.value for mode in result.free()) or "none"
    what = "migration" if wanted is None else f"mode {wanted.value}"
    if not blocking:
        tail = "" if wanted is None else f" Free modes: {free}."
        return f"Nothing on this command line forbids {what} in {result.release}.{tail}"
    count = "1 blocker" if len(blocking) == 1 else f"{len(blocking)} blockers"
    refused = (
        " With -only-migratable QEMU does not start."
        if result.only_migratable and any(one.certain for one in blocking)
        else ""
    )
    return f"{count} of {what} in {result.release}; free modes: {free}.{refused}"


def _concerns(blocked: frozenset[MigMode], wanted: MigMode | None) -> bool:
    return bool(blocked) if wanted is None else wanted in blocked


def _print_catalogue(release: Release, wanted: MigMode | None, *, as_json: bool) -> int:
    from ..blockers.catalogue import ROWS, blocked_modes
    from ..blockers.rows import modes_at

    found = {
        feature: (
            row,
            [mode.value for mode in modes_at(release) if row.scope(release).blocks(mode)],
        )
        for feature, row in ROWS.items()
        if _concerns(blocked_modes(feature, release), wanted)
    }
    if as_json:
        keys = ("feature", "title", "modes", "lift")
        rows = [(f, row.title, modes, row.lift) for f, (row, modes) in found.items()]
        _print_json([dict(zip(keys, values, strict=True)) for values in rows])
        return 0
    width = max(map(len, found), default=0)
    for feature, (_, modes) in found.items():
        typer.echo(f"{feature:<{width}}  {', '.join(modes)}")
    typer.echo(f"{len(found)} known features forbid migration in {release}.")
    return 0
