"""Connections of one incoming migration, sorted as they come: main channel and those of multifd.

Which is which is told by the first bytes: a stream begins with its magic number, a channel of
multifd with another one (spec stream.md section 11).  They come in any order.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..channel.group import InputGroup
from ..stream.wire import FILE_MAGIC
from .transports import LiveInput, readable

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from .reactor import Loop

_MAGIC = FILE_MAGIC.to_bytes(4, "big")
_PATIENCE_S = 0.01


class Arrivals:
    """Collects a main channel and ``further`` others, and hands them over when all are there."""

    def __init__(
        self, loop: Loop, further: int, complete: Callable[[InputChannel | InputGroup], None]
    ) -> None:
        self._loop = loop
        self._further = further
        self._complete = complete
        self._unknown: dict[int, tuple[socket.socket, str]] = {}
        self._main: LiveInput | None = None
        self._others: list[LiveInput] = []

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
        for channel in (self._main, *self._others):
            if channel is not None:
                channel.close()
        self._main, self._others = None, []

    def _look(self, fd: int) -> None:
        client, name = self._unknown[fd]
        begin = b""
        with contextlib.suppress(BlockingIOError):
            begin = client.recv(len(_MAGIC), socket.MSG_PEEK)
            if begin and len(begin) < len(_MAGIC):
                self._loop.remove_reader(fd)
                self._loop.call_later(_PATIENCE_S, self._look_again, fd)
                return
        del self._unknown[fd]
        self._loop.remove_reader(fd)
        channel = LiveInput(client.detach(), name)
        if begin == _MAGIC and self._main is None:
            self._main = channel
        else:
            self._others.append(channel)
        if self._main is not None and len(self._others) == self._further:
            group = InputGroup(self._main, tuple(self._others), readable)
            self._main, self._others = None, []
            self._complete(group)

    def _look_again(self, fd: int) -> None:
        if fd in self._unknown:
            self._loop.add_reader(fd, self._look, fd)
