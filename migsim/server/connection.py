"""Clients of monitors: one session per character device, one client at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import ChannelError

if TYPE_CHECKING:
    from .reactor import Loop

_CHUNK_BYTES = 1 << 16
_MOST_DESCRIPTORS = 16
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
_PAUSE_BYTES = 1 << 20
"""Replies that a client has not read: with more of them its requests are not read either."""
_DROP_BYTES = 16 << 20
"""A client that lets this much pile up, of events then, is disconnected."""


class Session(Protocol):
    """One conversation, without its socket."""

    @property
    def output(self) -> bytearray:
        """What is to be sent; what has been sent is taken out of it."""
        ...

    def greet(self) -> None:
        """Say hello."""
        ...

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Take what arrived."""
        ...

    def close(self) -> None:
        """The client is gone."""
        ...


class Connection:
    """Moves bytes between a socket and a session.

    ``closed`` is called once, when the client is gone.  ``after`` is called whenever something
    arrived, so that others can be told about what it caused.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        session: Session,
        *,
        closed: Callable[[Connection], None],
        after: Callable[[], None],
        greeted: bool = False,
    ) -> None:
        self._loop = loop
        self._sock: socket.socket | None = sock
        self.session = session
        self._closed = closed
        self._after = after
        self._reading = False
        self._writing = False
        self._is_local = sock.family == socket.AF_UNIX
        sock.setblocking(False)
        if not greeted:
            session.greet()
        self.flush()
        if self.open:  # a client may be gone before it has heard a word
            self._watch()

    @property
    def open(self) -> bool:
        """Whether the client is there."""
        return self._sock is not None

    def flush(self) -> None:
        """Send what the session has to say, as far as there is room."""
        output = self.session.output
        if not output and not self._writing and self._reading:
            return
        while output and self._sock is not None:
            try:
                sent = self._sock.send(memoryview(output)[:_PAUSE_BYTES])
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            del output[:sent]
        if len(output) > _DROP_BYTES:
            self.close()
        elif self._sock is not None:
            self._watch()

    def close(self) -> None:
        """Disconnect."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        sock.close()
        self.session.close()
        self._closed(self)

    def drain(self, seconds: float) -> None:
        """Send the last words before the process ends, waiting for at most ``seconds``."""
        if self._sock is not None and self.session.output:
            self._sock.settimeout(seconds)
            with contextlib.suppress(OSError):
                self._sock.sendall(self.session.output)
            self.session.output.clear()

    def _watch(self) -> None:
        assert self._sock is not None
        fd, waiting = self._sock.fileno(), len(self.session.output)
        if bool(waiting) != self._writing:
            self._writing = bool(waiting)
            if waiting:
                self._loop.add_writer(fd, self.flush)
            else:
                self._loop.remove_writer(fd)
        if (waiting <= _PAUSE_BYTES) != self._reading:
            self._reading = waiting <= _PAUSE_BYTES
            if self._reading:
                self._loop.add_reader(fd, self._readable)
            else:
                self._loop.remove_reader(fd)

    def _readable(self) -> None:
        assert self._sock is not None
        descriptors: Sequence[int] = ()
        try:
            if self._is_local:
                data, ancillary, _, _ = self._sock.recvmsg(
                    _CHUNK_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
                if ancillary:
                    descriptors = _descriptors(ancillary)
            else:
                data = self._sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            for fd in descriptors:
                os.close(fd)
            self.close()
            return
        self.session.feed(data, descriptors)
        self.flush()
        self._after()


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> Sequence[int]:
    """Return the descriptors that came with a message."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            whole = len(data) - len(data) % 4
            found += memoryview(data[:whole]).cast("i")
    return found


class SocketServer:
    """A character device of kind socket: takes one client, then waits for the next.

    ``sock`` listens, or is connected already when ``listening`` is False.  ``reconnect`` is how
    a device that connects does it again, ``retry_s`` seconds after it was cut off.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket | None,
        make_session: Callable[[], Session],
        *,
        listening: bool = True,
        after: Callable[[], None] = lambda: None,
        reconnect: Callable[[], socket.socket] | None = None,
        retry_s: float = 0.0,
    ) -> None:
        self._loop = loop
        self._sock = sock if listening else None
        self._make_session = make_session
        self._after = after
        self.connection: Connection | None = None
        self._begun = False
        self._stopped = False
        self._reconnect = reconnect
        self._retry_s = retry_s
        if not listening and sock is not None:
            self.take(sock)
        else:
            self.resume()

    def resume(self) -> None:
        """Accept the next client when it comes, or connect again after a while."""
        if self._stopped:
            return
        if self._sock is not None:
            self._loop.add_reader(self._sock.fileno(), self._accept)
        elif self._retry_s:
            self._loop.call_later(self._retry_s, self._connect_again)

    def _connect_again(self) -> None:
        if self._stopped or self._reconnect is None:
            return
        try:
            sock = self._reconnect()
        except ChannelError:
            self.resume()
        else:
            self.take(sock)

    def close(self) -> None:
        """Stop accepting, drop the client, and remove the socket's name."""
        self._stopped = True
        if self.connection is not None:
            self.connection.close()
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            name = self._sock.getsockname()
            if self._sock.family == socket.AF_UNIX and isinstance(name, str) and name:
                with contextlib.suppress(OSError):
                    os.unlink(name)
            self._sock.close()
            self._sock = None

    def _accept(self) -> None:
        assert self._sock is not None
        try:
            client, _ = self._sock.accept()
        except OSError:
            return
        self.take(client)

    def take(self, client: socket.socket, *, greeted: bool = False) -> None:
        """Serve ``client``, which may have been greeted already, until it goes."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
        session = self._make_session()
        connection = Connection(
            self._loop, client, session, closed=self._gone, after=self._after, greeted=greeted
        )
        if connection.open:
            self.connection = connection

    def _gone(self, _connection: Connection) -> None:
        self.connection = None
        self.resume()
