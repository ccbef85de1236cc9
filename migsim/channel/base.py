"""What the stream asks of the place where bytes go to, or come from."""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes; an array is passed as ``array.data``."""


class OutputChannel(Protocol):
    """A place that takes the bytes of a stream in order."""

    @property
    def position(self) -> int:
        """Byte offset in the target where the next byte goes (includes a ``file:`` offset)."""
        ...

    def write(self, data: Buffer) -> None:
        """Take all of ``data`` (contiguous bytes) before returning.

        Raises:
            ChannelError: not everything could be written.
        """
        ...

    def flush(self) -> None:
        """Hand over what the channel itself holds back; most hold nothing."""
        ...

    def close(self) -> None:
        """Let go of the target; a second call does nothing."""
        ...


@runtime_checkable
class SkippingChannel(Protocol):
    """A sink that only counts, so that the bytes need not exist."""

    def skip(self, size_bytes: int) -> None:
        """Count ``size_bytes`` as if they had been written."""
        ...


@runtime_checkable
class RandomAccessChannel(Protocol):
    """A target in which bytes can be placed anywhere (what mapped-ram needs)."""

    def write_at(self, position: int, data: Buffer) -> None:
        """Place all of ``data`` at byte ``position``; the running position does not move."""
        ...

    def seek(self, position: int) -> None:
        """Go on writing at byte ``position``; what is skipped stays a hole."""
        ...


class InputChannel(Protocol):
    """A place that gives the bytes of a stream in order."""

    @property
    def position(self) -> int:
        """Byte offset in the source of the next byte (includes a ``file:`` offset)."""
        ...

    def read(self, size_bytes: int) -> bytes:
        """Return between 1 and ``size_bytes`` bytes, or ``b""`` at the end of the input.

        Raises:
            ChannelError: the source broke.
        """
        ...

    def buffer(self) -> memoryview | None:
        """Return the whole source as read-only bytes when it is mapped, else None.

        Index 0 is the first byte of the source, not the channel's position.
        """
        ...

    def close(self) -> None:
        """Let go of the source; a second call does nothing."""
        ...
