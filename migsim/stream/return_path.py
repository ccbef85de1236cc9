"""The return path: what the destination tells the source (spec stream.md section 7).

The other direction of a migration's socket: messages of a type, a length and data, without header
or end.  One message, RECV_BITMAP, is followed by a bitmap that its length does not count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from ..errors import StreamError
from ..units import PAGE_SIZE
from .names import decode_text
from .source import ByteSource
from .wire import U32, U64

SECTION = "return path"


class MessageKind(IntEnum):
    """Numbers of the messages."""

    SHUT = 1
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7


MESSAGE_HEADER: Final = struct.Struct(">HH")
"""Type, length."""
PAGES_REQUEST: Final = struct.Struct(">QI")
"""First byte and length of the pages asked for; the block's name may follow."""
MESSAGE_BYTES_MAX: Final = 512
"""Longest data of a message in bytes; a source takes no longer ones."""
RESUME_ACK_VALUE: Final = 1
BITMAP_END: Final = 0x0123456789ABCDEF
"""Number behind a bitmap."""
BITMAP_BYTES_MAX: Final = 1 << 30
"""Longest bitmap taken in bytes: that of a block of 32 TiB (our limit)."""

_LENGTHS: Final[dict[MessageKind, int | None]] = {
    MessageKind.SHUT: U32.size,
    MessageKind.PONG: U32.size,
    MessageKind.REQ_PAGES_ID: None,
    MessageKind.REQ_PAGES: PAGES_REQUEST.size,
    MessageKind.RECV_BITMAP: None,
    MessageKind.RESUME_ACK: U32.size,
    MessageKind.SWITCHOVER_ACK: 0,
}
"""Data bytes of each message; None where a name makes it vary."""


@dataclass(frozen=True, slots=True)
class Shut:
    """The destination is done with the return path, and with the load.

    Attributes:
        offset: of the message.
        error: 0, or 1 when the load failed.
    """

    offset: int
    error: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING with the same value."""

    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class PagesRequest:
    """Postcopy needs pages now.

    Attributes:
        offset: of the message.
        block: block name; taken from the request before where this one has none.
        start: first byte within the block, a multiple of the page size.
        size_bytes: how much is needed, a multiple of the page size.
        named: the message carried the block's name.
    """

    offset: int
    block: str
    start: int
    size_bytes: int
    named: bool


@dataclass(frozen=True, slots=True)
class ReceivedBitmap:
    """Which pages of a block have arrived, told before a paused postcopy goes on.

    Attributes:
        offset: of the message.
        block: block name.
        bitmap: bit ``i % 8`` of byte ``i // 8`` is set if page i has arrived; a multiple of 8
            bytes.
    """

    offset: int
    block: str
    bitmap: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResumeAck:
    """The destination is ready for a paused postcopy to go on."""

    offset: int


@dataclass(frozen=True, slots=True)
class SwitchoverAck:
    """The destination's devices are ready for the switchover (capability ``switchover-ack``)."""

    offset: int


Message: TypeAlias = Shut | Pong | PagesRequest | ReceivedBitmap | ResumeAck | SwitchoverAck


