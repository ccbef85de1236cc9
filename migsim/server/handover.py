"""Both ends of the socket over which cpr-transfer hands memory over.

The source connects, sends the state with all descriptors, and closes its half.  The target reads
that before it builds its machine, and hangs up when it listens for the stream: only then does the
source go on (spec modes.md section 7, QEMU 10.0).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from ..errors import ChannelError
from ..stream.cpr_state import (
    RIDER,
    CprEntry,
    decode_state,
    encode_end,
    encode_entry,
    encode_header,
)
from .sockets import connect_unix, listen_unix

_PATIENCE_S = 5.0
"""How long a target that is connected may leave the state unread, in seconds."""
_CHUNK_BYTES = 4096
_MOST_DESCRIPTORS = 16
_STATE_LIMIT = 1 << 20


def send_state(path: str, descriptors: Iterable[tuple[CprEntry, int]]) -> socket.socket:
    """Hand ``descriptors`` to whoever listens at ``path``; return the socket, half closed.

    It becomes readable when the other side hangs up.

    Raises:
        ChannelError: nobody listens, or the state does not arrive.
    """
    sock = connect_unix(path)
    try:
        sock.settimeout(_PATIENCE_S)
        ahead = encode_header()
        for entry, fd in descriptors:
            sock.sendall(ahead + encode_entry(entry))
            socket.send_fds(sock, [RIDER], [fd])
            ahead = b""
        sock.sendall(ahead + encode_end())
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ChannelError(f"unix:{path}", "write", str(error), error.errno) from error
    return sock


class HandedOver:
    """What a target was given before its machine exists.

    Use it as a context manager, or call `close`: descriptors that nobody took are closed then.

    Attributes:
        memory: descriptors by name of the RAM block.
    """

    def __init__(self, sock: socket.socket | None, memory: Mapping[str, int]) -> None:
        self._sock = sock
        self.memory = dict(memory)

    def hang_up(self) -> None:
        """Let the source go on: there is someone who listens for its stream."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def built(self) -> None:
        """Let go of the descriptors: the machine has its own duplicates."""
        for fd in self.memory.values():
            os.close(fd)
        self.memory.clear()

    def close(self) -> None:
        """Let go of everything."""
        self.built()
        self.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def receive_state(path: str) -> HandedOver:
    """Wait at ``path`` for a source, and return what it hands over.

    Raises:
        ChannelError: the path cannot be listened at, or the source goes away.
        StreamError: what comes is no such state.
    """
    with listen_unix(path) as listener:
        listener.setblocking(True)
        sock, _ = listener.accept()
        with contextlib.suppress(OSError):
            os.unlink(path)
    received: list[int] = []
    try:
        entries = _read(path, sock, received)
        if len(received) < len(entries):
            reason = f"{len(entries)} descriptors were announced, {len(received)} came"
            raise ChannelError(f"unix:{path}", "read", reason)
        memory: dict[str, int] = {}
        for entry, fd in zip(entries, received, strict=False):
            if entry.id == 0 and entry.name not in memory:
                memory[entry.name] = fd
    except BaseException:
        _close(received)
        sock.close()
        raise
    _close(fd for fd in received if fd not in memory.values())
    return HandedOver(sock, memory)


def _read(path: str, sock: socket.socket, received: list[int]) -> list[CprEntry]:
    data = b""
    entries = None
    while entries is None:
        try:
            piece, fds, _, _ = socket.recv_fds(
                sock, _CHUNK_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise ChannelError(f"unix:{path}", "read", str(error), error.errno) from error
        received += fds
        if not piece or len(data) > _STATE_LIMIT:
            raise ChannelError(f"unix:{path}", "read", "the state of cpr-transfer is cut off")
        data += piece
        entries = decode_state(data)
    return entries


def _close(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
