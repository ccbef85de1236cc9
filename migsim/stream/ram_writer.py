"""Where a writer puts RAM: records in the stream, fixed places of the file, or further channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..channel.base import RandomAccessChannel
from ..errors import ConfigError
from ..ram.bitmap import DirtyBitmap
from ..units import PAGE_SIZE
from .blocks import encode_block_head, encode_block_list, encode_total
from .flush import FlushState, PagePlan
from .mapped_ram import encode_region, layout
from .placed import PlacedPages
from .ram_records import encode_pages
from .wire import U64, RamFlag, SectionType
from .xbzrle_records import Sent, XbzrleBatch, encode_records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .items import BlockInfo
    from .multifd_writer import MultifdWriter
    from .outfile import OutFile

_NO_BUDGET = 1 << 62


class RamWriter(Protocol):
    """Takes what the parts of the ram section hold, in order.

    Arguments of ``pages`` and ``plan`` are those of ``OutFile.put_pages`` and ``plan_pages``.
    """

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the block list."""
        ...

    def next_name(self, block: str) -> str | None:
        """Return the name that the next page record of ``block`` has to carry, or None."""
        ...

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Return how many of these pages go out before ``budget`` bytes are exceeded."""
        ...

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Write pages of one block."""
        ...

    def skip_pages(self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None) -> None:
        """Account for pages that do not exist, on a counting channel."""
        ...

    def deltas(self, batch: XbzrleBatch) -> None:
        """Write changes of pages."""
        ...

    def forget_block(self) -> None:
        """Make the next page record carry its block's name whatever came before."""
        ...

    def synchronise(self, address: int = 0) -> None:
        """Write a multifd synchronisation point."""
        ...

    def end_part(self, kind: SectionType) -> None:
        """Write what belongs in front of the record that ends a part."""
        ...


