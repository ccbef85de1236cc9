"""Kills processes that save, load or convert: ``python -m fault.killing --count 500``.

Children are forked from a process that has no threads, and killed with SIGKILL after a random part
of the time that they take.  What they leave is looked at by another child: nothing they only read
has changed, half a file is never taken for a whole one, and the same work done again succeeds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from migsim.errors import MigsimError
from migsim.ramfile import Format, load_ram, save_ram
from migsim.streamtool import StreamFiles, StreamForm, convert

PAGES = 2048
PRECIOUS = b"what was there before"


@dataclass(frozen=True)
class Files:
    """What every child works with."""

    folder: Path

    @property
    def ram(self) -> Path:
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def target(self) -> Path:
        return self.folder / "target"

    @property
    def again(self) -> Path:
        return self.folder / "again"

    def clear(self) -> None:
        for path in self.folder.iterdir():
            if path not in (self.ram, self.state):
                path.unlink()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(form: Format) -> Callable[[Files], None]:
    return lambda files: void(save_ram(files.ram, files.target, form=form))


def load(files: Files) -> None:
    load_ram(files.state, files.target)


def to_mapped(files: Files) -> None:
    convert(StreamFiles.at(files.state), files.target, StreamForm.MAPPED_RAM)


def over_another(files: Files) -> None:
    if not files.target.exists():
        files.again.write_bytes(PRECIOUS)
        files.again.rename(files.target)  # at once: it is not this that is looked at
    to_mapped(files)


def void(_: object) -> None: ...


def stream_is_whole_or_refused(files: Files) -> bool:
    """Return whether the target is whole; a part of a stream must not load."""
    if not files.target.exists():
        return False
    try:
        load_ram(files.target, files.again)
    except MigsimError:
        return False
    assert digest(files.again) == digest(files.ram), "half a file was taken for a whole one"
    return True


def ram_is_whole(files: Files) -> bool:
    return files.target.exists() and digest(files.target) == digest(files.ram)


def is_there_or_not(files: Files) -> bool:
    """Return whether the target is there, which then is whole: it appears at once."""
    return files.target.exists() and must(stream_is_whole_or_refused(files))


def is_old_or_new(files: Files) -> bool:
    there = not files.target.exists() or files.target.read_bytes() == PRECIOUS
    return not there and must(stream_is_whole_or_refused(files))


def must(condition: bool) -> bool:
    assert condition, "a file has its name and is not whole"
    return condition


WORK = {
    "save": (save(Format.PLAIN), stream_is_whole_or_refused),
    "save mapped-ram": (save(Format.MAPPED_RAM), stream_is_whole_or_refused),
    "load": (load, ram_is_whole),
    "convert": (to_mapped, is_there_or_not),
    "convert over another": (over_another, is_old_or_new),
}
"""What is killed, and what looks at what it left; both take the files."""


def fork(work: Callable[[Files], object], files: Files) -> int:
    """Run ``work`` in a child; its exit status is its result, 3 when it raised."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    try:
        status = int(bool(work(files)))
    except BaseException:
        traceback.print_exc()
        status = 3
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
    os._exit(status)


def result(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare(folder: Path) -> Files:
    files = Files(folder)
    generator = np.random.default_rng(1)
    ram = generator.integers(0, 256, (PAGES, 4096), np.uint8)
    ram[generator.random(PAGES) < 0.4] = 0
    files.ram.write_bytes(ram.tobytes())
    assert result(fork(lambda files: void(save_ram(files.ram, files.state)), files)) == 0
    return files


def duration_of(name: str, files: Files) -> float:
    files.clear()
    began = time.monotonic()
    assert result(fork(WORK[name][0], files)) == 0
    return time.monotonic() - began


def kill_once(name: str, files: Files, after_s: float) -> str:
    """Kill one child; return what became of its work, or raise AssertionError."""
    work, look = WORK[name]
    files.clear()
    before = {path: digest(path) for path in (files.ram, files.state)}
    child = fork(work, files)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    in_time = result(child) == 0
    for path, content in before.items():
        assert digest(path) == content, f"{name} damaged {path.name}"
    whole = result(fork(look, files))
    assert whole in (0, 1), f"{name} killed after {after_s} s left something bad"
    assert whole or not in_time, f"{name} ended well and left nothing whole"
    assert result(fork(work, files)) == 0, f"{name} cannot be done again"
    assert result(fork(look, files)) == 1, f"{name} done again is not whole"
    if in_time:
        return "ended before"
    return "whole all the same" if whole else "killed in the middle"


def kill_many(count: int, seed: int) -> Counter[str]:
    """Kill ``count`` children that were still alive; return what became of their work."""
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = Path(tempfile.mkdtemp(prefix="migsim-kill-", dir=base))
    chance, seen = random.Random(seed), Counter[str]()
    try:
        files = prepare(folder)
        takes = {name: duration_of(name, files) for name in WORK}
        while sum(n for what, n in seen.items() if "ended before" not in what) < count:
            name = chance.choice(sorted(WORK))
            became = kill_once(name, files, chance.uniform(0, takes[name]))
            seen[f"{name}: {became}"] += 1
            if "ended before" in became:
                takes[name] *= 0.9  # the machine is faster now
            elif "middle" in became:
                takes[name] *= 1.02
    finally:
        shutil.rmtree(folder)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    seen = kill_many(words.count, words.seed)
    for what, number in sorted(seen.items()):
        print(f"{number:>6}  {what}")
    killed = sum(number for what, number in seen.items() if "ended before" not in what)
    print(f"{killed:>6}  killed in all; nothing damaged, nothing half taken for whole")


if __name__ == "__main__":
    main()
