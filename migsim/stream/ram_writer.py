"""Where a writer puts RAM: records in the stream, fixed places of the file, or further channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import ConfigError
from ..units import PAGE_SIZE
from .blocks import encode_block_list
from .ram_records import encode_pages
from .wire import U64, RamFlag, SectionType
from .xbzrle_records import Sent, XbzrleBatch, encode_records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .flush import PagePlan
    from .items import BlockInfo
    from .outfile import OutFile


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

    @property
    def side_bytes(self) -> int:
        """Bytes that went past the main channel so far."""
        ...

    @property
    def compact_pages(self) -> int:
        """Pages sent so far as less than a page, or not at all because they did not change."""
        ...

    def wrapped(self) -> None:
        """Take note that the scan over RAM begins another round."""
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

    @property
    def side_bytes(self) -> int:
        """Nothing goes elsewhere."""
        return 0

    @property
    def compact_pages(self) -> int:
        """Every page is sent as one."""
        return 0

    def wrapped(self) -> None:
        """Do nothing: records know no rounds."""

    def forget_block(self) -> None:
        """Forget the block of the record before."""
        self._last_block = None

    def synchronise(self, address: int = 0) -> None:
        """Write the record alone, which means nothing without channels."""
        self._out.put(U64.pack(address | RamFlag.MULTIFD_FLUSH))

    def end_part(self, kind: SectionType) -> None:
        """Write nothing."""
