"""Channels of multifd that are read while they are written (spec stream.md section 11, QEMU 10.0).

A sender marks a synchronisation point on the main channel only behind those on the others, and it
stops as soon as one channel is full.  So all are read at the same time, by one thread: whenever
the main channel has nothing, the others are looked after.  A channel that has passed its mark
rests until the main one has brought the same point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import IncompatibleError, StreamError
from ..units import PAGE_SIZE
from .multifd import MultifdChannels
from .multifd_reader import DevicePacket, MultifdChannel
from .source import ByteSource

if TYPE_CHECKING:
    from ..channel.group import InputGroup
    from ..qapi.enums import MultiFDCompression
    from .items import BlockInfo, PageBatch
    from .multifd_reader import MultifdPacket


class LiveChannels(MultifdChannels):
    """The channels of a migration that is going on.

    Args:
        group: main channel and others; ``ready`` must not be None.
        sink: takes pages as soon as they come, also while the main channel is waited for.
        uuid: 16 bytes that the sender must have given.
        compression: in which pages have to come.

    Raises:
        StreamError: an initial packet is malformed, or the channels do not belong together.
        ChannelError: a channel breaks.
    """

    def __init__(
        self,
        group: InputGroup,
        sink: Callable[[PageBatch], None],
        *,
        uuid: bytes,
        compression: MultiFDCompression,
    ) -> None:
        self._sources = [ByteSource(channel) for channel in group.further]
        super().__init__(self._sources, uuid=uuid, page_bytes=PAGE_SIZE)
        self._group = group
        self._sink = sink
        self._compression = compression
        self._active = set(range(len(self._sources)))
        self._ended: set[int] = set()
        self.main = _MainInput(group, self)

    def until_sync(self, blocks: Mapping[str, BlockInfo]) -> Iterator[PageBatch]:
        """Wait until all channels have passed the point; their pages have gone to the sink."""
        for channel in self.channels:
            channel.blocks = blocks
        while self._active:
            self.serve(main=False)
        if self._ended:
            channel = self.channels[min(self._ended)]
            expected = "a synchronisation point, as on the main channel"
            raise StreamError(channel.position, channel.section, expected, "the end")
        self._active = set(range(len(self.channels)))
        self.rounds += 1
        yield from ()

    def finish(self) -> None:
        """Do nothing: whatever the sender writes behind the stream does not matter."""

    def serve(self, *, main: bool = True) -> bool:
        """Wait for bytes and take those of the further channels.

        Returns whether the main one has some; only if ``main`` is it waited for.
        """
        group = self._group
        assert group.ready is not None
        waiting = {id(group.further[index]): index for index in self._active}
        wanted = [group.further[index] for index in sorted(self._active)]
        ready = group.ready([group.main, *wanted] if main else wanted)
        for channel in ready:
            if channel is not group.main:
                self._take(waiting[id(channel)])
        return any(channel is group.main for channel in ready)

    def _take(self, index: int) -> None:
        """Take all packets that have begun to come, up to a synchronisation point."""
        source, channel = self._sources[index], self.channels[index]
        if source.at_end:
            self._active.discard(index)
            self._ended.add(index)
            return
        while len(source.window(0)):
            packet = channel.packet()
            if isinstance(packet, DevicePacket):
                self.device_packets += 1
                continue
            self._check(channel, packet)
            for batch in packet.batches():
                self._sink(batch)
            if packet.sync:
                self._active.discard(index)
                return

    def _check(self, channel: MultifdChannel, packet: MultifdPacket) -> None:
        if packet.compression is None:
            return
        if not self.rounds:
            expected = "a synchronisation point before the first page"
            raise StreamError(packet.offset, channel.section, expected, "a page")
        if packet.compression is not self._compression and packet.normal_pfns.size:
            expected = f"compression {self._compression.value}, as on this side"
            found = f"{packet.compression.value}; set multifd-compression the same on both sides"
            raise IncompatibleError(packet.offset, channel.section, expected, found)


class _MainInput:
    """The main channel; while it has nothing the others are looked after."""

    def __init__(self, group: InputGroup, channels: LiveChannels) -> None:
        self._main = group.main
        self._channels = channels

    @property
    def position(self) -> int:
        return self._main.position

    def read_into(self, room: memoryview) -> int:
        while not self._channels.serve():
            pass
        return self._main.read_into(room)

    def seekable(self) -> None:
        return None

    def close(self) -> None:
        self._main.close()
