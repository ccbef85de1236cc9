"""Connections of one incoming migration, sorted as they come: main channel and those of multifd.

Which is which is told by the first bytes: a stream begins with its magic number, a channel of
multifd with an initial packet (spec stream.md section 11).  They come in any order.  One that
begins with something else, or ends before, makes the migration fail in ``setup``; one that ends
behind that is found by the load (seen on QEMU 10.0).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..channel.group import InputGroup
from ..errors import StreamError
from ..stream.multifd_wire import INITIAL_PACKET, MAGIC, VERSION
from ..stream.multifd_writer import NO_UUID
from ..stream.wire import FILE_MAGIC
from .transports import LiveInput, readable

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from ..errors import MigsimError
    from .reactor import Loop

_MAGIC = FILE_MAGIC.to_bytes(4, "big")
_PATIENCE_S = 0.01


class Arrivals:
    """Collects a main channel and ``further`` others, and hands them over when all are there."""

    def __init__(
        self,
        loop: Loop,
        further: int,
        complete: Callable[[InputChannel | InputGroup], None],
        failed: Callable[[MigsimError], None],
        *,
        uuid: bytes = NO_UUID,
    ) -> None:
        self._loop = loop
        self._further = further
        self._complete = complete
        self._failed = failed
        self._uuid = uuid
        self._unknown: dict[int, tuple[socket.socket, str]] = {}
        self._main: LiveInput | None = None
        self._others: dict[int, LiveInput] = {}

    def add(self, client: socket.socket, name: str) -> None:
        """Take a connection; without multifd the first one is the migration."""
        if not self._further:
            self._complete(LiveInput(client.detach(), name))
            return
        client.setblocking(False)
        self._unknown[client.fileno()] = client, name
        self._loop.add_reader(client.fileno(), self._look, client.fileno())

    def abandon(self) -> None:
        """Hang up on everybody who has not been handed over."""
        for fd, (client, _) in self._unknown.items():
            self._loop.remove_reader(fd)
            client.close()
        self._unknown.clear()
        for channel in (self._main, *self._others.values()):
            if channel is not None:
                channel.close()
        self._main, self._others = None, {}

    def _look(self, fd: int) -> None:
        """Find out what a connection is as soon as it has said enough."""
        client, name = self._unknown[fd]
        try:
            begin = client.recv(INITIAL_PACKET.size, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            begin = b""
        is_main = begin.startswith(_MAGIC) and self._main is None
        if not is_main and len(begin) < INITIAL_PACKET.size and not _hung_up(client):
            self._loop.remove_reader(fd)
            self._loop.call_later(_PATIENCE_S, self._look_again, fd)
            return
        try:
            number = None if is_main else self._number(begin, name)
        except StreamError as error:
            self.abandon()
            self._failed(error)
            return
        del self._unknown[fd]
        self._loop.remove_reader(fd)
        channel = LiveInput(client.detach(), name)
        if number is None:
            self._main = channel
        else:
            self._others[number] = channel
        if self._main is not None and len(self._others) == self._further:
            group = InputGroup(self._main, tuple(self._others.values()), readable)
            self._main, self._others = None, {}
            self._complete(group)

    def _number(self, begin: bytes, name: str) -> int:
        """Return which channel begins so; raises `StreamError` if none of this migration does."""
        if len(begin) < INITIAL_PACKET.size:
            raise StreamError(0, name, "an initial packet", f"the end after {len(begin)} bytes")
        magic, version, uuid, number = INITIAL_PACKET.unpack(begin)
        wanted: tuple[tuple[bool, str, str], ...] = (
            (magic == MAGIC, f"{MAGIC:#010x}", f"{magic:#010x}"),
            (version == VERSION, f"version {VERSION}", str(version)),
            (uuid == self._uuid, f"UUID {self._uuid.hex()}", uuid.hex()),
            (number < self._further, f"a channel below {self._further}", str(number)),
            (number not in self._others, "each channel once", f"channel {number} again"),
        )
        for holds, expected, found in wanted:
            if not holds:
                raise StreamError(0, name, expected, found)
        return int(number)

    def _look_again(self, fd: int) -> None:
        if fd in self._unknown:
            self._loop.add_reader(fd, self._look, fd)


def _hung_up(client: socket.socket) -> bool:
    """Whether the other side will send no more."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))
