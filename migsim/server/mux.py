"""Several users of one character device: one of them has the keyboard, all may print.

The escape character is Ctrl-A (spec monitor.md section 3; keys seen on QEMU 10.0.2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .connection import Session

_ESCAPE = 0x01
_HELP = b"".join(
    b"\n\r" + line
    for line in (
        b"C-a h    show this",
        b"C-a x    end the machine",
        b"C-a c    give the keyboard to the next user of this terminal",
        b"C-a C-a  send Ctrl-A",
    )
)
_ENDED = b"\n\rTerminated\n\r"


class Polled(Protocol):
    """A session that wants to look, after every step, whether its waiting is over."""

    def poll(self) -> None:
        """Look."""
        ...


class SerialSession:
    """A serial port as the user of a device: it prints, and nobody reads what is typed."""

    def __init__(self) -> None:
        self.output = bytearray()

    def greet(self) -> None:
        """Say nothing."""

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Forget what was typed: the synthetic guest has no keyboard."""
        for fd in descriptors:
            os.close(fd)

    def close(self) -> None:
        """The terminal is gone."""

    def poll(self) -> None:
        """Wait for nothing."""


class MuxSession:
    """All users of one device as one session; the last one has the keyboard at first.

    ``end`` ends the machine.
    """

    def __init__(self, users: Sequence[Session], end: Callable[[], None]) -> None:
        self._users = users
        self._end = end
        self._focus = len(users) - 1
        self._escaped = False
        self.output = bytearray()

    def greet(self) -> None:
        """Let every user say hello."""
        for user in self._users:
            user.greet()
        self.gather()

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Pass what was typed to the user with the keyboard."""
        for fd in descriptors:
            os.close(fd)
        plain = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte == _ESCAPE:
                    plain.append(byte)
                else:
                    self._pass(plain)
                    self._key(byte)
            elif byte == _ESCAPE:
                self._escaped = True
            else:
                plain.append(byte)
        self._pass(plain)

    def close(self) -> None:
        """The terminal is gone."""
        for user in self._users:
            user.close()

    def poll(self) -> None:
        """Let users look whether their waiting is over, and gather what they print."""
        for user in self._users:
            poll = getattr(user, "poll", None)
            if poll is not None:
                poll()
        self.gather()

    def gather(self) -> None:
        """Take what the users have to print."""
        for user in self._users:
            self.output += user.output
            user.output.clear()

    def _pass(self, plain: bytearray) -> None:
        if plain:
            self._users[self._focus].feed(bytes(plain))
            plain.clear()
        self.gather()

    def _key(self, byte: int) -> None:
        match chr(byte):
            case "c":
                self._focus = (self._focus + 1) % len(self._users)
            case "x":
                self.output += _ENDED
                self._end()
            case "h" | "?":
                self.output += _HELP + b"\n\r"
