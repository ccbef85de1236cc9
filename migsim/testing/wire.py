"""A socket that speaks in lines, for tests that turn an event loop themselves."""

from __future__ import annotations

import os
import socket

_CHUNK_BYTES = 65536


class LineSocket:
    """A client of a unix socket that never waits."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.fspath(path))
        self._socket.setblocking(False)
        self._rest = b""

    def send(self, text: str) -> None:
        """Send one line."""
        self._socket.sendall(text.encode() + b"\n")

    def poll(self) -> str | None:
        """Return the next line without its end, or None if there is none yet."""
        line, end, rest = self._rest.partition(b"\n")
        if end:
            self._rest = rest
            return line.decode().rstrip("\r")
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionError("the other side has closed the connection")
        self._rest += data
        return self.poll()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
