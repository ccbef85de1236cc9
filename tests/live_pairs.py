"""Two machines of one process that migrate over real sockets, on one loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.clock import WallClock
from migsim.machine.config import MachineConfig, Profile
from migsim.server.connector import LiveConnector
from migsim.server.driver import LoopDriver
from migsim.server.reactor import Reactor
from migsim.vm import VM

if TYPE_CHECKING:
    from migsim.machine.machine import Machine


class LivePair:
    """A source and a waiting target; ``turn`` lets both work."""

    def __init__(self, folder: Path, source: MachineConfig, target: MachineConfig) -> None:
        self.loop = Reactor()
        self.folder = folder
        self._drivers: list[LoopDriver] = []
        self.source = self._build(source)
        self.target = self._build(target)

    def _build(self, config: MachineConfig) -> VM:
        drivers = self._drivers
        number = len(drivers)

        def wake() -> None:
            drivers[number].wake()  # which is made later

        def connect(machine: Machine) -> LiveConnector:
            return LiveConnector(self.loop, machine, wake=wake, allow_exec=False)

        vm = VM(config, clock=WallClock(), connect=connect)
        drivers.append(LoopDriver(self.loop, vm, lambda: None))
        vm.set_capabilities([("events", True)])
        drivers[number].wake()
        return vm

    def __enter__(self) -> LivePair:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.kill()
        self.target.kill()
        self.until(lambda: True)
        self.loop.close()

    def uri(self, name: str = "main") -> str:
        return f"unix:{self.folder}/{name}"

    def wake(self) -> None:
        for driver in self._drivers:
            driver.wake()

    def until(self, done: Callable[[], object], limit_s: float = 10.0) -> None:
        end = time.monotonic() + limit_s
        while True:
            self.loop.call_later(0.001, lambda: None)
            self.loop.turn()
            if done():
                return
            assert time.monotonic() < end, f"it took too long: {self.statuses()}"

    def statuses(self) -> tuple[object, object]:
        return self.source.query_migrate().get("status"), self.target.query_migrate().get("status")

    def wait(self, source: str, target: str) -> None:
        self.until(lambda: self.statuses() == (source, target))

    def begin(self, name: str = "main") -> None:
        """Let the migration begin."""
        self.target.migrate_incoming(self.uri(name), exit_on_error=False)
        self.source.migrate(self.uri(name))
        self.wake()


def answering(**changes: object) -> MachineConfig:
    """Return the configuration of a machine as the front-end builds it."""
    return MachineConfig(profile=Profile.ANSWERING, **changes)
