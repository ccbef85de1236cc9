"""Character devices: what monitors, serial ports and qtest talk through."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ChannelError, ConfigError
from .sockets import connect_tcp, connect_unix, listen_tcp, listen_unix
from .stdio import StandardStreams

if TYPE_CHECKING:
    from ..cmdline.parts import Chardev
    from .launch import Greeter


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket of a character device.

    Attributes:
        sock: the socket; None for a client that could not connect yet.
        listens: whether it listens for a client.
        client: a client that is there already, or None.
        greeted: whether that client was greeted.
        connect, retry_s: how to connect again, and after how many seconds; 0 for never.
        streams: the standard streams, if it is those.
    """

    sock: socket.socket | None
    listens: bool
    client: socket.socket | None = None
    greeted: bool = False
    connect: Callable[[], socket.socket] | None = None
    retry_s: float = 0.0
    streams: StandardStreams | None = None

    def close(self) -> None:
        """Let go of it."""
        for sock in (self.sock, self.client):
            if sock is not None:
                sock.close()


def open_chardev(chardev: Chardev, greeter: Greeter | None = None) -> Opened | None:
    """Return the socket of a character device; None for kinds that nobody talks through.

    ``greeter`` may have opened it already.  A server that waits (``wait=on``, the default) is
    not returned before its first client has come.

    Raises:
        ChannelError: it cannot be bound or connected.
        ConfigError: the device makes no sense.
    """
    if chardev.backend == "stdio":
        streams = StandardStreams()
        return Opened(streams.sock, False, streams=streams)
    if chardev.backend != "socket":
        return None
    path = chardev.properties.get("path")
    if greeter is not None and greeter.path == path:
        listener, client = greeter.finish()
        return Opened(listener, True, client, greeted=True)
    if "fd" in chardev.properties:
        return _inherited(chardev)
    return _server(chardev) if chardev.properties.get("server") is True else _client(chardev)


def _server(chardev: Chardev) -> Opened:
    listener = _listener(chardev)
    if chardev.properties.get("wait") is False:
        return Opened(listener, True)
    return Opened(listener, True, _first_client(chardev, listener))


def _listener(chardev: Chardev) -> socket.socket:
    p = chardev.properties
    if "path" in p:
        return listen_unix(str(p["path"]))
    if "port" in p:
        return listen_tcp(str(p.get("host", "")), str(p["port"]))
    raise _incomplete(chardev)


def _first_client(chardev: Chardev, listener: socket.socket) -> socket.socket:
    """Wait for a client, as a server without ``wait=off`` does before the machine is made."""
    print(f"waiting for a client of {chardev.id}", file=sys.stderr, flush=True)
    listener.setblocking(True)
    client, _ = listener.accept()
    listener.setblocking(False)
    client.setblocking(False)
    return client


def _client(chardev: Chardev) -> Opened:
    connect, retry_s = _connect(chardev), _retry_s(chardev.properties)
    try:
        sock = connect()
    except ChannelError:
        if not retry_s:
            raise
        return Opened(None, False, connect=connect, retry_s=retry_s)
    return Opened(sock, False, connect=connect, retry_s=retry_s)


def _connect(chardev: Chardev) -> Callable[[], socket.socket]:
    p = chardev.properties
    if "path" in p:
        return partial(connect_unix, str(p["path"]))
    if "port" in p:
        return partial(connect_tcp, str(p.get("host", "")), str(p["port"]))
    raise _incomplete(chardev)


def _retry_s(properties: Mapping[str, str | int | bool]) -> float:
    seconds, thousandths = properties.get("reconnect", 0), properties.get("reconnect-ms", 0)
    assert not isinstance(seconds, str)
    assert not isinstance(thousandths, str)
    return seconds + thousandths / 1000


def _inherited(chardev: Chardev) -> Opened:
    """Return a socket that the process was started with, listening or connected."""
    number = int(chardev.properties["fd"])
    try:
        sock = socket.socket(fileno=number)
        listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        raise ConfigError(f"chardev {chardev.id}", f"descriptor {number}: {error}") from error
    sock.setblocking(False)
    if listening and chardev.properties.get("wait") is True:
        return Opened(sock, True, _first_client(chardev, sock))
    return Opened(sock, listening)


def _incomplete(chardev: Chardev) -> ConfigError:
    return ConfigError(f"chardev {chardev.id}", "a socket needs path=, port= or fd=")