class ReturnPathReader:
    """Yields the messages of a recorded or live return path, in order, up to its end.

    Args:
        source: the recording.
        page_bytes: target page size.

    Raises:
        StreamError: while iterating, at anything malformed, cut off or not understood, and at
            bytes behind SHUT, which is the last message.
    """

    def __init__(self, source: ByteSource, *, page_bytes: int = PAGE_SIZE) -> None:
        self._source = source
        self._page_bytes = page_bytes
        self._block: str | None = None

    def __iter__(self) -> Iterator[Message]:
        """Yield the messages; once only."""
        while not self._source.at_end:
            message = self.message()
            yield message
            if isinstance(message, Shut) and not self._source.at_end:
                raise StreamError(self._source.position, SECTION, "the end behind SHUT", "more")

    def message(self) -> Message:
        """Take one message; waits for it."""
        offset = self._source.position
        raw = self._source.take(MESSAGE_HEADER.size, SECTION, "a message")
        number, size = MESSAGE_HEADER.unpack(raw)
        try:
            kind = MessageKind(number)
        except ValueError:
            raise StreamError(offset, SECTION, "a known message", str(number)) from None
        wanted = _LENGTHS[kind]
        if wanted is not None and size != wanted:
            expected = f"{wanted} bytes of {kind.name}"
            raise StreamError(offset + 2, SECTION, expected, f"{size} bytes")
        if size > MESSAGE_BYTES_MAX:
            expected = f"a message of at most {MESSAGE_BYTES_MAX} bytes"
            raise StreamError(offset + 2, SECTION, expected, f"{size} bytes")
        data = bytes(self._source.take(size, SECTION, f"{size} bytes of {kind.name}"))
        return self._decode(kind, data, offset)

    def _decode(self, kind: MessageKind, data: bytes, offset: int) -> Message:
        if kind in (MessageKind.REQ_PAGES, MessageKind.REQ_PAGES_ID):
            return self._pages_request(kind, data, offset)
        if kind is MessageKind.RECV_BITMAP:
            return ReceivedBitmap(offset, _name(data, 0, kind, offset), self._bitmap())
        if kind is MessageKind.SWITCHOVER_ACK:
            return SwitchoverAck(offset)
        (value,) = U32.unpack(data)
        if kind is MessageKind.PONG:
            return Pong(offset, value)
        if kind is MessageKind.SHUT:
            return Shut(offset, value)
        if value != RESUME_ACK_VALUE:
            at = offset + MESSAGE_HEADER.size
            raise StreamError(at, SECTION, f"value {RESUME_ACK_VALUE} of RESUME_ACK", str(value))
        return ResumeAck(offset)

    def _pages_request(self, kind: MessageKind, data: bytes, offset: int) -> PagesRequest:
        named = kind is MessageKind.REQ_PAGES_ID
        at = offset + MESSAGE_HEADER.size
        if named:
            self._block = _name(data, PAGES_REQUEST.size, kind, offset)
        if self._block is None:
            raise StreamError(offset, SECTION, "a block name in the first request for pages")
        start, size_bytes = PAGES_REQUEST.unpack_from(data)
        if start % self._page_bytes or size_bytes % self._page_bytes:
            found = f"{size_bytes:#x} bytes at {start:#x}"
            raise StreamError(at, SECTION, f"pages of {self._page_bytes} bytes", found)
        return PagesRequest(offset, self._block, start, size_bytes, named)

    def _bitmap(self) -> bytes:
        at = self._source.position
        (size,) = U64.unpack(self._source.take(U64.size, SECTION, "the length of a bitmap"))
        if size % U64.size or size > BITMAP_BYTES_MAX:
            expected = f"a multiple of {U64.size} up to {BITMAP_BYTES_MAX} as length of a bitmap"
            raise StreamError(at, SECTION, expected, str(size))
        bitmap = bytes(self._source.take(size, SECTION, f"a bitmap of {size} bytes"))
        at = self._source.position
        (end,) = U64.unpack(self._source.take(U64.size, SECTION, "the number behind a bitmap"))
        if end != BITMAP_END:
            raise StreamError(at, SECTION, f"{BITMAP_END:#x} behind a bitmap", f"{end:#x}")
        return bitmap


def _name(data: bytes, at: int, kind: MessageKind, offset: int) -> str:
    """Return the block name at ``at``, which the data ends with."""
    size = data[at] if at < len(data) else 0
    if size == 0 or at + 1 + size != len(data):
        expected = f"a block name that ends with {kind.name}"
        raise StreamError(offset + MESSAGE_HEADER.size + at, SECTION, expected, "another length")
    return decode_text(data[at + 1 :])


class ReturnPathFeed:
    """Gives the messages of a return path as its bytes come in, in pieces of any size."""

    def __init__(self, *, page_bytes: int = PAGE_SIZE) -> None:
        self._pieces = _Pieces()
        self._reader = ReturnPathReader(ByteSource(self._pieces), page_bytes=page_bytes)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with ``data``.

        Raises:
            StreamError: as `ReturnPathReader`.
        """
        self._pieces.data += data
        while (size := _message_bytes(self._pieces.data)) is not None:
            self._pieces.limit = size
            yield self._reader.message()


class _Pieces:
    """Bytes that have come, as a channel that gives one message at a time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.limit = self.position = 0

    def read_into(self, room: memoryview) -> int:
        count = min(len(room), self.limit)
        room[:count] = self.data[:count]
        del self.data[:count]
        self.limit -= count
        self.position += count
        return count

    def seekable(self) -> None:
        return None

    def close(self) -> None:
        self.data.clear()


def _message_bytes(data: bytearray) -> int | None:
    """Return the length of the first message, None as long as it is not complete."""
    if len(data) < MESSAGE_HEADER.size:
        return None
    kind, size = MESSAGE_HEADER.unpack_from(data)
    if kind not in _LENGTHS or size > MESSAGE_BYTES_MAX:
        return MESSAGE_HEADER.size  # the reader says what is wrong
    end: int = MESSAGE_HEADER.size + size
    if kind == MessageKind.RECV_BITMAP:
        if len(data) < end + U64.size:
            return None
        (bitmap_bytes,) = U64.unpack_from(data, end)
        end += U64.size + (bitmap_bytes + U64.size if bitmap_bytes <= BITMAP_BYTES_MAX else 0)
    return end if len(data) >= end else None
