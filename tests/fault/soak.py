"""Thousands of migrations over QMP in one process, with cancels and faults drawn from a seed.

    PYTHONPATH=.:tests python -m fault.soak --migrations 10000 --seed 1

Every migration has a new target; sources live for some time.  What is drawn: the transport, the
bandwidth, whether and when the migration is cancelled, and what goes wrong on the way.  A machine
that comes to no end within the limit is stuck, which ends the run.  Descriptors, threads and
memory are counted when no machine lives, so that anything that is left over is a leak.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from migsim.server.frontend import FrontEnd
from migsim.server.process import read_command_line
from migsim.server.reactor import Reactor

LIMIT_S = 60.0
_OVER = ("completed", "failed", "cancelled")
_FAULTS = (
    # What goes wrong, and how often among 100 migrations.
    ("nothing", 40),
    ("cancel", 25),
    ("cancel twice", 5),
    ("nobody listens", 5),
    ("target quits", 8),
    ("target dies", 5),
    ("source quits", 4),
    ("client leaves", 5),
    ("damaged file", 3),
)
_SOURCE_LIVES = 20
_PAGES = 256


class Stuck(AssertionError):  # noqa: N818 - it is what happened
    """Something did not happen within the limit."""


class Client:
    """A QMP client whose machine runs on the loop of the same process."""

    def __init__(self, soak: Soak, front: FrontEnd, path: str) -> None:
        self.soak = soak
        self.front = front
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self._rest = b""
        self.reply()
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: object) -> dict[str, object]:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self.sock.send(json.dumps({"execute": command, "arguments": named}).encode())
        except OSError:
            return {}
        return self.reply()

    def reply(self) -> dict[str, object]:
        """Return the next message that is no event; empty when the machine has ended."""
        found: list[dict[str, object]] = []

        def look() -> bool:
            with contextlib.suppress(BlockingIOError):
                data = self.sock.recv(1 << 16)
                if not data:
                    found.append({})
                self._rest += data
            while not found and b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                message = json.loads(line)
                if "event" not in message:
                    found.append(message)
            return bool(found)

        self.soak.until(look, "a reply")
        return found[0]

    def status(self) -> str:
        answer = self("query-migrate").get("return")
        return str(answer.get("status", "none")) if isinstance(answer, dict) else "ended"

    def close(self) -> None:
        self.sock.close()
        if self.front.machine.exited is None:
            self.front.terminate()


@dataclass
class Figures:
    """Descriptors, threads and resident bytes of this process."""

    descriptors: int = field(default_factory=lambda: len(os.listdir("/proc/self/fd")))
    threads: int = field(default_factory=threading.active_count)
    resident_bytes: int = field(
        default_factory=lambda: (
            int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        )
    )


class Soak:
    """Plays migrations one after the other.

    Attributes:
        outcomes: how often a migration with a fault ended in which status.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.loop = Reactor()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._number = 0
        self._source: Client | None = None
        self._left = 0

    def until(self, done: Callable[[], object], what: str) -> None:
        end = time.monotonic() + LIMIT_S
        while not done():
            if time.monotonic() > end:
                raise Stuck(f"migration {self._number}: no {what} within {LIMIT_S} s")
            self.loop.call_later(0.0005, lambda: None)
            self.loop.turn()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.call_later(0.0005, lambda: None)
            self.loop.turn()

    def start(self, *options: str) -> Client:
        path = f"{self.folder}/{self._number}-{len(options)}.qmp"
        argv = ["-machine", "none", "-m", "1M", *options, "-qmp", f"unix:{path},server=on,wait=off"]
        return Client(self, FrontEnd(self.loop, argv, read_command_line, lambda s, r: None), path)

    def play(self) -> None:
        """Play one migration to its end."""
        self._number += 1
        fault = self.random.choices(
            [name for name, _ in _FAULTS], [weight for _, weight in _FAULTS]
        )[0]
        source = self._fresh_source()
        target = self.start("-incoming", "defer")
        try:
            status = self._migrate(source, target, fault)
        finally:
            target.close()
        self.outcomes[fault, status] += 1
        undisturbed = fault in ("nothing", "client leaves")
        assert status == "completed" or not undisturbed, source("query-migrate")
        if fault == "source quits" or source.front.machine.exited is not None:
            self.end_source()

    def end_source(self) -> None:
        """End the source; the next migration has a new one."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def close(self) -> None:
        """End everything."""
        self.end_source()
        self.turns(3)
        self.loop.close()

    def _fresh_source(self) -> Client:
        if self._source is None or self._left == 0:
            self.end_source()
            self._source = self.start()
            self._left = _SOURCE_LIVES
        self._left -= 1
        source = self._source
        source("cont")
        [block] = source.front.machine.ram
        view = block.view()
        view[:, 0] = 0
        for pfn in self.random.sample(range(_PAGES), self.random.randrange(_PAGES)):
            view[pfn, 0] = 1
        return source

    def _migrate(self, source: Client, target: Client, fault: str) -> str:
        scheme = self.random.choice(("unix", "unix", "tcp", "file"))
        slow = fault not in ("nothing", "damaged file")
        source("migrate-set-parameters", max_bandwidth=300_000 if slow else 1 << 30)
        if scheme == "file" or fault == "damaged file":
            return self._through_file(source, target, fault)
        uri = f"unix:{self.folder}/m" if scheme == "unix" else "tcp:127.0.0.1:0"
        if fault != "nobody listens":
            assert "return" in target("migrate-incoming", uri=uri)
            uri = _address(target) or uri
        elif scheme == "tcp":
            uri = "tcp:127.0.0.1:1"
        assert "return" in source("migrate", uri=uri)
        self.turns(self.random.randrange(12))
        self._disturb(source, target, fault)
        if fault == "source quits":
            self.turns(20)
            if target.status() == "setup":
                return "never connected"
            self.until(lambda: target.status() in ("completed", "ended"), "end of the target")
            return target.status()
        self.until(lambda: source.front.machine.source.status.value.value in _OVER, "end")
        status = source.status()
        machine = target.front.machine
        if status == "completed" and machine.exited is None:
            self.until(lambda: machine.run.state.value == "running", f"guest after {fault}")
        return status

    def _disturb(self, source: Client, target: Client, fault: str) -> None:
        match fault:
            case "cancel":
                source("migrate_cancel")
            case "cancel twice":
                source("migrate_cancel")
                source("migrate_cancel")
            case "target quits":
                target("quit")
            case "target dies":
                target.front.machine.kill()
                target.front.close()
            case "source quits":
                source("quit")
            case "client leaves":
                # The migration goes on without anybody who listens.
                target.sock.close()
                source("migrate-set-parameters", max_bandwidth=1 << 30)
            case _:
                pass

    def _through_file(self, source: Client, target: Client, fault: str) -> str:
        path = self.folder / "file"
        assert "return" in source("migrate", uri=f"file:{path}")
        self.turns(self.random.randrange(6))
        if fault in ("cancel", "cancel twice"):
            source("migrate_cancel")
        else:
            source("migrate-set-parameters", max_bandwidth=1 << 30)
        self.until(lambda: source.front.machine.source.status.value.value in _OVER, "end")
        status = source.status()
        if status != "completed":
            return status
        if fault == "damaged file":
            data = bytearray(path.read_bytes())
            for _ in range(3):
                data[self.random.randrange(8, len(data))] ^= 0xFF
            path.write_bytes(data[: self.random.randrange(8, len(data))])
        target("migrate-incoming", uri=f"file:{path}", exit_on_error=False)
        self.until(lambda: not target.front.machine.incoming.running, "end of the load")
        return target.status() if fault == "damaged file" else status


def _address(target: Client) -> str:
    answer = target("query-migrate")["return"]
    assert isinstance(answer, dict)
    [where] = answer["socket-address"]
    return f"tcp:127.0.0.1:{where['port']}" if where["type"] == "inet" else f"unix:{where['path']}"


def run(migrations: int, seed: int, every: int) -> Iterator[tuple[int, Figures, Soak]]:
    """Play ``migrations``; yield figures every so often, when no machine lives."""
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        soak = Soak(Path(folder), seed)
        for number in range(1, migrations + 1):
            soak.play()
            if number % every == 0:
                soak.end_source()
                soak.turns(20)
                soak.until(lambda: threading.active_count() == 1, "end of threads")
                gc.collect()
                yield number, Figures(), soak
        soak.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--migrations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begin, every = time.monotonic(), max(args.migrations // 20, 1)
    for number, now, soak in run(args.migrations, args.seed, every):
        print(
            f"{number:6} migrations, {time.monotonic() - begin:6.0f} s:"
            f" {now.descriptors} descriptors, {now.threads} threads,"
            f" {now.resident_bytes / 2**20:.1f} MiB",
            flush=True,
        )
        outcomes = soak.outcomes
    for (fault, status), count in sorted(outcomes.items()):
        print(f"{count:6} {fault}: {status}")


if __name__ == "__main__":
    main()
