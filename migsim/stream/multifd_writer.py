"""The channels of a multifd migration, written (spec stream.md section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..qapi.enums import MultiFDCompression
from ..units import PAGE_SIZE
from .multifd_codec import DEFAULT_LEVEL, flags_of, make_packer
from .multifd_wire import (
    BLOCK_NAME_BYTES,
    CHANNELS_MAX,
    FLAG_SYNC,
    INITIAL_PACKET,
    MAGIC,
    OFFSET_BYTES,
    PAGE_PACKET,
    VERSION,
    packet_pages,
)
from .names import encode_text
from .wire import U64, RamFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import OutputChannel

FLUSH_RECORD = U64.pack(RamFlag.MULTIFD_FLUSH)
"""The record that belongs into the main channel at every sync point.

Machine types up to 8.0 have none: there each end of a part of the ram section is a sync point.
"""

_PAGES = packet_pages()
_TABLE_BYTES = _PAGES * OFFSET_BYTES
NO_UUID = bytes(16)
"""Identity of a machine that was given none."""


class MultifdWriter:
    """Puts pages into packets and packets onto the channels in turn, as idle QEMU threads do.

    A receiver needs a sync point at setup, before the first page: QEMU 10.0 crashes without.

    Args:
        channels: where the bytes go; each gets its initial packet at once.
        compression: of the payloads.
        level: of the compression.
        uuid: 16 bytes, zeros for a machine without.

    Attributes:
        bytes_written: over all channels; what query-migrate calls ``multifd-bytes``.
        packets, normal_pages, zero_pages: what was written so far; ``packets`` is also the number
            of the next one.

    Raises:
        ConfigError: there is no channel, or there are more than 255.
        MissingExtraError: the compression needs a package that is not installed.
        ChannelError: a channel breaks; while writing as well.
    """

    def __init__(
        self,
        channels: Sequence[OutputChannel],
        *,
        compression: MultiFDCompression = MultiFDCompression.NONE,
        level: int = DEFAULT_LEVEL,
        uuid: bytes = NO_UUID,
    ) -> None:
        if not 1 <= len(channels) <= CHANNELS_MAX:
            raise ConfigError("multifd-channels", f"{len(channels)} is not 1 to {CHANNELS_MAX}")
        self._channels = channels
        self._packers = [make_packer(compression, level) for _ in channels]
        self._flags = flags_of(compression)
        self._next = 0
        self.bytes_written = self.packets = self.normal_pages = self.zero_pages = 0
        self._block = b""
        self._pfns = np.empty(_PAGES, np.int64)
        self._zero = np.empty(_PAGES, np.bool_)
        self._data = np.empty((_PAGES, PAGE_SIZE), np.uint8)
        self._pending = 0
        for number, channel in enumerate(channels):
            self._write(channel, INITIAL_PACKET.pack(MAGIC, VERSION, uuid, number))

    @property
    def room(self) -> int:
        """Pages that the packet under way has room for; at least 1."""
        return _PAGES - self._pending

    def send(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8],
        zero_mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take pages of one block; whole packets are written, the rest waits for more.

        Args:
            block: block name.
            pfns: shape (n,) int64, page numbers within the block, in sending order.
            data: shape (n, 4096) uint8, row i is page ``pfns[i]``; rows of zero pages are not
                looked at.
            zero_mask: shape (n,) bool, pages that packets carry as zero pages; None where they
                went to the main channel (``zero-page-detection=legacy``) or nobody looked.

        Raises:
            ConfigError: the name is empty or longer than 255 bytes.
        """
        name = encode_text(block)
        if not 1 <= len(name) < BLOCK_NAME_BYTES:
            raise ConfigError(f"RAM block {block!r}", "its name needs 1 to 255 bytes")
        if name != self._block:
            self.flush()
            self._block = name
        zero = np.zeros(pfns.size, np.bool_) if zero_mask is None else zero_mask
        done = self._top_up(pfns, data, zero) if self._pending else 0
        while pfns.size - done >= _PAGES:
            end = done + _PAGES
            self._page_packet(pfns[done:end], data[done:end], zero[done:end])
            done = end
        self._top_up(pfns[done:], data[done:], zero[done:])

    def flush(self) -> None:
        """Write the pages that wait for more, in a packet of their own."""
        if self._pending:
            count, self._pending = self._pending, 0
            self._page_packet(self._pfns[:count], self._data[:count], self._zero[:count])

    def sync(self) -> None:
        """Write what waits, then a sync packet to every channel.

        ``FLUSH_RECORD`` goes to the main channel at the same point.
        """
        self.flush()
        for channel in self._channels:
            self._write(channel, self._head(FLAG_SYNC) + bytes(_TABLE_BYTES))

    def _top_up(
        self, pfns: NDArray[np.int64], data: NDArray[np.uint8], zero: NDArray[np.bool_]
    ) -> int:
        """Keep pages until a packet is full, which is written; return how many were taken."""
        first = self._pending
        count = min(_PAGES - first, pfns.size)
        self._pending = first + count
        self._pfns[first : self._pending] = pfns[:count]
        self._zero[first : self._pending] = zero[:count]
        self._data[first : self._pending] = data[:count]
        if self._pending == _PAGES:
            self.flush()
        return count

    def _page_packet(
        self, pfns: NDArray[np.int64], data: NDArray[np.uint8], zero: NDArray[np.bool_]
    ) -> None:
        """Write one packet to the channel whose turn it is."""
        channel, packer = self._channels[self._next], self._packers[self._next]
        self._next = (self._next + 1) % len(self._channels)
        zeros = int(np.count_nonzero(zero))
        if zeros:
            order = zero_pages_last(zero)
            pfns, data = pfns[order], data[order[: pfns.size - zeros]]
        normals = pfns.size - zeros
        payload = packer.pack(np.ascontiguousarray(data)) if normals else b""
        size = memoryview(payload).nbytes
        head = self._head(self._flags, normals=normals, zeros=zeros, payload_bytes=size)
        table = np.zeros(_PAGES, ">u8")
        table[: pfns.size] = pfns * PAGE_SIZE
        self._write(channel, head + table.tobytes())
        if size:
            self._write(channel, payload)
        self.normal_pages += normals
        self.zero_pages += zeros

    def _head(
        self, flags: int, *, normals: int = 0, zeros: int = 0, payload_bytes: int = 0
    ) -> bytes:
        """Return a packet without its table; all but flags and number is 0 at a sync point."""
        number = self.packets
        self.packets += 1
        block, room = (self._block, _PAGES) if normals + zeros else (b"", 0)
        return PAGE_PACKET.pack(
            MAGIC, VERSION, flags, room, normals, payload_bytes, number, zeros, block
        )

    def _write(self, channel: OutputChannel, data: bytes | bytearray | memoryview) -> None:
        channel.write(data)
        self.bytes_written += memoryview(data).nbytes


def zero_pages_last(zero: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the order, shape (n,) int64, in which QEMU puts the pages of a packet into it.

    Normal pages come first.  A zero page among them changes places with the page that is last
    among those not looked at yet, again and again until that is a normal one.  So normal pages
    from the end fill the gaps, and zero pages stand at the end in the reverse of the order in
    which they were met.  Source: QEMU 10.0 and its recorded packets.
    """
    normals = zero.size - int(np.count_nonzero(zero))
    gaps = np.flatnonzero(zero[:normals])
    tail = np.arange(zero.size - 1, normals - 1, -1)
    fill = tail[~zero[tail]]
    order = np.arange(zero.size)
    order[gaps] = fill
    # A zero page of the tail is met while the gap is filled that comes after as many as there are
    # normal pages behind it; the one right behind the normal pages is met before the rest.
    behind = np.cumsum(~zero[tail])
    met_in = np.concatenate((np.arange(gaps.size), behind[zero[tail]]))
    met = np.concatenate((gaps, tail[zero[tail]]))
    met_first = np.concatenate((np.ones(gaps.size, np.bool_), tail[zero[tail]] == normals))
    place = np.lexsort((np.arange(met.size), ~met_first, met_in))
    order[normals:] = met[place][::-1]
    return order
