"""One channel of a multifd migration, read packet by packet (spec stream.md section 11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import StreamError
from ..units import PAGE_SIZE
from .items import PageBatch
from .multifd_codec import Unpacker, compression_of, make_unpacker
from .multifd_wire import (
    BLOCK_NAME_BYTES,
    COMPRESSION_MASK,
    DEVICE_BYTES_MAX,
    DEVICE_PACKET,
    FLAG_DEVICE_STATE,
    FLAG_SYNC,
    HEADER,
    INITIAL_PACKET,
    KNOWN_FLAGS,
    MAGIC,
    OFFSET_BYTES,
    PAGE_PACKET,
    PAYLOAD_BYTES_MAX,
    VERSION,
    packet_pages,
)
from .names import decode_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..qapi.enums import MultiFDCompression
    from .items import BlockInfo
    from .source import ByteSource


@dataclass(frozen=True, slots=True, eq=False)
class MultifdPacket:
    """A packet of pages, a sync point, or both (senders before 9.0 put pages into the latter).

    Attributes:
        offset: of the packet in its channel.
        number: its place among the packets of all channels.
        sync: it marks a sync point, which comes behind its pages.
        compression: how the payload was packed; None without pages.
        block: block name; empty without pages.
        normal_pfns: shape (n,) int64, pages with content.
        zero_pfns: shape (m,) int64, pages that are zero.
        payload_bytes: bytes of the payload in the channel.
        pages: shape (n, page size) uint8, row i is page ``normal_pfns[i]``; valid until the next
            packet is asked for.
    """

    offset: int
    number: int
    sync: bool
    compression: MultiFDCompression | None
    block: str
    normal_pfns: NDArray[np.int64]
    zero_pfns: NDArray[np.int64]
    payload_bytes: int
    pages: NDArray[np.uint8] = field(repr=False)

    def batches(self) -> Iterator[PageBatch]:
        """Yield the pages as items of the stream; valid as long as ``pages``."""
        if self.normal_pfns.size:
            yield PageBatch(self.offset, self.block, self.normal_pfns, self.pages, named=True)
        if self.zero_pfns.size:
            yield PageBatch(self.offset, self.block, self.zero_pfns, None, named=True)


@dataclass(frozen=True, slots=True)
class DevicePacket:
    """State of a device that was sent beside the pages (vfio; layout from QEMU's source, 10.0).

    Attributes:
        offset: of the packet in its channel.
        section: name of the device's section.
        instance_id: of the device's section.
        body: the state's bytes.
    """

    offset: int
    section: str
    instance_id: int
    body: bytes = field(repr=False)


Packet: TypeAlias = MultifdPacket | DevicePacket


class MultifdChannel:
    """Yields the packets of one channel as they are read.

    Memory stays bounded: a packet holds pages of at most 512 KiB, and no count in it is believed.

    Args:
        source: the channel's bytes; the initial packet is read at once.
        index: what errors call the channel.
        page_bytes: target page size.

    Attributes:
        offset: of the initial packet.
        number: of the channel among those of its migration.
        uuid: 16 bytes, zeros where the sender has none.
        page_bytes: target page size; may be set until the first packet is read.
        blocks: RAM blocks by name, once they are known; until then any block and page will do.
        packets, syncs, normal_pages, zero_pages, device_packets: what was read so far.
        last_packet: highest packet number so far, -1 at first.
        compression: of all packets with pages, None before the first one.

    Raises:
        StreamError: the initial packet is malformed; while reading: a packet is malformed, cut off,
            outside its block, or packed in another way than those before.
        MissingExtraError: while reading: the compression needs a package that is not installed.
    """

    def __init__(self, source: ByteSource, index: int = 0, *, page_bytes: int = PAGE_SIZE) -> None:
        self.section = f"multifd channel {index}"
        self.blocks: Mapping[str, BlockInfo] | None = None
        self.packets = self.syncs = self.normal_pages = self.zero_pages = self.device_packets = 0
        self.last_packet = -1
        self.compression: MultiFDCompression | None = None
        self._source = source
        self.page_bytes = page_bytes
        self._unpacker: Unpacker | None = None
        self.offset = source.position
        self.uuid, self.number = self._initial()

    @property
    def position(self) -> int:
        """Offset in the channel of the next byte."""
        return self._source.position

    @property
    def at_end(self) -> bool:
        """Whether no byte is left."""
        return self._source.at_end

    def __iter__(self) -> Iterator[Packet]:
        """Yield the packets up to the end of the channel."""
        while not self.at_end:
            yield self.packet()

    def round(self) -> Iterator[Packet]:
        """Yield the packets up to the next sync point, the packet that marks it last.

        Raises:
            StreamError: as for all packets, and when the channel ends before a sync point.
        """
        while True:
            if self.at_end:
                raise StreamError(self.position, self.section, "a sync packet", "the end")
            packet = self.packet()
            yield packet
            if isinstance(packet, MultifdPacket) and packet.sync:
                return

    def _initial(self) -> tuple[bytes, int]:
        raw = self._source.take(INITIAL_PACKET.size, self.section, "an initial packet")
        magic, version, uuid, number = INITIAL_PACKET.unpack(raw)
        self._check_begin(magic, version, self.offset)
        return uuid, number

    def _check_begin(self, magic: int, version: int, offset: int) -> None:
        if magic != MAGIC:
            expected = f"the magic number {MAGIC:#010x}"
            raise StreamError(offset, self.section, expected, f"{magic:#010x}")
        if version != VERSION:
            raise StreamError(offset + 4, self.section, f"version {VERSION}", str(version))

    def packet(self) -> Packet:
        """Take one packet; waits for it."""
        offset = self.position
        view = self._source.window(HEADER.size)
        if len(view) < HEADER.size:
            raise self._source.truncated(self.section, "a packet", len(view))
        magic, version, flags = HEADER.unpack_from(view)
        self._check_begin(magic, version, offset)
        if flags & ~KNOWN_FLAGS:
            raise StreamError(offset + 8, self.section, "flags of a packet", f"{flags:#x}")
        if flags & FLAG_DEVICE_STATE:
            return self._device_packet(flags, offset)
        return self._page_packet(flags, offset)

    def _device_packet(self, flags: int, offset: int) -> DevicePacket:
        if flags != FLAG_DEVICE_STATE:
            raise StreamError(offset + 8, self.section, "device state alone", f"flags {flags:#x}")
        raw = self._source.take(DEVICE_PACKET.size, self.section, "a packet of device state")
        _, _, _, name, instance_id, size = DEVICE_PACKET.unpack(raw)
        section = self._name(name, offset + HEADER.size)
        if size > DEVICE_BYTES_MAX:
            expected = f"a device state of at most {DEVICE_BYTES_MAX} bytes"
            raise StreamError(self.position - 4, self.section, expected, str(size))
        body = bytes(self._source.take(size, self.section, f"{size} bytes of device state"))
        self.device_packets += 1
        return DevicePacket(offset, section, instance_id, body)

    def _page_packet(self, flags: int, offset: int) -> MultifdPacket:
        pages_max = packet_pages(self.page_bytes)
        size = PAGE_PACKET.size + pages_max * OFFSET_BYTES
        raw = self._source.take(size, self.section, "a packet")
        head = _Head(*PAGE_PACKET.unpack_from(raw))
        self._check_head(head, pages_max, offset)
        block, pfns = "", np.empty(0, np.int64)
        compression = None
        if head.normal + head.zero:
            block = self._name(head.name, offset + PAGE_PACKET.size - BLOCK_NAME_BYTES)
            pfns = self._pfns(raw, head.normal + head.zero, block, offset)
            compression = self._compression(flags, offset)
        elif flags & COMPRESSION_MASK:
            compression_of(flags, offset + 8, self.section)
        pages = self._payload(head, offset)
        self.packets += 1
        self.last_packet = max(self.last_packet, head.number)
        sync = bool(flags & FLAG_SYNC)
        self.syncs += sync
        self.normal_pages += head.normal
        self.zero_pages += head.zero
        normal, zero = pfns[: head.normal], pfns[head.normal :]
        return MultifdPacket(
            offset, head.number, sync, compression, block, normal, zero, head.payload_bytes, pages
        )

    def _check_head(self, head: _Head, pages_max: int, offset: int) -> None:
        if head.allocated > pages_max:
            expected = f"room for at most {pages_max} pages"
            raise StreamError(offset + 12, self.section, expected, str(head.allocated))
        if head.normal + head.zero > pages_max:
            found = f"{head.normal} normal and {head.zero} zero pages"
            raise StreamError(offset + 16, self.section, f"at most {pages_max} pages", found)

    def _pfns(self, raw: memoryview, count: int, block: str, offset: int) -> NDArray[np.int64]:
        """Return the page numbers in the table of offsets, all inside the block."""
        addresses = np.frombuffer(raw, ">u8", count, PAGE_PACKET.size)
        info = self.blocks.get(block) if self.blocks is not None else None
        if self.blocks is not None and info is None:
            at = offset + PAGE_PACKET.size - BLOCK_NAME_BYTES
            raise StreamError(at, self.section, "a block of the block list", block)
        limit = info.used_bytes if info is not None else 1 << 63
        bad = (addresses >= np.uint64(limit)) | (addresses % np.uint64(self.page_bytes) != 0)
        if bad.any():
            index = int(bad.argmax())
            at = offset + PAGE_PACKET.size + index * OFFSET_BYTES
            expected = f"a multiple of {self.page_bytes} below {limit:#x} in block {block}"
            raise StreamError(at, self.section, expected, f"{int(addresses[index]):#x}")
        return (addresses // np.uint64(self.page_bytes)).astype(np.int64)

    def _compression(self, flags: int, offset: int) -> MultiFDCompression:
        compression = compression_of(flags, offset + 8, self.section)
        if self._unpacker is None:
            self._unpacker = make_unpacker(compression)
            self.compression = compression
        elif compression is not self.compression:
            expected = f"compression {self.compression} as before"
            raise StreamError(offset + 8, self.section, expected, str(compression))
        return compression

    def _payload(self, head: _Head, offset: int) -> NDArray[np.uint8]:
        """Take the payload and unpack it."""
        shape = head.normal, self.page_bytes
        size_bytes = head.normal * self.page_bytes
        if not head.normal or self._unpacker is None:
            if head.payload_bytes:
                found = f"{head.payload_bytes} bytes"
                raise StreamError(offset + 20, self.section, "no payload without pages", found)
            return np.empty(shape, np.uint8)
        if head.payload_bytes > PAYLOAD_BYTES_MAX:
            expected = f"a payload of at most {PAYLOAD_BYTES_MAX} bytes"
            raise StreamError(offset + 20, self.section, expected, str(head.payload_bytes))
        at = self.position
        raw = self._source.take(head.payload_bytes, self.section, "a payload")
        return self._unpacker.unpack(raw, size_bytes, at, self.section).reshape(shape)

    def _name(self, raw: bytes, offset: int) -> str:
        name, end, _ = raw.partition(b"\0")
        if not name or not end:
            expected = f"a name of 1 to {BLOCK_NAME_BYTES - 1} bytes"
            raise StreamError(offset, self.section, expected, f"{len(name)} bytes")
        return decode_text(name)


@dataclass(frozen=True, slots=True)
class _Head:
    """Members of a page packet in front of its table of offsets, in their order."""

    magic: int
    version: int
    flags: int
    allocated: int
    normal: int
    payload_bytes: int
    number: int
    zero: int
    name: bytes
