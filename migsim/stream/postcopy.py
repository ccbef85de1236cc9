"""What postcopy puts between the sections, in both directions (spec stream.md sections 7 and 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import StreamError
from ..ram.pages import runs
from ..units import PAGE_SIZE
from .names import decode_text, encode_name
from .return_path import BITMAP_END, MESSAGE_HEADER, PAGES_REQUEST, RESUME_ACK_VALUE, MessageKind
from .wire import POSTCOPY_ADVICE, U32, U64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..ram.bitmap import DirtyBitmap

RANGES_PER_DISCARD: Final = 12
"""Ranges of one discard command (seen on QEMU 10.0.2)."""
DISCARD_PING, PACKAGE_PING, RUN_PING = 2, 3, 4
"""Values of the pings before, in and behind the package."""

_VERSION = 0
_RANGE_BYTES = 16


def encode_advice() -> bytes:
    """Return the data of POSTCOPY_ADVISE: host and target pages of one size."""
    return POSTCOPY_ADVICE.pack(PAGE_SIZE, PAGE_SIZE)


def encode_discards(block: str, pfns: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the data of the commands that have the target forget ``pfns`` (ascending) again."""
    head = bytes([_VERSION]) + encode_name(block) + b"\0"
    starts, lengths = runs(pfns)
    ranges = (np.stack([starts, lengths], axis=1) * PAGE_SIZE).astype(">u8")
    for first in range(0, len(ranges), RANGES_PER_DISCARD):
        yield head + ranges[first : first + RANGES_PER_DISCARD].tobytes()


def decode_discard(data: bytes, offset: int) -> tuple[str, list[tuple[int, int]]]:
    """Return block and page ranges (first, one past the last) of a discard command.

    Raises:
        StreamError: the data, of a command at ``offset``, are malformed.
    """
    size = data[1] if len(data) > 1 else 0
    rest = data[2 + size :]
    if not size or data[0] != _VERSION or not rest or rest[0] or len(rest) % _RANGE_BYTES != 1:
        expected = "a version, a block name and ranges of POSTCOPY_RAM_DISCARD"
        raise StreamError(offset, "command", expected, f"{len(data)} bytes")
    values = np.frombuffer(rest, ">u8", offset=1).reshape(-1, 2)
    if (values % PAGE_SIZE).any() or (values >> 62).any():
        raise StreamError(offset, "command", "ranges of whole pages", "other ones")
    pages = (values // PAGE_SIZE).astype(np.int64)
    return decode_text(data[2 : 2 + size]), [(a, a + n) for a, n in pages.tolist()]


def decode_bitmap_wish(data: bytes, offset: int) -> str:
    """Return the block whose bitmap a RECV_BITMAP command asks for.

    Raises:
        StreamError: the data, of a command at ``offset``, are no block name.
    """
    if not data or data[0] == 0 or data[0] != len(data) - 1:
        raise StreamError(offset, "command", "a block name of RECV_BITMAP", f"{len(data)} bytes")
    return decode_text(data[1:])


def encode_request(block: str, pfn: int, count: int = 1) -> bytes:
    """Return the message that asks for pages of a block."""
    data = PAGES_REQUEST.pack(pfn * PAGE_SIZE, count * PAGE_SIZE) + encode_name(block)
    return MESSAGE_HEADER.pack(MessageKind.REQ_PAGES_ID, len(data)) + data


def encode_received(block: str, received: DirtyBitmap) -> bytes:
    """Return the message that tells which pages of a block have arrived."""
    name, bitmap = encode_name(block), received.to_bytes()
    head = MESSAGE_HEADER.pack(MessageKind.RECV_BITMAP, len(name)) + name
    return head + U64.pack(len(bitmap)) + bitmap + U64.pack(BITMAP_END)


def encode_resume_ack() -> bytes:
    """Return the message that lets a paused postcopy go on."""
    return MESSAGE_HEADER.pack(MessageKind.RESUME_ACK, U32.size) + U32.pack(RESUME_ACK_VALUE)
