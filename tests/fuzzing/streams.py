"""Damaged streams in great number: ``python -m fuzzing.streams --count 200000``.

Every number is one damaged stream and one use of it, the same whenever it is tried.  Workers with
little memory take them; one that dies or does not come to an end is a finding like any other.
What was done is kept in a folder, so that a run can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fuzzing.cases import Case, dumps, findings, names, sized
from fuzzing.mutations import mutated
from fuzzing.uses import USES, try_use

MEMORY_BYTES = 512 << 20
HANG_S = 60.0
"""Processor time after which a use is taken for endless; the machine may be busy."""
SILENCE_S = 1800.0
"""Time after which a worker that says nothing is taken for stuck."""
BATCH = 250


def case_of(seed: int, number: int) -> tuple[Case, str]:
    """Return a damaged stream, and what is to be done with it."""
    generator = np.random.default_rng((seed, number))
    bases = names()
    name = bases[int(generator.choice(len(bases), p=_chances()))]
    uses = [use for use, row in USES.items() for _ in range(row.weight)]
    return mutated(name, generator), uses[int(generator.integers(0, len(uses)))]


def _chances() -> np.ndarray:
    if not _kept:
        _kept.append(sized(names()))
    return _kept[0]


_kept: list[np.ndarray] = []


def limit_memory() -> None:
    """Let this process have no more than 512 MiB of addresses."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


class TooLongError(BaseException):
    """A use does not come to an end; nothing may catch it."""


def _too_long(*_: object) -> None:
    raise TooLongError


def work() -> None:
    """Take ranges of numbers from stdin, and tell what becomes of each on stdout."""
    limit_memory()
    signal.signal(signal.SIGPROF, _too_long)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory(prefix="migsim-fuzz-") as folder:
        for line in sys.stdin:
            seed, first, last = map(int, line.split())
            for number in range(first, last):
                print("at", number, file=out)
                case, use = case_of(seed, number)
                signal.setitimer(signal.ITIMER_PROF, HANG_S)
                try:
                    wrong = try_use(case, use, Path(folder))
                except TooLongError:
                    wrong = f"no end within {HANG_S} s of work"
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                if wrong is not None:
                    print("bad", json.dumps([number, use, wrong]), file=out)
            print("done", first, file=out)


class Worker:
    """A process that takes one batch after another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batch: tuple[int, int] | None = None
        self.at = -1
        self.since = time.monotonic()
        self._start()

    def _start(self) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.streams", "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.rest = b""

    def give(self, first: int, last: int) -> None:
        self.batch, self.since = (first, last), time.monotonic()
        self.process.stdin.write(f"{self.seed} {first} {last}\n".encode())
        self.process.stdin.flush()

    def lines(self) -> list[str]:
        """Return what it has told; raises EOFError when it is gone."""
        raw = os.read(self.process.stdout.fileno(), 1 << 16)
        if not raw:
            raise EOFError
        self.since = time.monotonic()
        *whole, self.rest = (self.rest + raw).split(b"\n")
        return [line.decode() for line in whole]

    def restart(self) -> tuple[int, str, str] | None:
        """Go on behind the number that it died of; return that as a finding."""
        self.process.kill()
        status = self.process.wait()
        number = self.at
        _, last = self.batch
        self._start()
        if number + 1 < last:
            self.give(number + 1, last)
            # the batch keeps its first number, by which it is known
        else:
            self.batch = None
        return number, case_of(self.seed, number)[1], f"the process died: {status}"


def run(seed: int, count: int, jobs: int, folder: Path) -> int:
    """Try the numbers below ``count`` that were not tried yet; return how many findings."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / f"seed{seed}.json"
    kept = json.loads(state.read_text()) if state.exists() else {"done": [], "findings": []}
    done, found = set(kept["done"]), kept["findings"]
    todo = [first for first in range(0, count, BATCH) if first not in done]
    todo.reverse()
    workers = [Worker(seed) for _ in range(min(jobs, len(todo)))]
    owner: dict[int, int] = {}
    begun = time.monotonic()
    try:
        busy = {}
        for worker in workers:
            first = todo.pop()
            worker.give(first, min(first + BATCH, count))
            owner[id(worker)] = first
            busy[id(worker)] = worker
        while busy:
            files = {worker.process.stdout: worker for worker in busy.values()}
            ready, _, _ = select.select(list(files), [], [], HANG_S)
            for worker in list(busy.values()):
                if worker.process.stdout in ready:
                    try:
                        lines = worker.lines()
                    except EOFError:
                        found.append(worker.restart())
                        if worker.batch is None:
                            lines = ["done"]
                        else:
                            continue
                elif time.monotonic() - worker.since > SILENCE_S:
                    found.append(worker.restart())
                    lines = ["done"] if worker.batch is None else []
                else:
                    continue
                for line in lines:
                    word, _, rest = line.partition(" ")
                    if word == "at":
                        worker.at = int(rest)
                    elif word == "bad":
                        found.append(json.loads(rest))
                        print("finding", rest, flush=True)
                    elif word == "done":
                        done.add(owner[id(worker)])
                        _save(state, done, found)
                        if len(done) % 20 == 0:
                            _tell(len(done), count, found, begun)
                        if todo:
                            first = todo.pop()
                            owner[id(worker)] = first
                            worker.give(first, min(first + BATCH, count))
                        else:
                            del busy[id(worker)]
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
        _save(state, done, found)
    _tell(len(done), count, found, begun)
    return len(found)


def _tell(batches: int, count: int, findings: list, begun: float) -> None:
    tried = min(batches * BATCH, count)
    spent = time.monotonic() - begun
    print(f"{tried} of {count} tried, {len(findings)} findings, {spent:.0f} s", flush=True)


def _save(state: Path, done: set[int], findings: list) -> None:
    new = state.with_suffix(".new")
    new.write_text(json.dumps({"done": sorted(done), "findings": findings}))
    new.replace(state)


def try_findings() -> int:
    """Try what was answered wrongly once, in this process; return how much still is."""
    limit_memory()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="migsim-fuzz-") as folder:
        for case, use in findings():
            text = try_use(case, use, Path(folder))
            if text is not None:
                print(f"{case.base}, {use}: {text}")
                wrong += 1
    return wrong


def keep(seed: int, number: int, path: Path) -> None:
    """Write a case into a file that tests try from then on."""
    case, _ = case_of(seed, number)
    path.write_text(dumps(case.to_json()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzzing.streams", description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, default=Path(".fuzz"), help="folder for what is done")
    parser.add_argument("--keep", nargs=2, metavar=("NUMBER", "FILE"), help="write a case down")
    parser.add_argument("--try", dest="number", type=int, help="try one number, here")
    parser.add_argument("--findings", action="store_true", help="try those that are kept")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return 0
    if options.findings:
        return 1 if try_findings() else 0
    if options.keep:
        keep(options.seed, int(options.keep[0]), Path(options.keep[1]))
        return 0
    if options.number is not None:
        limit_memory()
        case, use = case_of(options.seed, options.number)
        with tempfile.TemporaryDirectory() as folder:
            print(use, case.base, [(e.part, e.at, e.remove, len(e.insert)) for e in case.edits])
            print(try_use(case, use, Path(folder)))
        return 0
    return 1 if run(options.seed, options.count, options.jobs, options.state) else 0


if __name__ == "__main__":
    sys.exit(main())
