"""The two sockets of a program under test: qtest lines and QMP messages, blocking."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

LIMIT_S = 30.0
"""Longest wait for anything; a wait that takes longer fails the case."""
_POLL_S = 0.001
_FLAGGED = ("STOP", "RESUME", "SUSPEND")


class CaseFailed(AssertionError):  # noqa: N818 - it is what happened
    """A program did not do what the case asks of it."""


def check(good: object, text: str) -> None:
    """Fail the case with ``text`` unless ``good``."""
    if not good:
        raise CaseFailed(text)


@contextmanager
def _talking(who: str) -> Iterator[None]:
    """Turn what goes wrong on a socket into a failed case."""
    try:
        yield
    except TimeoutError:
        raise CaseFailed(f"{who}: no answer within {LIMIT_S:.0f} s") from None
    except OSError as error:
        raise CaseFailed(f"{who}: {error}") from error


class Qtest:
    """The qtest connection: one request, one line."""

    def __init__(self, sock: socket.socket, who: str) -> None:
        sock.settimeout(LIMIT_S)
        self._who = who
        self._sock = sock
        self._lines = sock.makefile("rb")

    def ask(self, request: str) -> str:
        """Return what follows ``OK`` in the reply."""
        with _talking(f"{self._who} qtest"):
            self._sock.sendall(request.encode() + b"\n")
            return self._reply(request)

    def ask_many(self, requests: Sequence[str]) -> list[str]:
        """Return the replies to requests that are sent without waiting between them."""
        with _talking(f"{self._who} qtest"):
            self._sock.sendall("".join(f"{request}\n" for request in requests).encode())
            return [self._reply(request) for request in requests]

    def read_byte(self, addr: int) -> int:
        """Return one byte of guest memory."""
        return int(self.ask(f"read {addr:#x} 0x1"), 16)

    def readb(self, addr: int) -> int:
        """Return one byte of guest memory by the command for numbers."""
        return int(self.ask(f"readb {addr:#x}"), 16)

    def readq(self, addr: int) -> int:
        """Return eight bytes of guest memory as a number."""
        return int(self.ask(f"readq {addr:#x}"), 16)

    def writeq(self, addr: int, value: int) -> None:
        """Write eight bytes of guest memory."""
        self.ask(f"writeq {addr:#x} {value:#x}")

    def close(self) -> None:
        """Disconnect."""
        self._lines.close()
        self._sock.close()

    def _reply(self, request: str) -> str:
        while True:
            line = self._lines.readline().decode().rstrip("\n")
            check(line, f"{self._who}: qtest ended at {request!r}")
            if line.startswith("IRQ"):
                continue
            check(line.split(" ")[0] == "OK", f"{self._who}: {request!r} was answered {line!r}")
            return line[3:]


class Qmp:
    """The QMP connection, with events kept as the outside client keeps them.

    STOP, RESUME and SUSPEND set a flag; a wait for another event drops all that do not match.

    Attributes:
        seen: names of the flags that are set.
        log: every event that came, name and status, oldest first.
    """

    def __init__(self, sock: socket.socket, who: str) -> None:
        sock.settimeout(LIMIT_S)
        self._who = who
        self._sock = sock
        self._messages = sock.makefile("rb")
        self._queue: deque[dict[str, object]] = deque()
        self.seen: set[str] = set()
        self.log: list[str] = []

    def greet(self, *, oob: bool = False) -> None:
        """Read the greeting, and negotiate."""
        greeting = self._next()
        check(
            "oob" in _member(greeting, "QMP", "capabilities"), f"{self._who}: greeting {greeting}"
        )
        if oob:
            self.ok("qmp_capabilities", enable=["oob"])
        else:
            self.send({"execute": "qmp_capabilities"})
            check("return" in self.reply(), f"{self._who}: the handshake was refused")

    def ok(self, command: str, fds: Sequence[int] = (), /, **arguments: object) -> object:
        """Return what ``command`` returns; it has to work."""
        reply = self.call(command, fds, **arguments)
        check("return" in reply, f"{self._who}: {command} {arguments}: {reply}")
        return reply["return"]

    def refused(self, command: str, /, **arguments: object) -> str:
        """Return the text of the error with which ``command`` has to be answered."""
        reply = self.call(command, **arguments)
        check("error" in reply and "return" not in reply, f"{self._who}: {command}: {reply}")
        return str(_member(reply, "error", "desc"))

    def call(
        self, command: str, fds: Sequence[int] = (), /, **arguments: object
    ) -> dict[str, object]:
        """Return the reply to ``command``; ``_`` in names of arguments means ``-``."""
        message: dict[str, object] = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(message, fds)
        return self.reply()

    def send(self, message: object, fds: Sequence[int] = ()) -> None:
        """Send one message, with descriptors."""
        data = json.dumps(message).encode() + b"\n"
        with _talking(f"{self._who} QMP"):
            if fds:
                socket.send_fds(self._sock, [data], list(fds))
            else:
                self._sock.sendall(data)

    def reply(self) -> dict[str, object]:
        """Return the next message that is no event."""
        while True:
            message = self._next()
            if "event" not in message:
                return message
            self._note(message)

    def wait_flag(self, name: str) -> None:
        """Wait until STOP, RESUME or SUSPEND has come since the connection began."""
        while name not in self.seen:
            self._await(name)

    def wait_migration_event(self, status: str) -> None:
        """Wait for the event MIGRATION with this status, dropping all others."""
        while True:
            while self._queue:
                message = self._queue.popleft()
                if message["event"] == "MIGRATION" and _member(message, "data", "status") == status:
                    return
            self._await(status)

    def drain(self) -> None:
        """Take what has come after the program ended."""
        try:
            while True:
                self._note(self._next())
        except CaseFailed:
            pass

    def close(self) -> None:
        """Disconnect."""
        self._messages.close()
        self._sock.close()

    def _await(self, what: str) -> None:
        try:
            message = self._next()
        except CaseFailed as problem:
            raise CaseFailed(f"{problem}, waiting for {what} after {self.log}") from problem
        check("event" in message, f"{self._who}: {message} while waiting for {what}")
        self._note(message)

    def _note(self, message: dict[str, object]) -> None:
        name = str(message.get("event", ""))
        data = message.get("data")
        status = data.get("status", data.get("pass", "")) if isinstance(data, dict) else ""
        self.log.append(f"{name} {status}".strip())
        if name in _FLAGGED:
            self.seen.add(name)
        else:
            self._queue.append(message)

    def _next(self) -> dict[str, object]:
        with _talking(f"{self._who} QMP"):
            line = self._messages.readline()
        check(line, f"{self._who}: QMP was closed")
        message: dict[str, object] = json.loads(line)
        return message


def _member(message: dict[str, object], *names: str) -> object:
    found: object = message
    for name in names:
        check(isinstance(found, dict) and name in found, f"{message} has no {name}")
        assert isinstance(found, dict)
        found = found[name]
    return found


def poll(done: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Ask again and again until ``done()``."""
    end = time.monotonic() + limit_s
    while not done():
        check(time.monotonic() < end, f"{what}: not within {limit_s:.0f} s")
        time.sleep(_POLL_S)
