"""All monitors of one machine: every event goes to each of them, once and in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..machine.machine import Machine


class Listener(Protocol):
    """A monitor, as far as events go."""

    def event(self, message: Mapping[str, object]) -> None:
        """Take one event as a QMP message."""
        ...


class MonitorHub:
    """Takes a machine's events and hands them to its listeners.

    ``epoch_s`` is the moment, in seconds of Unix time, at which the machine's clock was zero.
    The machine's own list of events is emptied, so that a long life costs no memory.
    """

    def __init__(self, machine: Machine, epoch_s: float = 0.0) -> None:
        self.machine = machine
        self.epoch_s = epoch_s
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Let ``listener`` hear every event from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Forget ``listener``."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def deliver(self) -> None:
        """Hand over every event that has not been handed over yet."""
        events = self.machine.events
        if not events:
            return
        pending = events[:]
        events.clear()
        for event in pending:
            message = event.qmp(self.epoch_s)
            for listener in self._listeners:
                listener.event(message)