class RecordWriter:
    """RAM as records of the stream."""

    def __init__(self, out: OutFile, page_bytes: int = PAGE_SIZE) -> None:
        self._out = out
        self._page_bytes = page_bytes
        self._last_block: str | None = None

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write size record and blocks; places that they have in another file do not matter."""
        self._out.put(encode_block_list(blocks))

    def next_name(self, block: str) -> str | None:
        """Return the name if the record before was of another block."""
        return None if block == self._last_block else block

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Plan as the output file does."""
        return self._out.plan(self.next_name(block), zero_mask, budget)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Write page records; of other pages than 4096 bytes accounting is only that of bytes."""
        if not pfns.size:
            return
        name = self.next_name(block)
        if self._page_bytes == PAGE_SIZE or data is None:
            self._out.put_pages(name, pfns, data, zero_mask, plan)
        else:
            self._out.put(encode_pages(name, pfns, data, zero_mask, self._page_bytes).data)
        self._last_block = block

    def skip_pages(self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None) -> None:
        """Account for page records."""
        if zero_mask.size:
            self._out.skip_pages(self.next_name(block), zero_mask, plan)
            self._last_block = block

    def deltas(self, batch: XbzrleBatch) -> None:
        """Write XBZRLE records."""
        if self._page_bytes != PAGE_SIZE:
            raise ConfigError("xbzrle", f"is written for pages of {PAGE_SIZE} bytes only")
        name = self.next_name(batch.block)
        kinds = np.full(batch.pfns.size, Sent.DELTA, np.uint8)
        no_pages = np.empty((batch.pfns.size, 0), np.uint8)
        self._out.put(encode_records(name, batch.pfns, no_pages, kinds, batch.deltas).data)
        self._last_block = batch.block

    def forget_block(self) -> None:
        """Forget the block of the record before."""
        self._last_block = None

    def synchronise(self, address: int = 0) -> None:
        """Write the record alone, which means nothing without channels."""
        self._out.put(U64.pack(address | RamFlag.MULTIFD_FLUSH))

    def end_part(self, kind: SectionType) -> None:
        """Write nothing."""


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


class MappedWriter:
    """RAM at fixed places of the file (spec stream.md section 10).

    A zero page is a clear bit: what an earlier pass has put there stays, as with QEMU.  The bitmaps
    are written once, at the end.

    Raises:
        ConfigError: the output cannot be placed at will, or a block has an address, which no QEMU
            can load together with mapped-ram.
    """

    def __init__(self, out: OutFile, page_bytes: int = PAGE_SIZE) -> None:
        if not isinstance(out.channel, RandomAccessChannel):
            raise ConfigError("mapped-ram", "needs a file that can be seeked")
        self._out = out
        self._channel: RandomAccessChannel = out.channel
        self._page_bytes = page_bytes
        self._placed: dict[str, PlacedPages] = {}
        self._bitmap_offsets: dict[str, int] = {}
        self._unsaved = False

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the list with a header for each block, and go on behind the last one's pages."""
        self._out.put(encode_total(blocks))
        for block in blocks:
            if block.address is not None:
                raise ConfigError(f"RAM block {block.name}", "mapped-ram takes no address")
            self._out.put(encode_block_head(block))
            region = layout(self._out.position, block.pages)
            self._out.put(encode_region(region, block.page_bytes))
            self._placed[block.name] = PlacedPages(
                self._channel, region.pages_offset, block.pages, block.page_bytes
            )
            self._bitmap_offsets[block.name] = region.bitmap_offset
            self._out.seek(region.pages_offset + block.used_bytes)
        self._unsaved = True

    def next_name(self, block: str) -> str | None:
        """Return None: there are no records."""

    def plan(self, block: str, zero_mask: NDArray[np.bool_], budget: int | None) -> PagePlan:
        """Count each page with content as it goes out; the others cost nothing."""
        room = _NO_BUDGET if budget is None else budget
        if room < 0 or not zero_mask.size:
            return PagePlan(0, 0, self._out.state)
        normals = np.flatnonzero(~zero_mask)
        taken = min(normals.size, room // self._page_bytes + 1)
        over = taken * self._page_bytes > room
        count = int(normals[taken - 1]) + 1 if over else zero_mask.size
        return PagePlan(count, taken * self._page_bytes, FlushState())

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None,
    ) -> None:
        """Put pages where they belong; of a page that comes twice the last content counts."""
        if not pfns.size:
            return
        if data is None:
            self.skip_pages(block, zero_mask, plan)
            return
        placed = self._place(block)
        if zero_mask.all():
            placed.forget(pfns)
        elif not zero_mask.any():
            placed.write(pfns, data)
        else:
            placed.write(pfns[~zero_mask], data[~zero_mask])
            placed.forget(pfns[zero_mask])
        self._out.count_placed((pfns.size - int(zero_mask.sum())) * self._page_bytes)
        self._unsaved = True

    def skip_pages(self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None) -> None:
        """Refuse."""
        raise ConfigError("mapped-ram", "needs the bytes of the pages")

    def deltas(self, batch: XbzrleBatch) -> None:
        """Change the pages in the file: this form knows no deltas."""
        placed = self._place(batch.block)
        pages = placed.read(batch.pfns)
        batch.apply_to(pages)
        placed.write(batch.pfns, pages)
        self._unsaved = True

    def forget_block(self) -> None:
        """Do nothing: there are no records."""

    def synchronise(self, address: int = 0) -> None:
        """Write nothing: the channels of this form need no such points."""

    def end_part(self, kind: SectionType) -> None:
        """Write the bitmaps at the end."""
        if kind not in (SectionType.END, SectionType.EOF) or not self._unsaved:
            return
        for name, placed in self._placed.items():
            raw = placed.stored.words.data
            self._channel.write_at(self._bitmap_offsets[name], raw)
            self._out.count_placed(memoryview(raw).nbytes)
        self._unsaved = False

    def _place(self, block: str) -> PlacedPages:
        placed = self._placed.get(block)
        if placed is None:
            raise ConfigError(f"RAM block {block}", "is not in the block list")
        return placed
