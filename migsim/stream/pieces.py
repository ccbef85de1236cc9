"""Gathers a stream into pieces of about a megabyte, in buffers that are used again and again.

Page records are packed straight into the buffer that is written.  A channel that overlaps lends its
buffers, and writes one while the next is filled.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..channel.base import OverlappingChannel
from ..units import PAGE_SIZE
from .ram_records import PAGE_RECORD_BYTES, encode_pages_into, name_field, records_bytes
from .wire import ZERO_RECORD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import OutputChannel

PIECE_BYTES = 1 << 20
"""What is put with at least this many bytes needs no gathering."""
_ROOM_BYTES = PIECE_BYTES + (64 << 10)
_MIXED_PAGES = 255  # of any mixture; these fit into an empty buffer behind a name
# From this mean length on, pages of one kind are packed run by run.
_LONG_RUN = 16
# A buffer with less room left than this is not worth filling up with page records.
_WORTH_BYTES = 64 * PAGE_RECORD_BYTES


class Pieces:
    """The buffer in front of a channel.

    Raises:
        ChannelError: from any method, when the channel cannot take the bytes.
    """

    def __init__(self, channel: OutputChannel) -> None:
        self._channel = channel
        self._lender: OverlappingChannel | None = None
        if isinstance(channel, OverlappingChannel) and channel.overlaps:
            self._lender = channel
        self._view: memoryview | None = None
        self._room: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.waiting_bytes = 0

    def put(self, data: memoryview) -> None:
        """Add fewer than `PIECE_BYTES` bytes."""
        room = self._space(data.nbytes)
        room[: data.nbytes] = np.frombuffer(data, np.uint8)
        self.waiting_bytes += data.nbytes
        if self.waiting_bytes >= PIECE_BYTES:
            self.hand_over()

    def put_pages(
        self,
        block_name: str | None,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8],
        zero_mask: NDArray[np.bool_],
    ) -> None:
        """Add the records of some pages of one block; arguments as of ``encode_pages``."""
        edges = np.flatnonzero(zero_mask[1:] != zero_mask[:-1]) + 1
        if edges.size * _LONG_RUN > pfns.size:
            for first in range(0, pfns.size, _MIXED_PAGES):
                some = slice(first, first + _MIXED_PAGES)
                self._encode(block_name, pfns[some], data[some], zero_mask[some])
                block_name = None
            return
        begins = [0, *edges.tolist(), pfns.size]
        for begin, end in pairwise(begins):
            self._run(block_name, pfns[begin:end], data[begin:end], zero_mask[begin:end])
            block_name = None

    def hand_over(self) -> None:
        """Give the channel what is waiting."""
        size, self.waiting_bytes = self.waiting_bytes, 0
        if size == 0 or self._view is None:
            return
        if self._lender is None:
            self._channel.write(self._view[:size])
            return
        view, self._view = self._view, None
        self._room = np.empty(0, np.uint8)
        self._lender.write_lent(view, size)

    def _run(
        self,
        block_name: str | None,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8],
        zero_mask: NDArray[np.bool_],
    ) -> None:
        """Add pages of one kind, as many at a time as there is room for."""
        record = ZERO_RECORD_BYTES if zero_mask[0] else PAGE_RECORD_BYTES
        at = 0
        while at < pfns.size:
            name = len(name_field(block_name))
            room = self._space(min(record * (pfns.size - at), _WORTH_BYTES) + name)
            some = slice(at, at + (room.size - name) // record)
            self._encode(block_name, pfns[some], data[some], zero_mask[some])
            block_name, at = None, some.stop

    def _encode(
        self,
        block_name: str | None,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8],
        zero_mask: NDArray[np.bool_],
    ) -> None:
        size = records_bytes(block_name, zero_mask, PAGE_SIZE)
        room = self._space(size)
        encode_pages_into(room[:size], block_name, pfns, data, zero_mask)
        self.waiting_bytes += size
        if self._room.size - self.waiting_bytes < PAGE_RECORD_BYTES:
            self.hand_over()

    def _space(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return what is left of the buffer, at least ``size_bytes``."""
        if self._view is not None and self._room.size - self.waiting_bytes < size_bytes:
            self.hand_over()
        if self._view is None:
            lender = self._lender
            self._view = lender.lend() if lender else memoryview(bytearray(_ROOM_BYTES))
            self._room = np.frombuffer(self._view, np.uint8)
        return self._room[self.waiting_bytes :]
