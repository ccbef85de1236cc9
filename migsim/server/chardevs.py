"""Character devices: what monitors, serial ports and qtest talk through."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .sockets import connect_tcp, connect_unix, listen_tcp, listen_unix

if TYPE_CHECKING:
    from ..cmdline.parts import Chardev
    from .launch import Greeter


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket of a character device.

    Attributes:
        sock: the socket.
        listens: whether it listens for a client.
        greeted: a client that is there and was greeted already, or None.
    """

    sock: socket.socket
    listens: bool
    greeted: socket.socket | None = None


def open_chardev(chardev: Chardev, greeter: Greeter | None = None) -> Opened | None:
    """Return the socket of a character device; None for other kinds.

    ``greeter`` may have opened it already.

    Raises:
        ChannelError: it cannot be bound or connected.
        ConfigError: the device makes no sense.
    """
    if chardev.backend != "socket":
        return None
    properties = chardev.properties
    listens = properties.get("server") is True
    if "path" in properties:
        path = str(properties["path"])
        if greeter is not None and greeter.path == path:
            listener, client = greeter.finish()
            return Opened(listener, True, client)
        return Opened(listen_unix(path) if listens else connect_unix(path), listens)
    if "fd" in properties:
        sock = socket.socket(fileno=int(properties["fd"]))
        listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        sock.setblocking(False)
        return Opened(sock, listening)
    if "port" in properties:
        host, port = str(properties.get("host", "")), str(properties["port"])
        return Opened(listen_tcp(host, port) if listens else connect_tcp(host, port), listens)
    raise ConfigError(f"chardev {chardev.id}", "a socket needs path=, port= or fd=")
