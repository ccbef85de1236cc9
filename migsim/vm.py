"""A machine with its monitors: the front door for tests, notebooks and demos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .machine.machine import Machine
from .monitor.hmp import HmpMonitor
from .monitor.qmp import QmpMonitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import VirtualClock, WallClock
    from .machine.addresses import Connector
    from .machine.config import MachineConfig


class VM(Machine):
    """A `Machine` that also takes QMP commands and human monitor lines.

    ``vm.qmp("migrate", uri="file:vm.state")`` returns the reply as QMP has it, and
    ``vm.hmp("info status")`` the text as the human monitor prints it.
    """

    def __init__(
        self,
        config: MachineConfig,
        *,
        clock: VirtualClock | WallClock | None = None,
        connect: Callable[[Machine], Connector] | None = None,
    ) -> None:
        super().__init__(config, clock=clock, connect=connect)
        self._qmp = QmpMonitor(self)
        self._hmp = HmpMonitor(self)

    def qmp(
        self, command: str, arguments: dict[str, object] | None = None, /, **more: object
    ) -> dict[str, object]:
        """Return QMP's reply to ``command``: ``{"return": ...}`` or ``{"error": ...}``.

        Arguments come as a mapping with QMP's names, or as keywords with ``_`` for ``-``.
        """
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return self._qmp.execute(command, {**(arguments or {}), **named})

    def qmp_events(self) -> list[dict[str, object]]:
        """Return the events since the last call as QMP messages, oldest first."""
        return self._qmp.take_events()

    def hmp(self, line: str) -> str:
        """Return what the human monitor prints for ``line``; nothing on success."""
        return self._hmp.execute(line)
