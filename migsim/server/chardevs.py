"""Character devices: what monitors, serial ports and qtest talk through."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .sockets import connect_tcp, connect_unix, listen_tcp, listen_unix

if TYPE_CHECKING:
    from ..cmdline.parts import Chardev


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket of a character device, and whether it listens for a client."""

    sock: socket.socket
    listens: bool


def open_chardev(chardev: Chardev) -> Opened | None:
    """Return the socket of a character device; None for other kinds.

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
