"""Bytes to read a stream from: all at once when mapped, else as they come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..errors import StreamError

if TYPE_CHECKING:
    from ..channel.base import InputChannel

_READ_BYTES = 1 << 20


class ByteSource(ABC):
    """A place in a sequence of bytes that moves forward; never gives what is not there.

    Attributes:
        position: offset of the next byte in the source.
        mapped: everything up to the end can be looked at without moving.
    """

    position: int
    mapped: bool

    @abstractmethod
    def window(self, at_least: int = 1) -> memoryview:
        """Return the bytes from the position on, without moving.

        There are ``at_least`` as many, or fewer when the source ends before.  A mapped source
        gives everything up to its end, a pipe what has arrived.
        """

    @abstractmethod
    def advance(self, size_bytes: int) -> None:
        """Move behind ``size_bytes`` bytes of what ``window`` returned last."""

    def take(self, size_bytes: int, section: str, what: str) -> memoryview:
        """Return the next ``size_bytes`` bytes and move behind them.

        Memory is taken as bytes arrive, not as the size announces.

        Raises:
            StreamError: the source ends before; ``what`` names the missing thing.
        """
        view = self.window(size_bytes)
        if len(view) < size_bytes:
            raise self.truncated(section, what, len(view))
        self.advance(size_bytes)
        return view[:size_bytes]

    def truncated(self, section: str, what: str, left_bytes: int) -> StreamError:
        """Return the error for a source that ends ``left_bytes`` behind the position."""
        return StreamError(self.position, section, what, f"the end after {left_bytes} bytes")

    @property
    def at_end(self) -> bool:
        """Whether no byte is left; a pipe has to wait for the next one to tell."""
        return not self.window(1)


class MappedSource(ByteSource):
    """All bytes of a source at once, such as a mapped file."""

    mapped = True

    def __init__(self, whole: memoryview, position: int = 0) -> None:
        self.whole = whole
        self.position = position

    def window(self, at_least: int = 1) -> memoryview:
        """Return everything from the position to the end."""
        return self.whole[self.position :]

    def advance(self, size_bytes: int) -> None:
        """Move forward by ``size_bytes``."""
        self.position += size_bytes


class PipeSource(ByteSource):
    """Bytes that come in order.  What was handed out stays valid; it is never overwritten."""

    mapped = False

    def __init__(self, channel: InputChannel) -> None:
        self._channel = channel
        self._ahead = memoryview(b"")
        self.position = channel.position

    def window(self, at_least: int = 1) -> memoryview:
        """Return what has arrived, and wait until that is enough or the source ends."""
        have = len(self._ahead)
        if have >= at_least:
            return self._ahead
        pieces: list[bytes | memoryview] = [self._ahead]
        while have < at_least:
            piece = self._channel.read(max(_READ_BYTES, min(at_least - have, 16 * _READ_BYTES)))
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
        self._ahead = memoryview(b"".join(pieces))
        return self._ahead

    def advance(self, size_bytes: int) -> None:
        """Move forward by ``size_bytes``, which must have arrived."""
        self._ahead = self._ahead[size_bytes:]
        self.position += size_bytes


def open_source(channel: InputChannel) -> MappedSource | PipeSource:
    """Return the source over ``channel``, mapped when the channel is."""
    whole = channel.buffer()
    if whole is None:
        return PipeSource(channel)
    return MappedSource(whole, channel.position)
