"""QMP in process: the same commands, replies and events, without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import MigsimError
from .commands import COMMANDS
from .errors import COMMAND_NOT_FOUND, QmpError, qmp_reply

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from .schema import Arguments, Command


class QmpMonitor:
    """Executes QMP commands on one machine.

    Nothing is negotiated: that belongs to a connection, and there is none.  ``commands`` are those
    that there are, by name.
    """

    def __init__(self, machine: Machine, commands: Mapping[str, Command] = COMMANDS) -> None:
        self.machine = machine
        self._commands = commands
        self._events_seen = 0

    def execute(self, command: str, arguments: Arguments | None = None) -> dict[str, object]:
        """Return the reply to ``command``: ``{"return": ...}`` or ``{"error": ...}``.

        The reply has QMP's error class and migsim's own description.
        """
        try:
            row = self._commands.get(command)
            if row is None:
                raise QmpError(f"no command is called {command}", COMMAND_NOT_FOUND)
            row.check(arguments or {}, self.machine.release)
            return {"return": row.handler(self.machine, arguments or {})}
        except MigsimError as error:
            return qmp_reply(error)

    def call(self, message: Mapping[str, object]) -> dict[str, object]:
        """Return the reply to a whole request, such as ``{"execute": "stop", "id": 1}``."""
        command, arguments = message.get("execute"), message.get("arguments", {})
        if not isinstance(command, str) or not isinstance(arguments, Mapping):
            reply = qmp_reply(QmpError("a request has 'execute' (string) and 'arguments' (object)"))
        else:
            reply = self.execute(command, arguments)
        if "id" in message:
            reply["id"] = message["id"]
        return reply

    def take_events(self) -> list[dict[str, object]]:
        """Return the events since the last call, as QMP messages, oldest first."""
        new = self.machine.events[self._events_seen :]
        self._events_seen += len(new)
        return [event.qmp() for event in new]
