"""A front-end process and a small QMP client for it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ..errors import ChannelError, MigsimError, StateError

_CODE = "from migsim.server.launch import console; console()"
_START_LIMIT_S = 30.0
_END_LIMIT_S = 30.0


class QmpFailed(MigsimError):  # noqa: N818 - it is what happened
    """A command was answered with an error.

    Attributes:
        qmp_class: QMP's error class.
        description: the text that came with it.
    """

    def __init__(self, command: str, qmp_class: str, description: str) -> None:
        self.qmp_class = qmp_class
        self.description = description
        super().__init__(f"{command}: {qmp_class}: {description}")


class QmpClient:
    """A blocking QMP client, negotiated and ready.

    Attributes:
        events: every event that has come so far, oldest first.
    """

    def __init__(self, path: str, limit_s: float = 30.0) -> None:
        self.events: list[dict[str, object]] = []
        self._fds: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(limit_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ChannelError(f"unix:{path}", "connect", str(error), error.errno) from error
        self._stream = self._socket.makefile("rb")
        self._next()
        self.command("qmp_capabilities")

    def command(self, name: str, /, **arguments: object) -> object:
        """Return what the command ``name`` returns; ``_`` in argument names means ``-``.

        Raises:
            QmpFailed: it was answered with an error.
            ChannelError: the connection ended.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        line = json.dumps({"execute": name, "arguments": named}).encode() + b"\n"
        fds, self._fds = self._fds, []
        self._send(line, fds)
        reply = self._next()
        if "error" in reply:
            error = reply["error"]
            assert isinstance(error, dict)
            raise QmpFailed(name, str(error["class"]), str(error["desc"]))
        return reply["return"]

    def _send(self, line: bytes, fds: list[int]) -> None:
        try:
            if fds:
                socket.send_fds(self._socket, [line[:1]], fds)
                line = line[1:]
            self._socket.sendall(line)
        except ConnectionError as error:
            raise ChannelError("QMP", "write", str(error), error.errno) from error

    def send_descriptor(self, fd: int) -> None:
        """Let ``fd`` go along with the next command, such as ``add-fd`` or ``getfd``."""
        self._fds.append(fd)

    def wait_migration(self, *statuses: str, limit_s: float = 30.0) -> str:
        """Poll ``query-migrate`` until its status is one of ``statuses``; return it.

        Raises:
            StateError: it was none of them within ``limit_s`` seconds.
        """
        end = time.monotonic() + limit_s
        while True:
            answer = self.command("query-migrate")
            status = str(answer.get("status", "none")) if isinstance(answer, dict) else "none"
            if status in statuses:
                return status
            if time.monotonic() > end:
                raise StateError("wait_migration", status, statuses)
            time.sleep(0.002)

    def close(self) -> None:
        """Disconnect."""
        self._stream.close()
        self._socket.close()

    def _next(self) -> dict[str, object]:
        while True:
            try:
                line = self._stream.readline()
            except ConnectionError as error:
                raise ChannelError("QMP", "read", str(error), error.errno) from error
            if not line:
                raise ChannelError("QMP", "read", "the other side has closed the connection")
            message: dict[str, object] = json.loads(line)
            if "event" not in message:
                return message
            self.events.append(message)


class MachineProcess:
    """``migsim-system-x86_64`` with QEMU-style options, and a client of its QMP socket.

    ``folder`` takes the socket and has to have a short name.  Use it as a context manager, or call
    `close`.

    Attributes:
        qmp: the client.
    """

    def __init__(
        self, folder: str | os.PathLike[str], options: Sequence[str] = ("-machine", "none")
    ) -> None:
        self.path = os.path.join(folder, f"{time.monotonic_ns()}.qmp")
        listen = f"unix:{self.path.replace(',', ',,')},server=on,wait=off"
        argv = [sys.executable, "-c", _CODE, *options, "-qmp", listen]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.qmp = self._connect()

    def _connect(self) -> QmpClient:
        end = time.monotonic() + _START_LIMIT_S
        while not os.path.exists(self.path):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                status = self.process.wait()
                raise StateError("start", "exited", hint=f"the process ended with {status}")
            time.sleep(0.005)
        try:
            while True:  # the socket has its name a moment before it listens
                try:
                    return QmpClient(self.path)
                except ChannelError as error:
                    if error.errno != errno.ECONNREFUSED or time.monotonic() > end:
                        raise
                    time.sleep(0.005)
        except MigsimError:
            self.process.kill()
            self.process.wait()
            raise

    def close(self) -> int:
        """End the process as its owner would, with SIGTERM; return the exit status."""
        self.qmp.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
