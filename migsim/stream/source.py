"""Bytes to read a stream from: a window that moves forward over a channel.

The bytes lie in one buffer that is used again and again, so memory stays bounded however long the
stream is.  A file is read in pieces like a pipe and never mapped: one that shrinks while it is
read ends early, which is an error with its offset and nothing worse.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..channel.ahead import HEAD_BYTES
from ..channel.base import PiecewiseInput
from ..errors import StreamError
from ..threads import thread_count

if TYPE_CHECKING:
    from ..channel.ahead import ReadAhead
    from ..channel.base import InputChannel

_FIRST_BYTES = 64 << 10
# Beyond this, a piece does not stay in the processor's cache until it is looked at.
_WINDOW_BYTES = 2 << 20
# After so much was read in order, and with so much left, reading ahead is worth a thread.
_IN_ORDER_BYTES = 8 << 20
_MUCH_BYTES = 32 << 20


class ByteSource:
    """A place in the bytes of a channel that moves forward; never gives what is not there.

    What `window` and `take` return looks into the buffer: it is valid until either is called
    again.

    Args:
        channel: where the bytes come from; its position is the first of them.

    Attributes:
        position: offset in the channel's source of the next byte.
    """

    def __init__(self, channel: InputChannel) -> None:
        self._channel = channel
        self._seekable = channel.seekable()
        self._view = np.empty(_FIRST_BYTES, np.uint8).data
        self._begin = self._end = 0
        self._first = self._straight = channel.position
        self.position = channel.position
        self._piecewise = channel if isinstance(channel, PiecewiseInput) else None
        self._ahead: ReadAhead | None = None
        self._stopper: Callable[[], object] | None = None

    @property
    def seekable(self) -> bool:
        """Whether bytes elsewhere can be looked at; not in a pipe."""
        return self._seekable is not None

    @property
    def size_bytes(self) -> int | None:
        """Offset of the end of a seekable source, None of a pipe."""
        return None if self._seekable is None else self._seekable.size_bytes

    def window(self, at_least: int = 1) -> memoryview:
        """Return the bytes from the position on, without moving.

        There are ``at_least`` as many, or fewer when the source ends before.  More may be there;
        a pipe is not waited for longer than it needs.

        Raises:
            ChannelError: the source broke.
        """
        if self._end - self._begin < at_least:
            self._fill(at_least)
        return self._view[self._begin : self._end]

    def advance(self, size_bytes: int) -> None:
        """Move behind ``size_bytes`` bytes of what ``window`` returned last."""
        self._begin += size_bytes
        self.position += size_bytes

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

    def close(self) -> None:
        """Stop reading ahead; the channel is not touched, and reading may go on."""
        self._stop_reading_ahead()

    # Elsewhere, in a seekable source

    def seek(self, position: int) -> None:
        """Go on at byte ``position`` of a seekable source."""
        ahead = position - self.position
        if 0 <= ahead <= self._end - self._begin:
            self._begin += ahead
        else:
            self._stop_reading_ahead()
            self._begin = self._end = 0
            self._straight = position
        self.position = position

    def read_into(self, position: int, room: memoryview) -> int:
        """Fill ``room`` with the bytes at ``position`` of a seekable source, without moving.

        Returns how many there are; fewer than there is room only where the source ends.
        """
        assert self._seekable is not None  # callers look at ``seekable`` first
        done = 0
        while done < len(room):
            count = self._seekable.read_at(position + done, room[done:])
            if count == 0:
                break
            done += count
        return done

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """Return up to ``size_bytes`` bytes at ``position`` of a seekable source."""
        assert self._seekable is not None
        room = bytearray(max(0, min(size_bytes, self._seekable.size_bytes - position)))
        count = self.read_into(position, memoryview(room))
        return bytes(room[:count])

    # The buffer

    def _fill(self, at_least: int) -> None:
        """Read until ``at_least`` bytes are there, or the source ends."""
        if self._ahead is None and self._is_worth_a_thread():
            self._start_reading_ahead()
        if self._ahead is not None and self._next_piece(self._ahead, at_least):
            return
        have = self._end - self._begin
        self._move_to_front(len(self._view))
        if len(self._view) < _WINDOW_BYTES and self.position > self._first:
            self._move_to_front(2 * len(self._view))
        while have < at_least:
            if have == len(self._view):
                self._move_to_front(2 * have)
            room = self._view[have:]
            if self._seekable is not None:
                count = self._seekable.read_at(self.position + have, room)
            else:
                count = self._channel.read_into(room)
            if count == 0:
                break
            have += count
            self._end = have

    def _is_worth_a_thread(self) -> bool:
        if self.position - self._straight < _IN_ORDER_BYTES:
            return False
        size = self.size_bytes
        self._straight = self.position  # ask again after a while only
        return (
            self._piecewise is not None
            and size is not None
            and size - self.position > _MUCH_BYTES
            and thread_count() > 1
        )

    def _start_reading_ahead(self) -> None:
        have = self._end - self._begin
        if self._piecewise is None or have > HEAD_BYTES:
            return
        self._ahead = self._piecewise.read_ahead(self.position + have)
        self._stopper = weakref.finalize(self, self._ahead.stop)

    def _next_piece(self, ahead: ReadAhead, at_least: int) -> bool:
        """Go on in the next piece; return whether ``at_least`` bytes are there.

        Where they are not (a long body, the end of the file) reading ahead is over.
        """
        left = self._view[self._begin : self._end]
        if len(left) > HEAD_BYTES:
            self._stop_reading_ahead()
            return False
        try:
            piece, count = ahead.next()
        except OSError as error:
            self._stop_reading_ahead()
            assert self._piecewise is not None
            raise self._piecewise.read_failed(error) from error
        begin = HEAD_BYTES - len(left)
        piece[begin:HEAD_BYTES] = left
        old, self._view = self._view, piece
        self._begin, self._end = begin, HEAD_BYTES + count
        if len(old) == len(piece):
            ahead.give_back(old)
        if self._end - begin >= at_least:
            return True
        self._stop_reading_ahead()
        return False

    def _stop_reading_ahead(self) -> None:
        if self._stopper is not None:
            self._stopper()
            self._stopper = None
            self._ahead = None
            self._straight = self.position

    def _move_to_front(self, size_bytes: int) -> None:
        """Put the bytes that are left at the beginning of a buffer of ``size_bytes``."""
        left = self._view[self._begin : self._end]
        if size_bytes > len(self._view):
            self._view = np.empty(size_bytes, np.uint8).data
        self._view[: len(left)] = left
        self._begin, self._end = 0, len(left)


def open_source(origin: InputChannel | ByteSource) -> ByteSource:
    """Return the source over a channel, from its position on; a source is returned as it is."""
    return origin if isinstance(origin, ByteSource) else ByteSource(origin)
