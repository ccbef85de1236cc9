"""What the pages of a stream add up to, in one file without a name: memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..ram.bitmap import DirtyBitmap
from ..ram.pages import zero_page_mask
from ..stream.apply import taking_memory_for
from ..stream.placed import PlacedPages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import RandomAccessChannel
    from ..stream.items import BlockInfo, RamBlocks

_PIECE_BYTES = 2 << 20


class RamImage:
    """The RAM of a stream: a page store that can be read again, block by block.

    Pages of zeros count as zero, however they came.

    Args:
        channel: an empty file with as much room as there is RAM that is not zero.

    Attributes:
        blocks: by name, in announcement order.
    """

    def __init__(self, channel: RandomAccessChannel) -> None:
        self._channel = channel
        self._placed: dict[str, PlacedPages] = {}
        self._zero: dict[str, DirtyBitmap] = {}
        self.blocks: dict[str, BlockInfo] = {}

    def announce(self, blocks: RamBlocks) -> None:
        """Give each block a place in the file.

        Raises:
            StreamError: there is no memory for the bitmaps of so large blocks.
            ChannelError: there is no room for them in a file.
        """
        offset = 0
        with taking_memory_for(blocks):
            for block in blocks.blocks:
                self.blocks[block.name] = block
                self._placed[block.name] = PlacedPages(
                    self._channel, offset, block.pages, block.page_bytes
                )
                self._zero[block.name] = DirtyBitmap(block.pages)
                offset += block.used_bytes
        self._channel.resize(offset)

    def write(self, block: str, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Give pages the content ``data``; of a page that comes twice the last one counts."""
        data = np.ascontiguousarray(data)
        zero = zero_page_mask(data)
        if zero.any() and np.unique(pfns).size == pfns.size:
            self.zero(block, pfns[zero])
            pfns, data = pfns[~zero], data[~zero]
        self._placed[block].write(pfns, data)
        self._zero[block].clear_pfns(pfns)

    def zero(self, block: str, pfns: NDArray[np.int64]) -> None:
        """Make pages zero."""
        self._placed[block].erase(pfns)
        self._zero[block].set_pfns(pfns)

    def read(self, block: str, pfns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of pages; those that never came are zero."""
        return self._placed[block].read(pfns)

    def content(self, block: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield page numbers and contents of the pages that have content, ascending."""
        for pfns in pieces(self._placed[block].stored, self.blocks[block].page_bytes):
            yield pfns, self.read(block, pfns)

    def stored(self, block: str) -> DirtyBitmap:
        """Return which pages have content; not to be changed."""
        return self._placed[block].stored

    def zeros(self, block: str) -> Iterator[NDArray[np.int64]]:
        """Yield numbers of the pages that are known to be zero, ascending."""
        return pieces(self._zero[block], self.blocks[block].page_bytes)


def pieces(pages: DirtyBitmap, page_bytes: int) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the set ``pages``, ascending, at most 2 MiB of pages at a time."""
    most = max(1, _PIECE_BYTES // page_bytes)
    first = 0
    while (pfns := pages.take(first, most)).size:
        yield pfns
        first = int(pfns[-1]) + 1
        if first >= pages.pages:
            return
