"""``migsim-system-x86_64``: a QEMU-style command line becomes a process with monitors.

The engines are imported when the machine is built.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING, Final

from ..errors import MigsimError
from ..qapi.release import Release
from .reactor import Reactor

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
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

    release = os.environ.get("MIGSIM_RELEASE", "")
    for word, argument in pairwise(argv):
        if word.lstrip("-") == "release":
            release = argument
    known = Release.parse(release) if release else Release.DEFAULT
    return parse(argv, known, own=OWN_OPTIONS)


def main(argv: Sequence[str] | None = None, greeter: Greeter | None = None) -> int:
    """Run the process and return its exit status; ``greeter`` may have said hello already."""
    reactor = Reactor()
    status = [0]

    def ended(code: int, reason: str) -> None:
        if code:
            print(f"{_program()}: {reason}", file=sys.stderr)
        status[0] = code
        reactor.stop()

    try:
        words = sys.argv[1:] if argv is None else argv
        line = read_command_line(words)
        for warning in line.warnings:
            print(f"{_program()}: warning: {warning}", file=sys.stderr)
        if line.info is not None:
            from ..cmdline.texts import info_text

            sys.stdout.write(info_text(line.info, line.release))
            return 0
        from .frontend import FrontEnd

        front = FrontEnd(reactor, words, read_command_line, ended, greeter)
    except MigsimError as error:
        print(f"{_program()}: {error}", file=sys.stderr)
        return 1

    def terminate(_number: int, _frame: FrameType | None) -> None:
        reactor.call_soon_threadsafe(front.terminate)

    for number in _SIGNALS:
        signal.signal(number, terminate)
    reactor.run()
    return status[0]


def _program() -> str:
    return os.path.basename(sys.argv[0])
