"""``migsim-system-x86_64``: a QEMU-style command line becomes a process with monitors.

The engines are imported when the machine is built.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING, Final

from ..errors import MigsimError
from ..qapi.release import Release
from .background import into_background, nothing, pid_file
from .reactor import Reactor

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
    from .frontend import FrontEnd
    from .handover import HandedOver
    from .launch import Greeter

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
OWN_OPTIONS: Final = {"release": True, "allow-exec": False, "virtual-time": False, "seed": True}
"""Options that QEMU does not have, and whether each takes an argument."""


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """Return what the argument list says.

    The release comes from ``-release`` or else from the environment, ``MIGSIM_RELEASE``.

    Raises:
        ConfigError: an option is wrong, or would need what migsim does not model.
    """
    from ..cmdline.parse import parse

    return parse(argv, release_of(argv), own=OWN_OPTIONS)


def release_of(argv: Sequence[str]) -> Release:
    """Return the release that ``argv`` or the environment asks for; raises as the parser."""
    release = os.environ.get("MIGSIM_RELEASE", "")
    for word, argument in pairwise(argv):
        if word.lstrip("-") == "release":
            release = argument
    return Release.parse(release) if release else Release.DEFAULT


def await_memory(argv: Sequence[str]) -> HandedOver | None:
    """Wait for a source that hands memory over, if ``argv`` says so; return what it gave.

    Only what is wrong with single options ends the process before; everything else does when the
    source has come (seen on QEMU 10.0.2).

    Raises:
        ConfigError: an option that is malformed by itself.
        ChannelError: the address cannot be listened at, or the source went away.
        StreamError: what came is no such state.
    """
    if not any("cpr" in word for word in argv):
        return None
    from ..cmdline.parse import early_incoming
    from .handover import receive_state

    incoming = early_incoming(argv, release_of(argv), own=OWN_OPTIONS)
    if incoming is None or incoming.cpr is None:
        return None
    return receive_state(incoming.cpr.parsed().target)


def main(argv: Sequence[str] | None = None, greeter: Greeter | None = None) -> int:
    """Run the process and return its exit status; ``greeter`` may have said hello already."""
    reactor = Reactor()
    status = [0]

    def ended(code: int, reason: str) -> None:
        if code:
            print(f"{_program()}: {reason}", file=sys.stderr)
        status[0] = code
        reactor.stop()

    handed: HandedOver | None = None
    ready = nothing
    try:
        words = sys.argv[1:] if argv is None else argv
        handed = await_memory(words)
        line = read_command_line(words)
        for warning in line.warnings:
            print(f"{_program()}: warning: {warning}", file=sys.stderr)
        if line.info is not None:
            from ..cmdline.texts import info_text

            sys.stdout.write(info_text(line.info, line.release))
            return 0
        if line.dump_vmstate is not None:
            from .dump import write_vmstate

            write_vmstate(line, line.dump_vmstate)
            return 0
        if line.daemonize:
            done, ready = into_background()
            if done is not None:
                return done
            reactor = Reactor()  # the other one's descriptors belong to both processes
        with pid_file(line.pidfile):
            from .frontend import FrontEnd

            front = FrontEnd(
                reactor, words, read_command_line, ended, greeter=greeter, handed=handed
            )
            ready()
            _run(reactor, front)
    except MigsimError as error:
        if handed is not None:
            handed.close()
        print(f"{_program()}: {error}", file=sys.stderr)
        return 1
    return status[0]


def _run(reactor: Reactor, front: FrontEnd) -> None:
    """Serve until the machine ends, which signals make it do."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        reactor.call_soon_threadsafe(front.terminate)

    for number in _SIGNALS:
        signal.signal(number, terminate)
    gc.freeze()  # what was made so far lives as long as the process
    gc.enable()
    reactor.run()


def _program() -> str:
    return os.path.basename(sys.argv[0])
