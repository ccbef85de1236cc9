"""One QMP connection without its socket: bytes in, bytes out (spec monitor.md section 1)."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .commands import COMMANDS
from .errors import COMMAND_NOT_FOUND, QmpError, qmp_reply
from .json_stream import JsonProblem, JsonStream
from .qmp import QmpMonitor

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from .hub import MonitorHub
    from .schema import Command

_NEGOTIATE = "qmp_capabilities"
_OOB = "oob"
_OOB_COMMANDS = frozenset({"migrate-pause", "migrate-recover", "yank", "query-yank"})
"""Commands that may be given out of band (spec monitor.md section 1)."""
_REQUEST_MEMBERS = frozenset({"execute", "exec-oob", "arguments", "id"})


class QmpSession:
    """What one client and one machine say to each other.

    `feed` takes what arrived; what is to be sent gathers in `output`.  Events come before the
    reply to the command that caused them: ``hub`` delivers them in between, to all sessions.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        pretty: bool = False,
        hub: MonitorHub | None = None,
        commands: Mapping[str, Command] = COMMANDS,
    ) -> None:
        self._machine = machine
        self._monitor = QmpMonitor(machine, commands)
        self._hub = hub
        if hub is not None:
            hub.add(self)
        self._json = JsonStream()
        self._descriptors: deque[int] = deque()
        self._dumps = json.JSONEncoder(
            indent=4 if pretty else None, ensure_ascii=True, allow_nan=False
        ).encode
        self.output = bytearray()
        self.negotiated = False
        self.oob = False

    def greet(self) -> None:
        """Say hello, as every new connection hears it."""
        version = self._monitor.execute("query-version")["return"]
        self._send({"QMP": {"version": version, "capabilities": [_OOB]}})

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Take bytes and the descriptors that came with them; execute what is complete."""
        self._offer(descriptors)
        for message in self._json.feed(data):
            self._answer(message)
            if self._machine.exited is not None:
                return

    def event(self, message: Mapping[str, object]) -> None:
        """Pass an event on; a client that has not negotiated does not hear it."""
        if self.negotiated:
            self._send(message)

    def close(self) -> None:
        """The client is gone: hear no more events, close descriptors that nobody took."""
        if self._hub is not None:
            self._hub.remove(self)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _offer(self, descriptors: Iterable[int]) -> None:
        new = list(descriptors)
        if new:
            self._close_descriptors()  # those of an earlier message that no command took
            self._descriptors.extend(new)

    def _answer(self, message: object) -> None:
        try:
            reply = self._reply(message)
        except QmpError as error:
            reply = qmp_reply(error)
        if isinstance(message, dict) and "id" in message:
            reply["id"] = message["id"]
        if self._hub is not None:
            self._hub.deliver()
        self._send(reply)

    def _reply(self, message: object) -> dict[str, object]:
        name, arguments, oob = _request(message)
        if oob and not self.oob:
            raise QmpError("'exec-oob' was not enabled")
        if not self.negotiated:
            return self._negotiate(name, arguments)
        if name == _NEGOTIATE:
            raise QmpError(f"{name}: was done already", COMMAND_NOT_FOUND)
        if oob and name not in _OOB_COMMANDS:
            raise QmpError(f"{name} cannot be executed out of band")
        table = self._machine.descriptors
        if self._descriptors and name in ("getfd", "add-fd"):
            table.offered = self._descriptors.popleft()
        try:
            return self._monitor.execute(name, arguments)
        finally:
            if table.offered is not None:
                os.close(table.offered)
                table.offered = None

    def _negotiate(self, name: str, arguments: Mapping[str, object]) -> dict[str, object]:
        if name != _NEGOTIATE:
            raise QmpError(f"{name}: {_NEGOTIATE} has to come first", COMMAND_NOT_FOUND)
        enable = arguments.get("enable", [])
        if not isinstance(enable, list) or set(arguments) - {"enable"}:
            raise QmpError(f"{name}: takes a list called 'enable' and nothing else")
        for capability in enable:
            if capability != _OOB:
                raise QmpError(f"{name}: capability {capability!r} was not offered")
        self.oob = _OOB in enable
        self.negotiated = True
        return {"return": {}}

    def _send(self, message: Mapping[str, object]) -> None:
        self.output += self._dumps(message).encode() + b"\r\n"


def _request(message: object) -> tuple[str, Mapping[str, object], bool]:
    """Return command, arguments and whether it is out of band.

    Raises:
        QmpError: the message is no request.
    """
    if isinstance(message, JsonProblem):
        raise QmpError(message.text)
    if not isinstance(message, dict):
        raise QmpError("a request is a JSON object")
    for member in message:
        if member not in _REQUEST_MEMBERS:
            raise QmpError(f"a request has no member '{member}'")
    keys = [key for key in ("execute", "exec-oob") if key in message]
    if len(keys) != 1:
        raise QmpError("a request has either 'execute' or 'exec-oob'")
    name, arguments = message[keys[0]], message.get("arguments", {})
    if not isinstance(name, str):
        raise QmpError(f"'{keys[0]}' is a string")
    if not isinstance(arguments, dict):
        raise QmpError("'arguments' is an object")
    return name, arguments, keys[0] == "exec-oob"
