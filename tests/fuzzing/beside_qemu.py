"""The same commands to migsim and to a real QEMU: ``python -m fuzzing.beside_qemu --minutes 5``.

Both machines are of type ``none`` with a little empty RAM.  After each command both come to rest:
the migration ends, waits in pre-switchover, or stays active because its pace is 1 byte per second.
Then the answers, run state, status and events have to be equal; parameters and capabilities at the
end.  The first difference is made as small as it gets, and printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from conformance.conftest import Qemu
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from migsim.errors import AbortError
from migsim.machine.config import MachineConfig, Profile
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.testing.strategies import Command, migration_commands
from migsim.vm import VM

SIZE = 1 << 20
BATCH = 20
"""Sequences between two looks at the clock."""
RESTING = ("none", "completed", "failed", "cancelled", "pre-switchover")
STILL_S = 0.15
"""A migration that has been active for so long at its slow pace stays so."""
UNEQUAL = frozenset({"direct-io", "multifd", "background-snapshot", "postcopy-ram", "x-colo"})
"""What depends on the file system and the host, or on what is not compared here."""


def slow_or_fast() -> st.SearchStrategy[Command]:
    paces = st.sampled_from([1, 1 << 27]).map(lambda pace: {"max-bandwidth": pace})
    return st.builds(Command, st.just("migrate-set-parameters"), paces)


def comparable(command: Command) -> bool:
    """Return whether the outcome depends on nothing but the commands."""
    named = {str(entry) for entry in _leaves(command.arguments)}
    paced = {"max-bandwidth", "downtime-limit"} & command.arguments.keys()
    return not named & UNEQUAL and not paced and command.name != "migrate-incoming"


def _leaves(value: object):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


COMMANDS = st.one_of(
    migration_commands(uris=("file:/dev/null", "file:/nowhere/at/all")).filter(comparable),
    slow_or_fast(),
)


class Here:
    """migsim, in process."""

    def __init__(self) -> None:
        memory = BackendSpec(BackendKind.MEMFD, "ram0", SIZE)
        self.vm = VM(MachineConfig(memory=memory, profile=Profile.STRICT))

    def tell(self, command: Command) -> dict[str, object]:
        return command.run(self.vm)

    def rest(self) -> None:
        for _ in range(40):
            self.vm.advance(STILL_S / 10)

    def events(self) -> list[dict[str, object]]:
        return self.vm.qmp_events()

    @property
    def alive(self) -> bool:
        return self.vm.exited is None

    def close(self) -> None:
        self.vm.kill()


class There:
    """A real QEMU."""

    def __init__(self, folder: Path) -> None:
        memory = f"memory-backend-memfd,id=ram0,size={SIZE},share=on"
        self.qemu = Qemu(
            folder, "-machine", "none,memory-backend=ram0", "-m", "1M", "-object", memory
        )
        self.seen = 0

    def tell(self, command: Command) -> dict[str, object]:
        return self.qemu.raw(command.message())

    def rest(self) -> None:
        until = time.monotonic() + STILL_S
        while time.monotonic() < until:
            answer = self.tell(Command("query-migrate")).get("return", {})
            if answer.get("status", "none") in RESTING:
                break
            time.sleep(0.005)

    def events(self) -> list[dict[str, object]]:
        new, self.seen = self.qemu.events[self.seen :], len(self.qemu.events)
        return new

    @property
    def alive(self) -> bool:
        return self.qemu.process.poll() is None

    def close(self) -> None:
        self.qemu.stop()


def answer_of(reply: dict[str, object]) -> object:
    error = reply.get("error")
    return error["class"] if isinstance(error, dict) else "return"


def outcome(side, command: Command) -> list[object]:
    """Return what ``command`` brought about, without numbers and texts."""
    try:
        answer = answer_of(side.tell(command))
        side.rest()
    except (AbortError, RuntimeError, OSError):
        return ["died"]
    if not side.alive:
        return ["died"]
    run = side.tell(Command("query-status"))["return"]
    info = side.tell(Command("query-migrate"))["return"]
    told = [(e["event"], e.get("data", {}).get("status")) for e in side.events()]
    return [answer, run, info.get("status", "none"), sorted(info), told]


def settings_of(side) -> list[object]:
    names = ("query-migrate-parameters", "query-migrate-capabilities")
    return [side.tell(Command(name)).get("return") for name in names]


def difference(commands: list[Command], folder: Path) -> str | None:
    """Return where the two differ, or None."""
    here, there = Here(), There(folder)
    try:
        for number, command in enumerate(commands):
            ours, theirs = outcome(here, command), outcome(there, command)
            if ours != theirs:
                return f"command {number}, {command}:\n  migsim {ours}\n  QEMU   {theirs}"
            if ours == ["died"]:
                return None
        ours, theirs = settings_of(here), settings_of(there)
        return None if ours == theirs else f"settings:\n  migsim {ours}\n  QEMU   {theirs}"
    finally:
        here.close()
        there.close()


def compare_for(seconds: float, most: int, commands: int) -> int:
    """Compare generated sequences; return how many were equal.  Raises at a difference."""
    until, done = time.monotonic() + seconds, 0
    differs = False

    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(
        st.lists(COMMANDS, max_size=2 * commands)
        | st.lists(COMMANDS, min_size=commands, max_size=2 * commands)
    )
    def compare(sequence: list[Command]) -> None:
        nonlocal done, differs
        # Short ones are for making a difference small.
        if not differs and (len(sequence) < commands or time.monotonic() > until):
            return
        with tempfile.TemporaryDirectory(prefix="qemu") as folder:
            found = difference(sequence, Path(folder))
        if found is not None:
            if not differs:
                print(f"they differ, and it is made smaller; so far: {found}", flush=True)
            differs = True
            raise AssertionError(found)
        done += 1

    while time.monotonic() < until and done < most:
        compare()  # other inputs each time
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--commands", type=int, default=10, help="at least so many a sequence")
    words = parser.parse_args()
    equal = compare_for(words.minutes * 60, words.most, words.commands)
    print(f"{equal} sequences of {words.commands} or more commands, no difference")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
