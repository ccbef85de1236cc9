"""Named faults for machines that are served in this process; each may have a seed of its own.

Faults of monitors concern what a client hears; faults of migrations concern where the stream goes.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from .. import rng
from ..channel.faults import Fault as ChannelFault
from ..channel.faults import FaultKind, FaultyOutput
from ..errors import ChannelError
from ..server.hooks import Hooks
from ..server.transports import LiveOutput

if TYPE_CHECKING:
    import numpy as np

    from ..channel.base import OutputChannel
    from ..server.connection import Session
    from ..server.frontend import FrontEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowReply:
    """Replies come ``seconds`` of real time late, with this probability."""

    seconds: float
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedEvent:
    """Events called ``name`` (all of them, if it is empty) do not come, with this probability."""

    name: str = ""
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubledEvent:
    """Events called ``name`` (all of them, if it is empty) come twice, with this probability."""

    name: str = ""
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReset:
    """The client is disconnected in place of a reply, with this probability, ``times`` at most.

    The first ``after`` replies are safe.
    """

    after: int = 1
    times: int = 1
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiesAtPass:
    """The process is gone when its migration, outgoing, begins pass number ``number``."""

    number: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationDies:
    """The other side of the stream is gone when pass number ``number`` begins."""

    number: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull:
    """There is room for ``size_bytes`` of a stream, then no space is left."""

    size_bytes: int = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteError:
    """The stream cannot be written behind ``size_bytes``: the device or connection fails."""

    size_bytes: int = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLink:
    """The wire takes this many bytes per second of virtual time."""

    bytes_per_s: float = 1e6


Fault = (
    SlowReply
    | DroppedEvent
    | DoubledEvent
    | ConnectionReset
    | DiesAtPass
    | DestinationDies
    | DiskFull
    | WriteError
    | SlowLink
)
"""Any of them."""


class FaultHooks(Hooks):
    """Lets ``faults`` happen to one machine."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        self._generators: dict[int, np.random.Generator] = {}
        self.replies = 0
        self.resets = 0
        for one in self._faults:
            if isinstance(one, SlowLink):
                self.timing = replace(Hooks.timing, link_bytes_per_s=one.bytes_per_s)

    def session(self, front: FrontEnd, session: Session) -> Session:
        """Return a session whose messages may be late, missing or doubled."""
        return _FaultySession(self, front, session)

    def output(self, channel: OutputChannel) -> OutputChannel:
        """Return a file that may be full, or break."""
        for one in self._faults:
            if isinstance(one, DiskFull):
                channel = FaultyOutput(channel, ChannelFault(one.size_bytes, FaultKind.NO_SPACE))
            elif isinstance(one, WriteError):
                channel = FaultyOutput(channel, ChannelFault(one.size_bytes, FaultKind.IO_ERROR))
        return channel

    def stepped(self, front: FrontEnd) -> None:
        """Break what is to break at this moment."""
        source = front.machine.source
        if not source.running or source.run is None or source.run.transfer is None:
            return
        channel = source.run.transfer.channel
        for one in self._faults:
            match one:
                case DiesAtPass(number=number) if _passes(front) >= number:
                    front.die()
                case DestinationDies(number=number) if _passes(front) >= number:
                    _break(channel, 0)
                case WriteError(size_bytes=size) | DiskFull(size_bytes=size):
                    _break(channel, size)

    def messages(self, lines: Iterable[bytes]) -> Iterator[tuple[float, bytes]]:
        """Return what is to be sent for ``lines``, and after how many seconds."""
        for line in lines:
            name = json.loads(line).get("event")
            if name is None:
                self.replies += 1
                yield self._delay(), line
            else:
                yield from [(0.0, line)] * self._copies(str(name))

    def resets_now(self) -> bool:
        """Whether the connection ends in place of the reply that comes now."""
        for one in self._faults:
            if isinstance(one, ConnectionReset) and self.resets < one.times:
                due = self.replies >= one.after
                if due and self._happens(one, one.probability, one.seed):
                    self.resets += 1
                    return True
        return False

    def _delay(self) -> float:
        slow = [one for one in self._faults if isinstance(one, SlowReply)]
        return sum(one.seconds for one in slow if self._happens(one, one.probability, one.seed))

    def _copies(self, event: str) -> int:
        copies = 1
        for one in self._faults:
            if not isinstance(one, DroppedEvent | DoubledEvent) or one.name not in ("", event):
                continue
            if self._happens(one, one.probability, one.seed):
                copies = 0 if isinstance(one, DroppedEvent) else 2 * copies
        return copies

    def _happens(self, fault: Fault, probability: float, seed: int) -> bool:
        generator = self._generators.get(id(fault))
        if generator is None:
            generator = self._generators[id(fault)] = rng.stream(seed, type(fault).__name__)
        return bool(generator.random() < probability)


class _FaultySession:
    """A QMP session between a client and the real one."""

    def __init__(self, hooks: FaultHooks, front: FrontEnd, inner: Session) -> None:
        self._hooks = hooks
        self._front = front
        self._inner = inner
        self._late: deque[tuple[float, bytes]] = deque()
        self._out = bytearray()

    @property
    def output(self) -> bytearray:
        """What may be sent now."""
        lines = bytes(self._inner.output).splitlines(keepends=True)
        self._inner.output.clear()
        for delay, line in self._hooks.messages(lines):
            self._late.append((time.monotonic() + delay if delay else 0.0, line))
            if delay:
                self._front.later(delay)
        while self._late and self._late[0][0] <= time.monotonic():
            self._out += self._late.popleft()[1]
        return self._out

    def greet(self) -> None:
        """Say hello; faults begin behind it."""
        self._inner.greet()
        self._out += self._inner.output
        self._inner.output.clear()

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Pass on what the client says, or disconnect it."""
        self._inner.feed(data, descriptors)
        if self._hooks.resets_now():
            self._inner.output.clear()
            self._front.drop_clients()

    def close(self) -> None:
        """The client is gone."""
        self._inner.close()


def _passes(front: FrontEnd) -> int:
    ram = front.machine.query_migrate().get("ram")
    return int(ram["dirty-sync-count"]) if isinstance(ram, dict) else 0


def _break(channel: object, size_bytes: int) -> None:
    """Let a live channel fail behind ``size_bytes``; files have an output of their own."""
    if isinstance(channel, LiveOutput) and channel.position >= size_bytes:
        reason = "the other side is gone" if not size_bytes else "the connection failed"
        channel.error = ChannelError("fault", "write", reason)


def seeded(faults: Iterable[Fault], seed: int) -> list[Fault]:
    """Return ``faults`` with seeds that follow from ``seed``, one for each."""
    found: list[Fault] = []
    for number, one in enumerate(faults):
        if isinstance(one, SlowReply | DroppedEvent | DoubledEvent | ConnectionReset):
            found.append(cast("Fault", replace(one, seed=seed * 1000 + number)))
        else:
            found.append(one)
    return found
