"""Channels that break on purpose, at an exact byte; they wrap any other channel."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ..errors import ChannelError
from .base import RandomAccessChannel, SkippingChannel

if TYPE_CHECKING:
    from .base import Buffer, InputChannel, OutputChannel


class FaultKind(StrEnum):
    """What happens when the fault strikes."""

    BROKEN_PIPE = "broken-pipe"
    """The other side is gone (EPIPE when writing, ECONNRESET when reading)."""
    NO_SPACE = "no-space"
    """The target is full (ENOSPC)."""
    IO_ERROR = "io-error"
    """The device failed (EIO)."""
    LOST = "lost"
    """Everything from here on disappears without an error; a reader sees an early end."""


_ERRNO = {
    FaultKind.BROKEN_PIPE: errno.EPIPE,
    FaultKind.NO_SPACE: errno.ENOSPC,
    FaultKind.IO_ERROR: errno.EIO,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and its place.

    Attributes:
        after_bytes: bytes that still pass, counted from the wrapping on.
        kind: what happens then, at every further use.
    """

    after_bytes: int
    kind: FaultKind = FaultKind.BROKEN_PIPE

    def error(self, operation: str) -> ChannelError:
        """Return the error that this fault raises."""
        number = _ERRNO[self.kind]
        if operation == "read" and self.kind is FaultKind.BROKEN_PIPE:
            number = errno.ECONNRESET
        return ChannelError(f"fault:{self.kind.value}", operation, os.strerror(number), number)


class FaultyOutput:
    """An output channel that passes bytes on until its fault strikes.

    What fits before the fault reaches the inner channel, so that a file is left as a real one
    would be: cut off in the middle of a record.
    """

    def __init__(self, inner: OutputChannel, fault: Fault) -> None:
        self.inner = inner
        self.fault = fault
        self._left = fault.after_bytes

    @property
    def position(self) -> int:
        """Position of the inner channel."""
        return self.inner.position

    def write(self, data: Buffer) -> None:
        """Pass on what fits before the fault, then break."""
        view = memoryview(data).cast("B")
        fits = self._fits(view.nbytes)
        if fits:
            self.inner.write(view[:fits])
        self._strike(fits, view.nbytes)

    def skip(self, size_bytes: int) -> None:
        """Count what fits before the fault, then break; the inner channel must count."""
        fits = self._fits(size_bytes)
        if not isinstance(self.inner, SkippingChannel):
            raise TypeError("the channel inside does not count")
        self.inner.skip(fits)
        self._strike(fits, size_bytes)

    def write_at(self, position: int, data: Buffer) -> None:
        """Place what fits before the fault, then break; the inner channel must allow it."""
        view = memoryview(data).cast("B")
        fits = self._fits(view.nbytes)
        self._random_access().write_at(position, view[:fits])
        self._strike(fits, view.nbytes)

    def read_at(self, position: int, room: memoryview) -> int:
        """Read from the inner channel, which must allow it; only writing breaks."""
        return self._random_access().read_at(position, room)

    def seek(self, position: int) -> None:
        """Move the inner channel, which must allow it."""
        self._random_access().seek(position)

    def resize(self, size_bytes: int) -> None:
        """Resize the inner channel's target, which must be possible."""
        self._random_access().resize(size_bytes)

    def flush(self) -> None:
        """Flush the inner channel."""
        self.inner.flush()

    def close(self) -> None:
        """Close the inner channel."""
        self.inner.close()

    def _random_access(self) -> RandomAccessChannel:
        if not isinstance(self.inner, RandomAccessChannel):
            raise TypeError("the channel inside cannot place bytes anywhere")
        return self.inner

    def _fits(self, size_bytes: int) -> int:
        fits = min(self._left, size_bytes)
        self._left -= fits
        return fits

    def _strike(self, fits: int, size_bytes: int) -> None:
        if fits < size_bytes and self.fault.kind is not FaultKind.LOST:
            raise self.fault.error("write")


class FaultyInput:
    """An input channel that gives bytes until its fault strikes; it is always a pipe."""

    def __init__(self, inner: InputChannel, fault: Fault) -> None:
        self.inner = inner
        self.fault = fault
        self._left = fault.after_bytes

    @property
    def position(self) -> int:
        """Position of the inner channel."""
        return self.inner.position

    def read_into(self, room: memoryview) -> int:
        """Give bytes from before the fault; break when none is left."""
        if self._left == 0 and len(room):
            if self.fault.kind is FaultKind.LOST:
                return 0
            raise self.fault.error("read")
        count = self.inner.read_into(room[: self._left])
        self._left -= count
        return count

    def seekable(self) -> None:
        """Return None: faults strike in order."""

    def close(self) -> None:
        """Close the inner channel."""
        self.inner.close()
