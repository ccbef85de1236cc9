"""RAM at fixed places of the file, written (spec stream.md section 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..channel.base import OverlappingChannel, RandomAccessChannel
from ..errors import ConfigError
from ..units import PAGE_SIZE
from .blocks import encode_block_head, encode_total
from .flush import FlushState, PagePlan
from .mapped_ram import encode_region, layout
from .placed import PlacedPages
from .wire import SectionType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .items import BlockInfo
    from .outfile import OutFile
    from .xbzrle_records import XbzrleBatch

_NO_BUDGET = 1 << 62


class MappedWriter:
    """RAM at fixed places of the file (spec stream.md section 10).

    A zero page is a clear bit: what an earlier pass has put there stays, as with QEMU.  The bitmaps
    are written once, at the end.

    Raises:
        ConfigError: the output cannot be placed at will, or a block has an address, which no QEMU
            can load together with mapped-ram.
    """

    def __init__(self, out: OutFile, page_bytes: int = PAGE_SIZE, *, multifd: bool = False) -> None:
        if not isinstance(out.channel, RandomAccessChannel):
            raise ConfigError("mapped-ram", "needs a file that can be seeked")
        self._out = out
        self._channel: RandomAccessChannel = out.channel
        self._page_bytes = page_bytes
        self._placed: dict[str, PlacedPages] = {}
        self._bitmap_offsets: dict[str, int] = {}
        self._unsaved = False
        self._multifd = multifd
        self._page_total = 0

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

    @contextmanager
    def lasting_pages(self) -> Iterator[None]:
        """Within this, contents given to `pages` stay as they are: they are written meanwhile."""
        if not isinstance(self._channel, OverlappingChannel) or not self._channel.overlaps:
            yield
            return
        for placed in self._placed.values():
            placed.overlap = self._channel
        try:
            yield
            self._channel.settle()
        finally:
            for placed in self._placed.values():
                placed.overlap = None

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
            placed.write_some(pfns, data, ~zero_mask)
            placed.forget(pfns[zero_mask])
        normals = pfns.size - int(zero_mask.sum())
        self._page_total += normals
        self._out.count_placed(normals * self._page_bytes)
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

    @property
    def side_bytes(self) -> int:
        """Bytes of pages written to their places, which are those of multifd where that is on."""
        return self._page_total * self._page_bytes if self._multifd else 0

    @property
    def compact_pages(self) -> int:
        """Every page is stored as one."""
        return 0

    def wrapped(self) -> None:
        """Do nothing: places know no rounds."""

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
