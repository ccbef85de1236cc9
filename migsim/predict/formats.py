"""Byte accounting of the stream kinds for which only sizes and windows matter here.

``PlacedPages`` and ``PacketPages`` stand in for the stream writer of a simulated migration whose
bytes nobody reads: the loop sends the same pages, only the counters grow differently
(spec lifecycle.md section 5; formats of QEMU 10.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ..stream.flush import PagePlan
from ..stream.outfile import OutFile
from ..stream.writer import StreamWriter
from ..units import PAGE_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKET_PAGES: Final = 128
"""Pages that one multifd packet names."""
PACKET_HEADER_BYTES: Final = 320 + 8 * PACKET_PAGES
"""Header of a multifd packet: fixed part with the block's name, and one offset per page."""


class CountedOut(OutFile):
    """An output file to which bytes can be added that go past its buffer."""

    def count(self, size_bytes: int) -> None:
        """Count ``size_bytes`` as having left at once."""
        self._transferred += size_bytes
        if size_bytes:
            self._skip(size_bytes)


class PlacedPages(StreamWriter):
    """Pages are placed one by one at their slot: each counts at once, a zero page not at all."""

    out: CountedOut

    def __init__(self, out: CountedOut) -> None:
        super().__init__(out)

    def plan(
        self, block: str, zero_mask: NDArray[np.bool_], budget_bytes: int | None = None
    ) -> PagePlan:
        """Return how many pages go out before more than ``budget_bytes`` were placed."""
        sizes = np.where(zero_mask, 0, PAGE_SIZE)
        sent = np.cumsum(sizes)
        count = zero_mask.size
        if budget_bytes is not None:
            count = int(np.searchsorted(sent - sizes, budget_bytes, side="right"))
        placed = int(sent[count - 1]) if count else 0
        return PagePlan(count, placed, self.out.state)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Count the pages, whichever they are."""
        self.skip_pages(block, zero_mask, plan)

    def skip_pages(
        self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None = None
    ) -> None:
        """Count the pages of ``plan``."""
        plan = plan or self.plan(block, zero_mask)
        self.out.count(plan.flushed_bytes)


class PacketPages(StreamWriter):
    """Pages go to the channels in packets; the counter lags by one packet per channel."""

    out: CountedOut

    def __init__(self, out: CountedOut, channels: int) -> None:
        super().__init__(out)
        self._channels = channels
        self._in_flight: NDArray[np.int64] = np.empty(0, np.int64)
        self._open_pages = 0
        self._open_bytes = 0

    def plan(
        self, block: str, zero_mask: NDArray[np.bool_], budget_bytes: int | None = None
    ) -> PagePlan:
        """Return how many pages go out before more than ``budget_bytes`` are seen as sent."""
        sizes, ends = self._packets(zero_mask)
        visible = self._visible(sizes)
        count = zero_mask.size
        if budget_bytes is not None:
            over = np.flatnonzero(visible > budget_bytes)
            if over.size:
                count = int(ends[over[0]])
        done = int(np.searchsorted(ends, count, side="right"))
        return PagePlan(count, int(visible[done - 1]) if done else 0, self.out.state)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Count the pages, whichever they are."""
        self.skip_pages(block, zero_mask, plan)

    def skip_pages(
        self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None = None
    ) -> None:
        """Queue the pages and count the packets that have left."""
        sizes, _ = self._packets(zero_mask)
        visible = self._visible(sizes)
        self.out.count(int(visible[-1]) if visible.size else 0)
        queue = np.concatenate((self._in_flight, sizes))
        self._in_flight = queue[max(0, queue.size - self._channels) :]
        total = self._open_pages + zero_mask.size
        fresh = total % PACKET_PAGES
        tail = zero_mask[zero_mask.size - min(fresh, zero_mask.size) :]
        size = PAGE_SIZE * int(np.count_nonzero(~tail))
        self._open_bytes = size + (self._open_bytes if total < PACKET_PAGES else 0)
        self._open_pages = fresh

    def end_ram_part(self, section_id: int) -> None:
        """End a part; by the time that anyone looks again all whole packets have left."""
        self.out.count(int(self._in_flight.sum()))
        self._in_flight = np.empty(0, np.int64)
        super().end_ram_part(section_id)

    def flush_packet(self) -> None:
        """Send the packet that is not full, as at the end of a pass."""
        if self._open_pages:
            self.out.count(self._open_bytes + PACKET_HEADER_BYTES)
            self._open_pages = self._open_bytes = 0

    def _packets(self, zero_mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return size and end (pages from here) of each packet that these pages complete."""
        first = PACKET_PAGES - self._open_pages
        ends = np.arange(first, zero_mask.size + 1, PACKET_PAGES, dtype=np.int64)
        sent = np.concatenate(([0], np.cumsum(np.where(zero_mask, 0, PAGE_SIZE))))
        sizes = np.diff(sent[ends], prepend=-self._open_bytes) + PACKET_HEADER_BYTES
        return sizes.astype(np.int64), ends

    def _visible(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes seen as sent after each of the new packets."""
        waiting = self._in_flight.size
        sent = np.concatenate(([0], np.cumsum(np.concatenate((self._in_flight, sizes)))))
        index = np.arange(1, sizes.size + 1) + waiting - self._channels
        visible: NDArray[np.int64] = sent[np.maximum(index, 0)].astype(np.int64)
        return visible
