"""Sockets that monitors and migrations use: listening and connecting, unix and tcp."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence

from ..errors import ChannelError

BACKLOG = 16
_INTERNET = (socket.AF_INET, socket.AF_INET6)


def listen_unix(path: str, further: int = 0) -> socket.socket:
    """Return a socket that listens at ``path`` with mode 0600; an old socket is replaced.

    ``further`` connections may wait at once beside the usual number.

    Raises:
        ChannelError: there is something else than a socket, or the path cannot be bound.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        # Before listen nobody can connect, so there is no moment at which it is open to all.
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG + further)
    except OSError as error:
        sock.close()
        raise _failed(f"unix:{path}", "listen", error) from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISSOCK(mode) or stat.S_ISLNK(mode)):
            raise OSError(errno.EADDRINUSE, "there is a file that is no socket")
        os.unlink(path)


def listen_tcp(host: str, port: str, further: int = 0) -> socket.socket:
    """Return a socket that listens at the first address of ``host`` that can be bound.

    ``further`` connections may wait at once beside the usual number.

    Raises:
        ChannelError: no such host or port, or it is taken.
    """
    uri = f"tcp:{host}:{port}"
    problem: OSError | None = None
    for family, address in _addresses(uri, host or "0.0.0.0", port, passive=True):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG + further)
        except OSError as error:
            sock.close()
            problem = error
            continue
        sock.setblocking(False)
        return sock
    assert problem is not None
    raise _failed(uri, "listen", problem) from problem


def connect_unix(path: str, *, wait: bool = True) -> socket.socket:
    """Return a socket that is connected to ``path``.

    Raises:
        ChannelError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setblocking(wait)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise _failed(f"unix:{path}", "connect", error) from error
    sock.setblocking(False)
    return sock


def connect_tcp(host: str, port: str) -> socket.socket:
    """Return a socket that is connected to the first address of ``host`` that answers.

    Waits; to be called aside from the loop.

    Raises:
        ChannelError: no such host or port, or nobody answers.
    """
    uri = f"tcp:{host}:{port}"
    problem: OSError | None = None
    for family, address in _addresses(uri, host or "127.0.0.1", port, passive=False):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock
    assert problem is not None
    raise _failed(uri, "connect", problem) from problem


def described(sock: socket.socket) -> dict[str, object]:
    """Return the address of a listening socket as ``query-migrate`` shows it."""
    name = sock.getsockname()
    if sock.family in _INTERNET:
        return {"type": "inet", "host": name[0], "port": str(name[1])}
    return {"type": "unix", "path": name}


def _addresses(
    uri: str, host: str, port: str, *, passive: bool
) -> Sequence[tuple[socket.AddressFamily, tuple[object, ...]]]:
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError, OverflowError) as error:
        problem = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise _failed(uri, "connect", problem) from error
    return [(family, address) for family, _, _, _, address in found if family in _INTERNET]


def _failed(uri: str, operation: str, error: OSError) -> ChannelError:
    return ChannelError(uri, operation, error.strerror or str(error), error.errno)
