"""``migsim`` and ``python -m migsim``: the way in, which needs nothing but the standard library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from . import __version__
from .errors import MigsimError
from .extras import require

DONE: Final = 0
FAILED: Final = 1
"""What was asked for was done, and its result is bad news."""
REFUSED: Final = 2
"""It could not be done: wrong use, a missing extra, an error."""
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` name (default: those of the process); return its status.

    0 is success, 1 a result that is bad news, 2 an error, told in one sentence on stderr.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        # Answered without the extra, and without the time that importing it takes.
        print(f"migsim {__version__}")
        return DONE
    try:
        require("cli")
        from .cli.app import run

        return run(arguments)
    except (MigsimError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            return _reader_has_gone()
        from .cli.visible import visible

        # The text may quote a file of unknown origin.
        print(f"migsim: {visible(str(error))}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _reader_has_gone() -> int:
    """Let nothing be written at exit either: ``migsim ... | head`` is no error of anybody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
