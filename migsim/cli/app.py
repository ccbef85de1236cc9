"""The tree of commands, and the one place where wrong use becomes one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from ..errors import ParameterError
from . import (
    blockers,
    compare,
    demo,
    doctor,
    play,
    predict,
    serve,
    simulate,
    stream,
    transfer,
    watch,
)


class UsageError(ParameterError):
    """The command line is wrong: an option, a value or a command that there is not."""

    def __init__(self, text: str) -> None:
        super().__init__("command line", text, "see migsim --help")
        self.args = (f"{text.strip().rstrip('.')} (see migsim --help)",)


def new_group(summary: str) -> typer.Typer:
    """Return an empty group of commands, which prints its help when no command is given."""
    group = typer.Typer(
        help=summary,
        rich_markup_mode=None,  # plain help takes half the time
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.callback(invoke_without_command=True)(_help_alone)
    return group


def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migsim {__version__}")
        raise typer.Exit


def _top(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version)
    ] = False,
) -> None:
    """QEMU's migration core without QEMU."""
    _help_alone(context)


def build() -> typer.Typer:
    """Return the whole tree of commands."""
    app = new_group("QEMU's migration core without QEMU.")
    app.callback(invoke_without_command=True)(_top)
    group = new_group("Walk-throughs on a simulated host, with real files.")
    group.command("cpr-reboot")(demo.cpr_reboot)
    app.add_typer(group, name="demo")
    app.command("blockers")(blockers.blockers)
    app.command("simulate")(simulate.simulate)
    app.command("predict")(predict.predict)
    app.command("compare")(compare.compare)
    app.command("advise")(compare.advise)
    app.command("calibrate")(compare.calibrate)
    app.command("play")(play.play)
    app.command("watch")(watch.watch)
    app.command("doctor")(doctor.doctor)
    app.command("serve")(serve.serve)
    app.command("save")(transfer.save)
    app.command("load")(transfer.load)
    group = new_group(
        "Tools for state files: what is in them, are they whole, other forms of them."
    )
    for command in stream.COMMANDS:
        group.command(command.__name__.replace("_", "-"))(command)
    app.add_typer(group, name="stream")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return the exit status.

    Raises:
        UsageError: the command line is wrong.
        MigsimError: whatever the command raised.
    """
    try:
        status = build()(args=list(arguments), prog_name="migsim", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        # Wrong use has no public base class in all versions of typer, but this method in each.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        raise UsageError(message()) from error
    return status if isinstance(status, int) else 0
