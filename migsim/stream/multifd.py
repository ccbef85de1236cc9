"""Recordings of multifd channels, joined with the main channel (spec stream.md section 11).

Between two sync points a page is sent at most once, so that only the rounds between them have an
order: what a later round holds overwrites what an earlier one did, whatever the channel.  The sync
points in the main channel are its flush records, which are put before the end of START and later
where the scan wraps around; machine types up to 8.0 have none, and there it is each end of a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import StreamError
from ..units import PAGE_SIZE
from .multifd_reader import DevicePacket, MultifdChannel

if TYPE_CHECKING:
    from .items import BlockInfo, PageBatch
    from .source import ByteSource

# Places in an initial packet.
_UUID_AT = 8
_NUMBER_AT = 24


class MultifdChannels:
    """All channels of one migration beside the main one, read round by round.

    For recordings: a live sender marks a sync point on the main channel only after the others have
    been read up to theirs, so that a live receiver must read them all at the same time.

    Args:
        sources: the channels, in any order; the initial packet of each is read at once.
        uuid: 16 bytes that the sender must have given, or None for any.
        page_bytes: target page size.

    Attributes:
        channels: one reader for each source, in the given order.
        rounds: sync points passed.
        early_pages: pages before the sync point at setup; they crash a QEMU that receives them.
        device_packets: states of devices that came beside the pages; they are passed over.

    Raises:
        StreamError: an initial packet is malformed, a channel is missing or there twice, or they
            are not of one machine.
    """

    def __init__(
        self,
        sources: Sequence[ByteSource],
        *,
        uuid: bytes | None = None,
        page_bytes: int = PAGE_SIZE,
    ) -> None:
        self.channels = tuple(
            MultifdChannel(source, index, page_bytes=page_bytes)
            for index, source in enumerate(sources)
        )
        self.rounds = self.early_pages = self.device_packets = 0
        self._check_numbers()
        self._check_uuids(uuid)

    def until_sync(self, blocks: Mapping[str, BlockInfo]) -> Iterator[PageBatch]:
        """Yield the pages of all channels up to the next sync point, which all of them pass.

        Contents are valid until the next item is asked for.  A batch's offset is a place in its
        channel.

        Args:
            blocks: the RAM blocks by name.

        Raises:
            StreamError: a channel is malformed, ends before the sync point, is packed in another
                way than the others, or holds a page outside of the blocks.
            MissingExtraError: the compression needs a package that is not installed.
        """
        for channel in self.channels:
            channel.blocks = blocks
            for block in blocks.values():
                channel.page_bytes = block.page_bytes
            yield from self._channel_round(channel)
        self.rounds += 1

    def finish(self) -> None:
        """Check that every channel ends here, behind the last sync point.

        Raises:
            StreamError: one goes on, or packets are missing: their numbers have gaps, as they have
                where a channel was not given.
        """
        for channel in self.channels:
            if not channel.at_end:
                expected = "the end behind the last sync point"
                raise StreamError(channel.position, channel.section, expected, "more")
        if self.missing_packets > 0:
            last = self.channels[-1]
            expected = f"packets numbered without gaps up to {self._last_packet}"
            found = f"{self.missing_packets} missing, as if there was a further channel"
            raise StreamError(last.position, last.section, expected, found)

    @property
    def missing_packets(self) -> int:
        """How many packets must be on channels that were not given, as far as numbers tell."""
        return self._last_packet + 1 - sum(channel.packets for channel in self.channels)

    @property
    def _last_packet(self) -> int:
        return max((channel.last_packet for channel in self.channels), default=-1)

    def _channel_round(self, channel: MultifdChannel) -> Iterator[PageBatch]:
        for packet in channel.round():
            if isinstance(packet, DevicePacket):
                self.device_packets += 1
                continue
            if not self.rounds:
                self.early_pages += packet.normal_pfns.size + packet.zero_pfns.size
            self._check_compression(channel, packet.offset)
            yield from packet.batches()

    def _check_numbers(self) -> None:
        seen: set[int] = set()
        for channel in self.channels:
            if channel.number in seen:
                found = f"channel {channel.number} again"
                raise StreamError(
                    channel.offset + _NUMBER_AT, channel.section, "each channel once", found
                )
            seen.add(channel.number)
        for channel in self.channels:
            if channel.number >= len(seen):
                lacking = min(set(range(len(seen))) - seen)
                expected = f"channels 0 to {channel.number}"
                found = f"none with number {lacking}"
                raise StreamError(channel.offset + _NUMBER_AT, channel.section, expected, found)

    def _check_uuids(self, uuid: bytes | None) -> None:
        for channel in self.channels:
            uuid = channel.uuid if uuid is None else uuid
            if channel.uuid != uuid:
                at = channel.offset + _UUID_AT
                raise StreamError(at, channel.section, f"UUID {uuid.hex()}", channel.uuid.hex())

    def _check_compression(self, channel: MultifdChannel, offset: int) -> None:
        for other in self.channels:
            if other.compression not in (None, channel.compression) and channel.compression:
                expected = f"compression {other.compression} as on the other channels"
                raise StreamError(offset + 8, channel.section, expected, str(channel.compression))
