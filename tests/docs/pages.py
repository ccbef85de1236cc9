"""The commands in pages of documentation, run for real.

A fenced ``console`` block holds commands behind ``$ `` and, below each, what it prints.  All blocks
of a page run in order in one folder.  A comment in front of them names the files that are there::

    <!-- files: guest.state = q35-8m.bin.xz, other.state = pc-8m.bin.xz -->

The names on the right are those of ``tests/data/streams``.  ``migsim ...`` runs in this process,
anything else in a shell.  A command has to succeed, unless ``$ echo $?`` below it tells another
status.  All of its output is shown; ``...`` stands for any text, alone in a line for any number of
lines.  A ``python`` block runs as well, and a ``text`` block right behind it is what it prints.

``python tests/docs/pages.py PAGE...`` writes into pages what their commands print.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
STREAMS = ROOT / "tests" / "data" / "streams"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILES = re.compile(r"<!-- files: (.*?) -->", re.DOTALL)
_STATUS = "echo $?"


def pages() -> list[Path]:
    """Return every page of documentation that has commands."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if "```console\n" in page.read_text()]


@dataclass
class Command:
    """A command of a page, and the lines below it."""

    line: int
    words: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Python:
    """A block of Python, and the lines of the text block behind it, if there is one.

    ``shown_at`` is the line on which that begins.
    """

    line: int
    code: str
    shown: list[str] | None
    shown_at: int


def steps(text: str) -> Iterator[Command | Python]:
    """Yield what there is to run, in the order of the page."""
    blocks = list(_FENCE.finditer(text))
    for index, block in enumerate(blocks):
        first = text.count("\n", 0, block.start()) + 2
        if block[1] == "console":
            yield from _commands(block[2], first)
        elif block[1] == "python":
            after = blocks[index + 1] if index + 1 < len(blocks) else None
            close = after is not None and not text[block.end() : after.start()].strip()
            shown = after[2].splitlines() if close and after[1] == "text" else None
            begin = text.count("\n", 0, after.start()) + 2 if shown is not None else 0
            yield Python(first, block[2], shown, begin)


def _commands(block: str, first: int) -> Iterator[Command]:
    command: Command | None = None
    for number, line in enumerate(block.splitlines()):
        if line.startswith("$ "):
            if command is not None:
                yield command
            command = Command(first + number, line[2:])
        elif command is None:
            raise AssertionError(f"line {first + number}: output without a command")
        elif command.words.endswith("\\"):
            command.words = f"{command.words[:-1].rstrip()} {line.strip()}"
        else:
            command.shown.append(line.rstrip())
    if command is not None:
        yield command


def matches(shown: list[str], printed: list[str]) -> bool:
    """Return whether ``printed`` is what a page shows."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(matches(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    if not printed:
        return False
    pattern = ".*".join(re.escape(part) for part in shown[0].split("..."))
    return re.fullmatch(pattern, printed[0]) is not None and matches(shown[1:], printed[1:])


class Folder:
    """Where the commands of one page run."""

    def __init__(self, text: str, folder: Path, migsim: Callable[[list[str]], int]) -> None:
        self._folder = folder
        self._migsim = migsim
        self._names: dict[str, object] = {}
        self._status = 0
        self._last: Command | None = None
        for given in _FILES.findall(text):
            for pair in given.split(","):
                name, _, sample = (part.strip() for part in pair.partition("="))
                raw = (STREAMS / sample).read_bytes()
                data = lzma.decompress(raw) if sample.endswith(".xz") else raw
                (folder / name).write_bytes(data)

    def run(self, step: Command | Python) -> list[str]:
        """Run a step; return the lines that it prints."""
        if isinstance(step, Python):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.chdir(self._folder):
                exec(compile(step.code, f"line {step.line}", "exec"), self._names)
            return [line.rstrip() for line in printed.getvalue().splitlines()]
        if step.words == _STATUS:
            status, self._status = self._status, 0
            return [str(status)]
        self.finish()
        self._last = step
        output, self._status = self._run(step.words)
        return [line.rstrip() for line in output.splitlines()]

    def finish(self) -> None:
        """Check that the command before succeeded, or that the page told its status."""
        if self._status:
            assert self._last is not None
            raise AssertionError(f"line {self._last.line}: status {self._status}")

    def _run(self, words: str) -> tuple[str, int]:
        if not words.startswith("migsim ") or any(sign in words for sign in "|<>&;$*"):
            return self._in_shell(words)
        printed = io.StringIO()
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            contextlib.chdir(self._folder),
        ):
            import shlex

            status = self._migsim(shlex.split(words)[1:])
        return printed.getvalue(), status

    def _in_shell(self, words: str) -> tuple[str, int]:
        paths = (str(Path(sys.executable).parent), os.environ["PATH"])
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=self._folder,
            env=os.environ | {"PATH": os.pathsep.join(paths), "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return done.stdout.decode(), done.returncode


def rewritten(text: str, folder: Path, migsim: Callable[[list[str]], int]) -> str:
    """Return a page with what its commands print, where it does not match what is shown."""
    place = Folder(text, folder, migsim)
    lines = text.splitlines()
    moved = 0
    for step in list(steps(text)):
        printed = place.run(step)
        if step.shown is None or matches(step.shown, printed):
            continue
        if isinstance(step, Python):
            first = step.shown_at + moved - 1
        else:
            first = step.line + moved
            while lines[first - 1].endswith("\\"):
                first += 1
        lines[first : first + len(step.shown)] = printed
        moved += len(printed) - len(step.shown)
    return "\n".join(lines) + "\n"


def main() -> None:
    import tempfile

    from migsim.__main__ import main as migsim

    for name in sys.argv[1:]:
        page = Path(name)
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(rewritten(page.read_text(), Path(folder), migsim))


if __name__ == "__main__":
    main()
