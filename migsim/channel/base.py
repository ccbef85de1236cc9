"""What the stream asks of the place where bytes go to, or come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from ..errors import ChannelError
    from .ahead import ReadAhead

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
    """A target in which bytes can be placed anywhere and looked at (what mapped-ram needs)."""

    def write_at(self, position: int, data: Buffer) -> None:
        """Place all of ``data`` at byte ``position``; the running position does not move."""
        ...

    def read_at(self, position: int, room: memoryview) -> int:
        """Fill the beginning of ``room`` with the bytes at ``position``; return how many came."""
        ...

    def seek(self, position: int) -> None:
        """Go on writing at byte ``position``; what is skipped stays a hole."""
        ...

    def resize(self, size_bytes: int) -> None:
        """Cut the target to ``size_bytes``, or let it grow by a hole."""
        ...


@runtime_checkable
class AnsweredChannel(Protocol):
    """A target that can answer: the other direction of a socket."""

    @property
    def answers_ended(self) -> bool:
        """Whether nothing more will come."""
        ...

    def take_answers(self) -> bytes:
        """Return what has come since the last call, without waiting."""
        ...


@runtime_checkable
class AnsweringChannel(Protocol):
    """A source that can be answered."""

    def answer(self, data: bytes) -> None:
        """Send ``data`` back; lost when nobody reads it any more."""
        ...


@runtime_checkable
class OverlappingChannel(Protocol):
    """A target that can write while its caller goes on.

    Order is kept: all other methods wait first.  What goes wrong meanwhile is told at a later call,
    by ``flush`` at the latest.
    """

    @property
    def overlaps(self) -> bool:
        """Whether it does so; if not, the methods below must not be called."""
        ...

    def lend(self) -> memoryview:
        """Return room of about a megabyte to be filled and passed to ``write_lent``."""
        ...

    def write_lent(self, room: memoryview, size_bytes: int) -> None:
        """Append the first ``size_bytes`` of lent ``room``, which is the target's again."""
        ...

    def place(self, position: int, data: Buffer) -> None:
        """Place ``data`` as ``write_at`` does; it has to stay as it is until ``settle``."""
        ...

    def settle(self) -> None:
        """Wait until everything is written."""
        ...


@runtime_checkable
class PiecewiseInput(Protocol):
    """A source that reads ahead by itself."""

    def read_ahead(self, position: int) -> ReadAhead:
        """Return the bytes from ``position`` on, read before they are wanted."""
        ...

    def read_failed(self, error: OSError) -> ChannelError:
        """Return what an error of reading ahead means for this source."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """A source whose reader can be woken up."""

    def interrupt(self) -> None:
        """Wake up a reader that waits for bytes: it sees the end."""
        ...


class InputChannel(Protocol):
    """A place that gives the bytes of a stream in order."""

    @property
    def position(self) -> int:
        """Byte offset in the source of the next byte (includes a ``file:`` offset)."""
        ...

    def read_into(self, room: memoryview) -> int:
        """Fill the beginning of ``room`` (not empty, writable) and return how many bytes came.

        Waits for the first byte only; 0 is the end of the input.

        Raises:
            ChannelError: the source broke.
        """
        ...

    def seekable(self) -> SeekableInput | None:
        """Return the source as bytes that can be looked at anywhere, or None when it is a pipe."""
        ...

    def close(self) -> None:
        """Let go of the source; a second call does nothing."""
        ...


class SeekableInput(Protocol):
    """A source whose bytes can be looked at anywhere, again and again."""

    @property
    def size_bytes(self) -> int:
        """Length of the whole source now; its first byte is 0, whatever the channel's position."""
        ...

    def read_at(self, position: int, room: memoryview) -> int:
        """Fill the beginning of ``room`` with the bytes at ``position``; return how many came.

        0 is the end of the source.  The channel's position does not move.

        Raises:
            ChannelError: the source broke.
        """
        ...
