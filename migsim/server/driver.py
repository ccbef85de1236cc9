"""Makes a machine's time pass inside an event loop: one step of its engines per turn."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import AbortError
from ..guest.workloads import Idle
from ..machine.driver import VirtualDriver
from ..migration.run import Stage
from ..qapi.enums import MigrationStatus
from .transports import LiveOutput

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from .reactor import Loop, Timer

VIRTUAL_TURNS = 64
"""Steps in virtual time between two looks at what clients say."""
GUEST_TICK_S = 0.02
"""How often a guest that writes is brought up to date while nobody asks, in seconds."""


class LoopDriver:
    """Steps one machine.

    ``after`` is called after every step, with events to be delivered.  Call `wake` when something
    happened that gives the engines work.

    Attributes:
        held: virtual time passes by commands of a client alone.
        stepped: called after every step in virtual time.
    """

    def __init__(self, loop: Loop, machine: Machine, after: Callable[[], None]) -> None:
        self._loop = loop
        self._machine = machine
        self._after = after
        self._timer: Timer | None = None
        self._watched: set[int] = set()
        self._ended_fd = -1
        self._listened = -1
        self._idle_guest = isinstance(machine.guest.workload, Idle)
        machine.incoming.background = self._aside
        machine.incoming.wake = self._wake_from_aside
        self._turning = False
        self.held = False
        self.stepped: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Go on in the next turn of the loop."""
        if self._turning or self._machine.exited is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_soon(self._turn)

    def _wake_from_aside(self) -> None:
        self._loop.call_soon_threadsafe(self.wake)

    def _turn(self) -> None:
        self._timer = None
        self._turning = True
        try:
            delay = self._step()
        except AbortError:
            delay = None
        finally:
            self._turning = False
        run = self._machine.source.run
        if run is None or run.transfer is None:
            self._listen(None)
        self._after()
        if self._machine.exited is not None:
            return
        wall = not isinstance(self._machine.driver, VirtualDriver)
        if delay is None and wall and not self._idle_guest:
            delay = GUEST_TICK_S  # it may be started again without our being told
        if delay is not None:
            self._timer = (
                self._loop.call_later(delay, self._turn)
                if delay
                else self._loop.call_soon(self._turn)
            )

    def _step(self) -> float | None:
        """Do one step unless the channel is not ready for it; return when the next is due."""
        driver = self._machine.driver
        if isinstance(driver, VirtualDriver):
            return self._virtual_step(driver)
        if self._outgoing_ready():
            delay = driver.turn()
            while delay == 0.0 and self._machine.incoming.running:
                delay = driver.turn()  # the real program loads a file in one go, too
            return delay
        driver.catch_up()
        return None

    def _virtual_step(self, driver: VirtualDriver) -> float | None:
        """Let some virtual time pass, unless a client decides when it does."""
        if self.held or not self._machine.busy:
            return None
        for _ in range(VIRTUAL_TURNS):
            if not self._outgoing_ready() or not driver.turn():
                return None
            self.stepped()
        return 0.0

    def _outgoing_ready(self) -> bool:
        """Send what was written; whether the next step of a migration can be made."""
        source = self._machine.source
        transfer = source.run.transfer if source.run is not None else None
        live = [
            channel
            for channel in (transfer.channels if transfer is not None else ())
            if isinstance(channel, LiveOutput)
        ]
        self._unwatch()
        self._listen(live[0] if live and transfer and transfer.answers is not None else None)
        for channel in live:
            channel.before_close = self._let_go
            channel.pump()
        cancelled = source.status.value is MigrationStatus.CANCELLING
        broken = any(channel.error is not None for channel in live)
        if not live or cancelled or broken:
            return True
        blocked = [channel.fd for channel in live if channel.blocked]
        for fd in blocked:
            self._watched.add(fd)
            self._loop.add_writer(fd, self._wake_up)
        if blocked:
            return False
        if source.run is not None and source.run.stage is Stage.FINISH:
            ended = live[0].hang_up()
            if ended is not None:
                self._ended_fd = ended
                self._loop.add_reader(ended, self._wake_up)
                return False
        return True

    def _wake_up(self) -> None:
        self._unwatch()
        self.wake()

    def _let_go(self) -> None:
        """Watch nothing any more: a channel is about to be closed."""
        self._unwatch()
        self._listen(None)

    def _unwatch(self) -> None:
        for fd in self._watched:
            self._loop.remove_writer(fd)
        self._watched.clear()
        fd, self._ended_fd = self._ended_fd, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)

    def _listen(self, channel: LiveOutput | None) -> None:
        """Watch for what the other side answers on ``channel``, until it says no more."""
        fd = -1 if channel is None or channel.answers_ended else channel.fd
        if fd == self._listened:
            return
        if self._listened >= 0:
            self._loop.remove_reader(self._listened)
        self._listened = fd
        if fd >= 0 and channel is not None:
            self._loop.add_reader(fd, self._hear, channel)

    def _hear(self, channel: LiveOutput) -> None:
        channel.gather()
        if channel.answers_ended:
            self._listen(None)
        self.wake()

    def _aside(self, load: Callable[[], None]) -> None:
        """Run a load in a thread of its own."""

        def run() -> None:
            load()
            self._loop.call_soon_threadsafe(self.wake)

        threading.Thread(target=run, name="mig/dst/main", daemon=True).start()
