"""RAM of a written stream that goes over multifd channels (spec stream.md section 11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..ram.bitmap import DirtyBitmap
from ..units import PAGE_SIZE
from .flush import PagePlan
from .ram_writer import RecordWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .items import BlockInfo
    from .multifd_writer import MultifdWriter
    from .outfile import OutFile
    from .wire import SectionType
    from .xbzrle_records import XbzrleBatch


class MultifdRamWriter(RecordWriter):
    """RAM in packets of further channels; the block list and synchronisation records stay.

    The block list is followed by a synchronisation point, without which a QEMU crashes at the first
    page (spec stream.md section 11, QEMU 10.0).  So is every part with pages; and a page that comes
    again before that gets one in front, as only then the last content counts.
    """

    def __init__(self, out: OutFile, channels: MultifdWriter, page_bytes: int = PAGE_SIZE) -> None:
        if page_bytes != PAGE_SIZE:
            raise ConfigError("multifd", f"is written for pages of {PAGE_SIZE} bytes only")
        super().__init__(out)
        self._channels = channels
        self._sent: dict[str, DirtyBitmap] = {}
        self._pending = False

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the list, and the synchronisation point of setup."""
        super().block_list(blocks)
        self._sent = {block.name: DirtyBitmap(block.pages) for block in blocks}
        self.synchronise()

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Let all pages go out: the channels have no common limit here."""
        return PagePlan(zero_mask.size, 0, self._out.state)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Hand pages to the channels."""
        if not pfns.size:
            return
        if data is None:
            self.skip_pages(block, zero_mask, plan)
            return
        sent, data = self._sent_of(block), _rows(data, zero_mask)
        for first, last in _without_repeats(pfns):
            some = pfns[first:last]
            if sent.test(some).any():
                self.synchronise()
            self._channels.send(block, some, data[first:last], zero_mask[first:last])
            sent.set_pfns(some)
            self._pending = True

    def _sent_of(self, block: str) -> DirtyBitmap:
        """Return which pages of a block were sent since the last synchronisation point."""
        if block not in self._sent:
            raise ConfigError(f"RAM block {block}", "is not in the block list")
        return self._sent[block]

    def skip_pages(self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None) -> None:
        """Refuse."""
        raise ConfigError("multifd", "its packets need the bytes of the pages")

    def deltas(self, batch: XbzrleBatch) -> None:
        """Refuse: multifd and xbzrle exclude each other."""
        raise ConfigError("multifd", "cannot carry XBZRLE deltas; convert to plain first")

    def synchronise(self, address: int = 0) -> None:
        """Mark the point on all channels and on the main one."""
        self._channels.sync()
        super().synchronise(address)
        if self._pending:
            for sent in self._sent.values():
                sent.clear_all()
        self._pending = False

    def end_part(self, kind: SectionType) -> None:
        """Synchronise behind pages."""
        if self._pending:
            self.synchronise()


def _without_repeats(pfns: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of indices, as long as can be, in which every page comes once."""
    order = np.argsort(pfns, kind="stable")
    again = order[1:][pfns[order[1:]] == pfns[order[:-1]]]
    before = np.full(pfns.size, -1)  # place of the same page's occurrence before
    before[again] = order[:-1][pfns[order[1:]] == pfns[order[:-1]]]
    first = 0
    for last in np.sort(again).tolist():
        if before[last] >= first:
            yield first, last
            first = last
    yield first, pfns.size


def _rows(data: NDArray[np.uint8], zero_mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``data`` with rows of a page's length, where only zero pages are without bytes."""
    if data.shape[1] or not zero_mask.all():
        return data
    return np.zeros((zero_mask.size, PAGE_SIZE), np.uint8)
