"""What the pages of a stream add up to: RAM in memory or in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import StreamError
from ..ram.pages import zero_page_mask
from .items import Item, PageBatch, RamBlocks
from .placed import PlacedPages
from .wire import RAM_SECTION
from .xbzrle_records import XbzrleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import RandomAccessChannel
    from .items import BlockInfo

MEMORY_BYTES_MAX = 4 << 30
"""Most RAM that a `MemoryStore` takes unless it is told otherwise, in bytes."""
FILE_BYTES_MAX = 16 << 40
"""Largest block that a `FileStore` takes, in bytes."""


class PageStore(Protocol):
    """RAM that pages are put into.

    Pages are int64 of shape (n,), inside their block; a page may be named twice, the last content
    counts.  Blocks the store has no place for are not its business: it ignores their pages.
    """

    def announce(self, blocks: RamBlocks) -> None:
        """Take the block list, which comes before all pages; everything is zero at first.

        Raises:
            StreamError: there is no room for such blocks.
        """
        ...

    def write(self, block: str, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Give pages the content ``data``, uint8 of shape (n, page size), valid for this call."""
        ...

    def zero(self, block: str, pfns: NDArray[np.int64]) -> None:
        """Make pages zero."""
        ...

    def read(self, block: str, pfns: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Return a copy of pages, or None when the store has no place for the block."""
        ...


def apply_items(items: Iterable[Item], store: PageStore) -> None:
    """Put all pages of ``items`` into ``store``, in their order.

    Raises:
        StreamError: from the reader behind ``items``, or there is no room for the blocks.
        ChannelError: the store cannot take the bytes, or the input breaks.
    """
    for item in items:
        apply_item(item, store)


def apply_item(item: Item, store: PageStore) -> None:
    """Put the pages of one item into ``store``; other items than those of RAM change nothing."""
    match item:
        case RamBlocks():
            store.announce(item)
        case PageBatch():
            data = item.data
            if data is None:
                store.zero(item.block, item.pfns)
            else:
                store.write(item.block, item.pfns, data)
        case XbzrleBatch():
            pages = store.read(item.block, item.pfns)
            if pages is not None:
                item.apply_to(pages)
                store.write(item.block, item.pfns, pages)
        case _:
            pass


@contextmanager
def taking_memory_for(blocks: RamBlocks) -> Iterator[None]:
    """Turn a lack of memory for what belongs to RAM blocks (contents, bitmaps) into an error.

    Raises:
        StreamError: there is not enough memory for blocks of that size.
    """
    try:
        yield
    except MemoryError:
        expected = "RAM for which there is memory here"
        found = f"{blocks.total_bytes} bytes"
        raise StreamError(blocks.offset, RAM_SECTION, expected, found) from None


class MemoryStore:
    """RAM as arrays in memory.

    Args:
        bytes_max: most RAM that is taken, of all blocks together.

    Attributes:
        blocks: by name, uint8 of shape (pages, page size).
    """

    def __init__(self, bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.blocks: dict[str, NDArray[np.uint8]] = {}
        self._bytes_max = bytes_max

    def announce(self, blocks: RamBlocks) -> None:
        """Make an array for each block."""
        if blocks.total_bytes > self._bytes_max:
            expected, found = f"RAM of at most {self._bytes_max} bytes", str(blocks.total_bytes)
            raise StreamError(blocks.offset, RAM_SECTION, expected, found)
        with taking_memory_for(blocks):
            for block in blocks.blocks:
                self.blocks[block.name] = np.zeros((block.pages, block.page_bytes), np.uint8)

    def write(self, block: str, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Copy ``data`` into the block's array."""
        self.blocks[block][pfns] = data

    def zero(self, block: str, pfns: NDArray[np.int64]) -> None:
        """Zero rows of the block's array."""
        self.blocks[block][pfns] = 0

    def read(self, block: str, pfns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of rows of the block's array."""
        return self.blocks[block][pfns]


class FileStore:
    """RAM in one file a block, with holes where it is zero.

    Args:
        channels: a file for each block that is wanted, by block name; empty files.

    Attributes:
        blocks: the blocks that were announced, by name.
    """

    def __init__(self, channels: Mapping[str, RandomAccessChannel]) -> None:
        self._channels = channels
        self._placed: dict[str, PlacedPages] = {}
        self.blocks: dict[str, BlockInfo] = {}

    def announce(self, blocks: RamBlocks) -> None:
        """Give each file the exact length of its block."""
        self.blocks = {block.name: block for block in blocks.blocks}
        for name, channel in self._channels.items():
            block = self.blocks.get(name)
            if block is None:
                continue
            if block.used_bytes > FILE_BYTES_MAX:
                expected = f"at most {FILE_BYTES_MAX} bytes in block {name}"
                raise StreamError(blocks.offset, RAM_SECTION, expected, str(block.used_bytes))
            channel.resize(block.used_bytes)
            with taking_memory_for(blocks):
                self._placed[name] = PlacedPages(channel, 0, block.pages, block.page_bytes)

    def write(self, block: str, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Write what is not zero; the rest stays, or becomes, zero."""
        placed = self._placed.get(block)
        if placed is None:
            return
        data = np.ascontiguousarray(data)
        zero = zero_page_mask(data)
        if not zero.any():
            placed.write(pfns, data)
            return
        # A page that comes twice must not be zeroed behind its last content.
        if np.unique(pfns).size == pfns.size:
            placed.write(pfns[~zero], data[~zero])
            placed.erase(pfns[zero])
        else:
            placed.write(pfns, data)

    def zero(self, block: str, pfns: NDArray[np.int64]) -> None:
        """Zero what was written before."""
        placed = self._placed.get(block)
        if placed is not None:
            placed.erase(pfns)

    def read(self, block: str, pfns: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """Read pages back."""
        placed = self._placed.get(block)
        return None if placed is None else placed.read(pfns)
