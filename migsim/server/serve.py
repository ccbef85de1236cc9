"""Many machines in one process, each with a QMP socket of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType

from ..errors import ConfigError
from .frontend import FrontEnd
from .process import read_command_line
from .reactor import Loop, Reactor

DEFAULT_OPTIONS = ("-machine", "none", "-m", "256M")
MACHINES_MAX = 100_000


class Farm:
    """``count`` machines on one event loop; machine *n* listens at ``folder/n.qmp``.

    Each is built from the same ``options``, in which ``{n}`` stands for its number.  One that ends
    leaves the others alone.

    Raises:
        ConfigError: the options or the count make no sense.
        ChannelError: a socket cannot be bound.
    """

    def __init__(
        self, loop: Loop, folder: str, count: int, options: Sequence[str] = DEFAULT_OPTIONS
    ) -> None:
        if not 1 <= count <= MACHINES_MAX:
            raise ConfigError("--count", f"has to be 1 to {MACHINES_MAX}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.living: dict[int, FrontEnd] = {}
        self.statuses: dict[int, int] = {}
        try:
            for number in range(count):
                self.living[number] = self._start(loop, folder, number, options)
        except BaseException:
            self.terminate()
            raise

    def _start(self, loop: Loop, folder: str, number: int, options: Sequence[str]) -> FrontEnd:
        def ended(status: int, _reason: str) -> None:
            self.living.pop(number, None)
            self.statuses[number] = status

        path = os.path.join(folder, f"{number}.qmp").replace(",", ",,")
        words = [word.replace("{n}", str(number)) for word in options]
        argv = [*words, "-qmp", f"unix:{path},server=on,wait=off"]
        return FrontEnd(loop, argv, read_command_line, ended)

    def terminate(self) -> None:
        """End all machines."""
        for front in list(self.living.values()):
            front.terminate()


def serve(folder: str, count: int, options: Sequence[str] = DEFAULT_OPTIONS) -> None:
    """Serve ``count`` machines until a signal comes; raises as `Farm`."""
    reactor = Reactor()
    farm = Farm(reactor, folder, count, options)

    def stop(_number: int, _frame: FrameType | None) -> None:
        reactor.call_soon_threadsafe(farm.terminate)
        reactor.call_soon_threadsafe(reactor.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"{count} machines at {os.path.join(folder, '0.qmp')} ...", flush=True)
    reactor.run()
    reactor.close()
