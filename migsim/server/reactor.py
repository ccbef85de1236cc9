"""The event loop of a front-end: descriptors, timers, and calls from other threads.

`Loop` is what the servers need of one.  An asyncio loop fits it; `Reactor` is a small one of our
own, because importing asyncio takes longer than everything else that a probe of the front-end
waits for.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_TROUBLE = select.EPOLLERR | select.EPOLLHUP
_Callback = Callable[..., object]


class Timer(Protocol):
    """A call that has been asked for and not been made yet."""

    def cancel(self) -> None:
        """Do not make it."""
        ...


class Loop(Protocol):
    """The part of an event loop that servers use; an asyncio loop has it."""

    def add_reader(self, fd: int, callback: _Callback, /, *args: object) -> object:
        """Call back whenever ``fd`` can be read."""
        ...

    def remove_reader(self, fd: int, /) -> bool:
        """Stop that; whether there was such a call."""
        ...

    def add_writer(self, fd: int, callback: _Callback, /, *args: object) -> object:
        """Call back whenever ``fd`` can be written."""
        ...

    def remove_writer(self, fd: int, /) -> bool:
        """Stop that; whether there was such a call."""
        ...

    def call_soon(self, callback: _Callback, /, *args: object) -> Timer:
        """Call back in the next turn of the loop."""
        ...

    def call_later(self, delay: float, callback: _Callback, /, *args: object) -> Timer:
        """Call back after ``delay`` seconds."""
        ...

    def call_soon_threadsafe(self, callback: _Callback, /, *args: object) -> Timer:
        """Call back in the loop's thread; may be called from any other."""
        ...


class _Call:
    __slots__ = ("args", "callback", "cancelled")

    def __init__(self, callback: _Callback, args: tuple[object, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self.callback(*self.args)


_NOBODY: tuple[_Call | None, _Call | None] = (None, None)


class Reactor:
    """A small event loop; everything runs in the thread that calls `run`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[_Call | None, _Call | None]] = {}
        self._soon: deque[_Call] = deque()
        self._foreign: deque[_Call] = deque()
        self._later: list[tuple[float, int, _Call]] = []
        self._order = count()
        self._stopped = False
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.add_reader(self._wake_in, self._drain)

    def add_reader(self, fd: int, callback: _Callback, /, *args: object) -> None:
        """Call back whenever ``fd`` can be read."""
        self._set(fd, _READ, _Call(callback, args))

    def add_writer(self, fd: int, callback: _Callback, /, *args: object) -> None:
        """Call back whenever ``fd`` can be written."""
        self._set(fd, _WRITE, _Call(callback, args))

    def remove_reader(self, fd: int, /) -> bool:
        """Stop watching ``fd`` for input."""
        return self._set(fd, _READ, None)

    def remove_writer(self, fd: int, /) -> bool:
        """Stop watching ``fd`` for room."""
        return self._set(fd, _WRITE, None)

    def call_soon(self, callback: _Callback, /, *args: object) -> _Call:
        """Call back in the next turn."""
        call = _Call(callback, args)
        self._soon.append(call)
        return call

    def call_later(self, delay: float, callback: _Callback, /, *args: object) -> _Call:
        """Call back after ``delay`` seconds."""
        call = _Call(callback, args)
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._order), call))
        return call

    def call_soon_threadsafe(self, callback: _Callback, /, *args: object) -> _Call:
        """Call back in the next turn; from any thread, or from a signal handler."""
        call = _Call(callback, args)
        self._foreign.append(call)
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the loop up as well
            os.write(self._wake_out, b"\0")
        return call

    def stop(self) -> None:
        """Make `run` return after this turn."""
        self._stopped = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            self.turn()

    def turn(self) -> None:
        """Wait for something to do, and do it."""
        for fd, mask in self._epoll.poll(self._patience()):
            reader, writer = self._watched.get(fd, _NOBODY)
            if mask & (_READ | _TROUBLE) and reader is not None:
                reader.run()
            if mask & (_WRITE | _TROUBLE) and writer is not None:
                writer.run()
        if self._later:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                self._soon.append(heapq.heappop(self._later)[2])
        for _ in range(len(self._soon)):
            self._soon.popleft().run()

    def close(self) -> None:
        """Let go of the loop's own descriptors."""
        self._epoll.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _patience(self) -> float | None:
        if self._soon or self._stopped:
            return 0.0
        while self._later and self._later[0][2].cancelled:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def _drain(self) -> None:
        os.read(self._wake_in, 4096)
        while self._foreign:
            self._soon.append(self._foreign.popleft())

    def _set(self, fd: int, kind: int, call: _Call | None) -> bool:
        known = fd in self._watched
        reader, writer = self._watched.get(fd, _NOBODY)
        before = reader if kind == _READ else writer
        if before is not None:
            before.cancel()
        if kind == _READ:
            reader = call
        else:
            writer = call
        mask = (_READ if reader else 0) | (_WRITE if writer else 0)
        if not mask:
            if known:
                del self._watched[fd]
                with contextlib.suppress(OSError):  # a descriptor that was closed is gone already
                    self._epoll.unregister(fd)
            return before is not None
        self._watched[fd] = reader, writer
        if known:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        return before is not None
