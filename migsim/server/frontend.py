"""One machine with its monitors on an event loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..clock import VirtualClock, WallClock
from ..cmdline.build import build
from ..cmdline.model import DEFAULT_RAM_BYTES
from ..cmdline.parts import MonitorMode
from ..cmdline.text import parse_number
from ..errors import ConfigError
from ..machine.config import MachineConfig, Profile
from ..monitor.commands import extended
from ..monitor.hmp_session import HmpSession
from ..monitor.hub import MonitorHub
from ..monitor.inventory import Inventory
from ..monitor.preconfig import PreconfigCommands
from ..monitor.qtest import QtestSession
from ..monitor.session import QmpSession
from ..vm import VM
from .boot import SerialPort, guest_of
from .chardevs import Opened, open_chardev
from .connection import Session, SocketServer
from .connector import LiveConnector
from .driver import LoopDriver
from .hooks import Hooks
from .mux import MuxSession, SerialSession
from .plug import Plugger, Reader

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
    from ..machine.machine import Machine
    from ..monitor.schema import Command
    from .handover import HandedOver
    from .launch import Greeter
    from .reactor import Loop
    from .stdio import StandardStreams

_DRAIN_S = 1.0
"""How long last words to a client may take when the machine ends, in seconds."""
ALLOW_EXEC = "MIGSIM_ALLOW_EXEC"
"""Variable of the environment that, as 1, lets ``exec:`` run commands."""


class FrontEnd:
    """One machine with its monitors.

    ``argv`` is the command line, and ``read`` what parses one; ``ended`` is called with
    exit status and reason when the machine has ended.
    ``handed`` is what another process handed over for it; it is the caller's to close.
    ``hooks`` step between the machine and its clients.

    Raises:
        ConfigError: the machine cannot be built, or waits for what was not handed over.
    """

    def __init__(
        self,
        loop: Loop,
        argv: Sequence[str],
        read: Reader,
        ended: Callable[[int, str], None],
        *,
        greeter: Greeter | None = None,
        handed: HandedOver | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks or Hooks()
        line = read(argv)
        if handed is None and line.incoming is not None and line.incoming.cpr is not None:
            raise ConfigError("-incoming cpr", "memory is handed over to a process of its own")
        self._loop = loop
        self._line = line
        self._ended = ended
        self._servers: list[SocketServer] = []
        self._over = False
        self._handed = handed
        self._consoles: list[SerialSession] = []
        self._streams: StandardStreams | None = None
        opened: dict[str, Opened] = {}
        try:
            for chardev in line.chardevs:
                if (one := open_chardev(chardev, greeter)) is not None:
                    opened[chardev.id] = one
            self._serial = SerialPort(line)
            workload = guest_of(line, line.memory.size_bytes or DEFAULT_RAM_BYTES)
            virtual = ("virtual-time", None) in line.own
            stopped = line.preconfig and line.incoming is None
            base = MachineConfig(
                profile=Profile.ANSWERING,
                workload=workload,
                seed=_seed(line),
                timing=self._hooks.timing,
            )
            built = build(line, base, handed=None if handed is None else handed.memory)
            config = replace(built.config, start_stopped=True) if stopped else built.config
            clock = VirtualClock() if virtual else WallClock()
            self.machine: VM = VM(config, clock=clock, connect=self._connect)
            if handed is not None:
                handed.built()
            self._plugger = Plugger(self.machine, built, argv, read)
            inventory = Inventory(self._plugger.line)
            more = (*self._plugger.commands, *inventory.commands())
            self._commands: Mapping[str, Command] = extended(
                more, self._plugger.hmp_commands, line.cpus
            )
            epoch_s = 0.0 if virtual else time.time() - clock.now
            self.hub = MonitorHub(self.machine, epoch_s)
            self._driver = LoopDriver(loop, self.machine, self._after)
            self._driver.stepped = partial(self._hooks.stepped, self)
            self._driver.held = virtual and line.qtest is not None
            if line.preconfig:
                runs = not line.start_stopped and line.incoming is None
                self._commands = PreconfigCommands(self._commands, runs_then=runs)
            for chardev in line.chardevs:
                self._serve(chardev.id, opened)
        except BaseException:
            for one in opened.values():
                one.close()
            raise
        self._driver.wake()

    def _connect(self, machine: Machine) -> LiveConnector:
        asked = ("allow-exec", None) in self._line.own
        allow_exec = asked or os.environ.get(ALLOW_EXEC) == "1"
        return LiveConnector(
            self._loop,
            machine,
            wake=self.wake,
            allow_exec=allow_exec,
            listening=self._listening,
            wrap=self._hooks.output,
        )

    def _listening(self) -> None:
        """A source that handed memory over may go on: its stream is waited for."""
        if self._handed is not None:
            self._handed.hang_up()

    def wake(self) -> None:
        """Let the engines look for work."""
        self._driver.wake()

    def _serve(self, chardev: str, opened: dict[str, Opened]) -> None:
        """Let the users of a character device talk through it."""
        one, users = opened.get(chardev), list(self._users(chardev))
        if one is None or not users:
            return
        if len(users) == 1:
            self._listen(one, users[0])
        else:
            self._listen(one, lambda: MuxSession([make() for make in users], self._end))

    def _users(self, chardev: str) -> Iterator[Callable[[], Session]]:
        """Return what makes the sessions of those who talk through ``chardev``."""
        for monitor in self._line.monitors:
            if monitor.chardev == chardev:
                control = monitor.mode is MonitorMode.CONTROL
                yield partial(self._qmp_session, monitor.pretty) if control else self._hmp_session
        if self._line.qtest == chardev:
            yield self._qtest_session
        if self._line.serials[:1] == (chardev,) and self._line.machine.name != "none":
            yield self._serial_session

    def _listen(self, one: Opened, make: Callable[[], Session]) -> None:
        server = SocketServer(
            self._loop,
            one.sock,
            make,
            listening=one.listens,
            after=self._commanded,
            reconnect=one.connect,
            retry_s=one.retry_s,
        )
        if one.client is not None:
            server.take(one.client, greeted=one.greeted)
        if one.streams is not None:
            self._streams = one.streams
        self._servers.append(server)

    def _serial_session(self) -> Session:
        session = SerialSession()
        self._consoles.append(session)
        return session

    def _end(self) -> None:
        if self.machine.exited is None:
            self.machine.quit(reason="host-ui")

    def _hmp_session(self) -> Session:
        return HmpSession(self.machine, self.hub, self._plugger.hmp_commands)

    def _qtest_session(self) -> Session:
        return QtestSession(self.machine)

    def _qmp_session(self, pretty: bool) -> Session:
        session = QmpSession(self.machine, pretty=pretty, hub=self.hub, commands=self._commands)
        return self._hooks.session(self, session)

    def _commanded(self) -> None:
        """A client said something: the engines may have work."""
        self._after()
        if not self._over and self.machine.busy:
            self._driver.wake()

    def _after(self) -> None:
        """Deliver events, and end when the machine has ended."""
        self._hooks.stepped(self)
        printed = self.machine.guest.take_serial()
        if printed:
            self._serial.write(printed)
            for console in self._consoles[-1:]:
                console.output += printed
        self.hub.deliver()
        for server in self._servers:
            connection = server.connection
            if connection is not None:
                if isinstance(connection.session, HmpSession | MuxSession):
                    connection.session.poll()
                connection.flush()
        if self.machine.exited is not None:
            self.close()

    def later(self, seconds: float) -> None:
        """Look at all clients again after ``seconds``."""
        self._loop.call_later(seconds, self._after)

    def drop_clients(self) -> None:
        """Disconnect everybody; they may come again."""
        for server in self._servers:
            if server.connection is not None:
                server.connection.close()

    def die(self) -> None:
        """End as a process does that is killed: no event, no last words."""
        self.drop_clients()
        self.machine.kill()
        self.close()

    def terminate(self) -> None:
        """End the machine as a signal of the host does."""
        if self.machine.exited is None:
            self.machine.quit(reason="host-signal")
        self._after()

    def close(self) -> None:
        """Say the last words, let go of all clients, and report the exit status."""
        if self._over:
            return
        self._over = True
        self._serial.close()
        for server in self._servers:
            if server.connection is not None:
                server.connection.drain(_DRAIN_S)
            server.close()
        if self._streams is not None:
            self._streams.finish()
        exited = self.machine.exited
        if exited is None or exited.status is None:
            self._ended(0, "")
        else:
            self._ended(exited.status, exited.reason)


def _seed(line: CommandLine) -> int:
    """Return what ``-seed`` says, or 0."""
    given = [text for name, text in line.own if name == "seed" and text is not None]
    return parse_number("seed", given[-1]) if given else 0
