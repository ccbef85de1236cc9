"""Machines behind real sockets, served by a thread of the test's own process.

A machine is there in a few milliseconds, and time is virtual unless asked otherwise: a migration
that takes an hour is over before the next command.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import StateError
from ..server.frontend import FrontEnd
from ..server.process import read_command_line
from ..server.reactor import Reactor
from .faults import Fault, FaultHooks
from .process import QmpClient

if TYPE_CHECKING:
    from ..vm import VM

T = TypeVar("T")
_LIMIT_S = 30.0


class Host:
    """A thread with an event loop that serves machines; their sockets are below ``folder``.

    Close it, or use `serving`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self.machines: list[HostedMachine] = []
        self._numbers = itertools.count()
        self._loop = Reactor()
        self._thread = threading.Thread(target=self._loop.run, name="migsim-host", daemon=True)
        self._thread.start()

    def start(
        self, *options: str, faults: Iterable[Fault] = (), virtual_time: bool = True
    ) -> HostedMachine:
        """Return a new machine with QEMU-style ``options``; without any, one without RAM.

        Raises:
            MigsimError: it cannot be built.
        """
        path = os.path.join(self.folder, f"{next(self._numbers)}.qmp")
        words = [*(options or ("-machine", "none")), "-qmp", f"unix:{path},server=on,wait=off"]
        if virtual_time:
            words.append("--virtual-time")
        machine = HostedMachine(self, path)
        hooks = FaultHooks(faults)
        machine._front = self.run(
            lambda: FrontEnd(self._loop, words, read_command_line, machine._ended, hooks=hooks)
        )
        self.machines.append(machine)
        return machine

    def pair(
        self,
        *options: str,
        faults: Iterable[Fault] = (),
        target_faults: Iterable[Fault] = (),
        virtual_time: bool = True,
    ) -> Pair:
        """Return two machines with the same ``options``; the second waits for a migration.

        ``{n}`` in an option stands for 0 in the source and 1 in the target.
        """
        words = [[word.replace("{n}", str(n)) for word in options] for n in range(2)]
        source = self.start(
            *(words[0] or ("-machine", "none")), faults=faults, virtual_time=virtual_time
        )
        target = self.start(
            *(words[1] or ("-machine", "none")),
            "-incoming",
            "defer",
            faults=target_faults,
            virtual_time=virtual_time,
        )
        return Pair(source, target, f"unix:{os.path.join(self.folder, 'migration')}")

    def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns in the thread of the machines, or raise what it raises."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return future.result(_LIMIT_S)

    def close(self) -> None:
        """End all machines and the thread."""
        for machine in self.machines:
            machine.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()


class HostedMachine:
    """One machine of a `Host`.

    Attributes:
        path: of its QMP socket, for the program under test.
        status: exit status, or None while it lives.
        reason: why it ended.
    """

    _front: FrontEnd

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._client: QmpClient | None = None
        self.path = path
        self.status: int | None = None
        self.reason = ""

    @property
    def qmp(self) -> QmpClient:
        """A blocking client, connected when first asked for; it takes the socket's only place."""
        if self._client is None:
            self._client = QmpClient(self.path)
        return self._client

    def release(self) -> None:
        """Disconnect the client of `qmp`, so that another one can connect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """Return a connected client of the package ``qemu.qmp``, for as long as the block runs."""
        from qemu.qmp import QMPClient  # noqa: PLC0415 - an extra of its own

        client = QMPClient("migsim")
        await client.connect(self.path)
        try:
            yield client
        finally:
            await client.disconnect()

    def look(self, at: Callable[[VM], T]) -> T:
        """Return ``at(machine)``, called while the machine stands still."""
        return self._host.run(lambda: at(self._front.machine))

    def kill(self) -> None:
        """End it as a SIGKILL does."""
        self.release()
        self._host.run(self._front.die)

    def close(self) -> None:
        """End it, if it still lives."""
        self.release()
        if self.status is None:
            self._host.run(self._front.terminate)

    def _ended(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Pair:
    """A source, a target, and an address at which they meet."""

    source: HostedMachine
    target: HostedMachine
    uri: str

    def migrate(self, uri: str | None = None) -> tuple[str, str]:
        """Migrate from source to target; return how both ended.

        Raises:
            QmpFailed: a command was refused.
            StateError: it did not end.
        """
        address = uri or self.uri
        self.target.qmp.command("migrate-incoming", uri=address, exit_on_error=False)
        self.source.qmp.command("migrate", uri=address)
        ends = ("completed", "failed", "cancelled")
        status = self.source.qmp.wait_migration(*ends)
        if self.target.status is not None:
            raise StateError("migrate", "exited", hint=self.target.reason)
        return status, self.target.qmp.wait_migration("completed", "failed")


@contextmanager
def serving(folder: str | os.PathLike[str]) -> Iterator[Host]:
    """Return a `Host` that is closed when the block ends."""
    host = Host(folder)
    try:
        yield host
    finally:
        host.close()
