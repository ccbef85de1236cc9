"""One connection of the human monitor without its socket: banner, echo, prompt, lines.

What is typed is echoed with the terminal's control sequences, as a readline does (spec monitor.md
section 3, QEMU 10.0).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from .hmp import WAITING, HmpCommand, HmpMonitor

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from .hub import MonitorHub

PROMPT = b"(qemu) "
MAX_LINE_BYTES = 4095
_MAX_QUEUE_BYTES = 1 << 20
_ENTER = b"\r\n"
_BACKSPACE = b"\x08\x7f"
_ESCAPE = 0x1B
_KILL_LINE = 0x15


class HmpSession:
    """What one person and one machine say to each other.

    A ``migrate`` without ``-d`` keeps the person waiting; what is typed meanwhile is executed
    afterwards.
    """

    def __init__(
        self,
        machine: Machine,
        hub: MonitorHub,
        extra: Mapping[str, HmpCommand] = MappingProxyType({}),
    ) -> None:
        self._machine = machine
        self._hub = hub
        self._monitor = HmpMonitor(machine, on_wait=self._wait, extra=extra)
        self._line = bytearray()
        self._queue = bytearray()
        self._escape = False
        self._waiting = False
        self.output = bytearray()
        hub.add(self)

    def greet(self) -> None:
        """Print the banner and the first prompt."""
        text = f"QEMU {self._machine.release} monitor - type 'help' for more information\r\n"
        self.output += text.encode() + PROMPT

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Take what was typed."""
        for fd in descriptors:
            os.close(fd)
        if len(self._queue) + len(data) <= _MAX_QUEUE_BYTES:
            self._queue += data
        self._work()

    def event(self, _message: Mapping[str, object]) -> None:
        """Events are not printed, but one of them may end the waiting."""
        if self._waiting and self._machine.query_migrate().get("status") not in WAITING:
            self._waiting = False
            self.output += PROMPT
            self._work()

    def close(self) -> None:
        """The person is gone."""
        self._hub.remove(self)

    def poll(self) -> None:
        """Look whether the waiting is over; to be called after every step of the engines."""
        self.event({})

    def _wait(self) -> Sequence[str]:
        self._waiting = self._machine.source.running
        return ()

    def _work(self) -> None:
        while self._queue and not self._waiting and self._machine.exited is None:
            byte = self._queue[0]
            del self._queue[0]
            self._key(byte)

    def _key(self, byte: int) -> None:
        if self._escape:
            self._escape = not chr(byte).isalpha()
        elif byte in _ENTER:
            self._enter()
        elif byte in _BACKSPACE:
            self._edit(self._line[:-1])
        elif byte == _KILL_LINE:
            self._edit(bytearray())
        elif byte == _ESCAPE:
            self._escape = True
        elif byte >= 0x20 and len(self._line) < MAX_LINE_BYTES:
            self._edit(self._line + bytes([byte]))

    def _edit(self, line: bytearray) -> None:
        """Show the new line over the old one."""
        self.output += b"\x1b[D" * len(self._line) + line + b"\x1b[K"
        self._line = bytearray(line)

    def _enter(self) -> None:
        line, self._line = self._line.decode(errors="replace"), bytearray()
        self.output += b"\r\n"
        self.output += self._monitor.execute(line).encode()
        self._hub.deliver()
        if not self._waiting and self._machine.exited is None:
            self.output += PROMPT
