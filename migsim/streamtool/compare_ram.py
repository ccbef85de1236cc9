"""Which pages of RAM are different between two streams; memory stays bounded.

The RAM of the first stream is added up in a scratch file.  The second one is held against it page
by page as it comes; only where its own pages have to be known (XBZRLE) is it added up as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ..ram.bitmap import DirtyBitmap
from ..ram.pages import runs
from ..stream.apply import taking_memory_for
from ..stream.items import Item, PageBatch, RamBlocks
from ..stream.xbzrle_records import XbzrleBatch
from .image import RamImage, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream.items import BlockInfo


@dataclass(frozen=True, slots=True, eq=False)
class PageRanges:
    """Pages of a block, as ranges.

    Attributes:
        pages: which pages.
        page_bytes: size of a page.
    """

    pages: DirtyBitmap
    page_bytes: int

    @property
    def count(self) -> int:
        """Number of pages."""
        return self.pages.count()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield first and last page number of each range, ascending."""
        begin = end = -1
        for pfns in pieces(self.pages, self.page_bytes):
            for first, length in zip(*(part.tolist() for part in runs(pfns)), strict=True):
                if first != end + 1 or begin < 0:
                    if begin >= 0:
                        yield begin, end
                    begin = first
                end = first + length - 1
        if begin >= 0:
            yield begin, end


class AddUpNeededError(Exception):
    """The pages of the second stream cannot be told from what comes: add it up first."""


class RamMatcher:
    """Holds the pages of a stream against the RAM of another one.

    What a stream says nothing of is zero, as in a receiver's fresh RAM.

    Args:
        image: the RAM of the first stream.

    Attributes:
        blocks: the blocks of the second stream, by name.
        seen: names of blocks of which pages have come.
    """

    def __init__(self, image: RamImage) -> None:
        self._image = image
        self._different: dict[str, DirtyBitmap] = {}
        self.blocks: dict[str, BlockInfo] = {}
        self.seen: set[str] = set()

    def take(self, item: Item) -> None:
        """Compare the pages of ``item``.

        Raises:
            AddUpNeededError: they are deltas.
            StreamError: the first stream's RAM cannot be read.
        """
        match item:
            case RamBlocks():
                with taking_memory_for(item):
                    self._announce(item.blocks)
            case PageBatch():
                self.seen.add(item.block)
                if item.block in self._different:
                    self._pages(item)
            case XbzrleBatch():
                raise AddUpNeededError
            case _:
                pass

    def different(self, block: str) -> PageRanges:
        """Return the pages that are different in a block that both streams have."""
        return PageRanges(self._different[block], self._image.blocks[block].page_bytes)

    @property
    def common(self) -> Iterable[str]:
        """Names of the blocks that can be compared."""
        return self._different

    def _announce(self, blocks: tuple[BlockInfo, ...]) -> None:
        self.blocks = {block.name: block for block in blocks}
        for name, block in self.blocks.items():
            mine = self._image.blocks.get(name)
            if mine is not None and mine.page_bytes == block.page_bytes:
                self._different[name] = _first(self._image.stored(name), block.pages)

    def _pages(self, batch: PageBatch) -> None:
        different = self._different[batch.block]
        pfns, data = batch.pfns, batch.data
        inside = pfns < different.pages
        if not inside.all():
            pfns, data = pfns[inside], data[inside] if data is not None else None
        if data is None:
            other = self._image.stored(batch.block).test(pfns)
        else:
            other = _rows_differ(self._image.read(batch.block, pfns), data)
        different.set_pfns(pfns[other])
        different.clear_pfns(pfns[~other])

    @classmethod
    def with_image(cls, image: RamImage, second: RamImage) -> Self:
        """Return the comparison with a stream that was added up as well."""
        matcher = cls(image)
        matcher._announce(tuple(second.blocks.values()))
        for name in second.blocks:
            for pfns, data in second.content(name):
                matcher.take(PageBatch(0, name, pfns, data))
            for pfns in second.zeros(name):
                matcher.take(PageBatch(0, name, pfns, None))
        return matcher


def _first(bitmap: DirtyBitmap, pages: int) -> DirtyBitmap:
    """Return a copy of ``bitmap``, of the pages below ``pages``."""
    pages = min(bitmap.pages, pages)
    copy = DirtyBitmap(pages)
    for pfns in pieces(bitmap, 1 << 12):
        below = pfns[pfns < pages]
        copy.set_pfns(below)
        if below.size < pfns.size:
            break
    return copy


def _rows_differ(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = (
        a.view(np.uint64) != np.ascontiguousarray(b).view(np.uint64)
    ).any(axis=1)
    return different
