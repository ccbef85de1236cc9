"""The records of the ram section, read (spec stream.md section 8.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import StreamError
from ..units import PAGE_BITS, PAGE_SIZE
from .blocks import read_block_list
from .items import BlockInfo, EndOfRecords, Item, MultifdFlush, PageBatch, RamBlocks, ScatteredPages
from .names import read_name
from .scan import FLAG_MASK, PAGE_WORD, ZERO_WORD, Runs, scan
from .wire import (
    RAM_SECTION,
    RECORD_HEADER_BYTES,
    U64,
    ZERO_RECORD_BYTES,
    RamFlag,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .source import ByteSource

_RUN_BYTES = {
    PAGE_WORD: RECORD_HEADER_BYTES + PAGE_SIZE,
    ZERO_WORD: ZERO_RECORD_BYTES,
}


class RecordDecoder(Protocol):
    """Reads the records of a further encoding; one module each, chosen by the flag."""

    def __call__(self, source: ByteSource, pfn: int, block: BlockInfo, offset: int) -> Item:
        """Take what follows the record's first word and block name; return the item."""
        ...


class RamReader:
    """Reads the parts of one ram section.

    Args:
        source: where the records come from.
        addresses: the block list holds addresses (x-ignore-shared).
        keep_order: yield page batches exactly as the records lie; otherwise pages of one stretch
            may be put together by kind, when no page occurs twice in it.
        decoders: further encodings by flag.
    """

    def __init__(
        self,
        source: ByteSource,
        *,
        addresses: bool = False,
        keep_order: bool = False,
        decoders: Mapping[RamFlag, RecordDecoder] | None = None,
    ) -> None:
        self._source = source
        self._addresses = addresses
        self._keep_order = keep_order
        self._decoders = {int(flag): decode for flag, decode in (decoders or {}).items()}
        self._blocks: dict[str, BlockInfo] | None = None
        self._block: BlockInfo | None = None

    def part(self) -> Iterator[Item]:
        """Yield what one START, PART or END holds, its end record last.

        Raises:
            StreamError: a record is malformed, cut off or out of place.
        """
        while True:
            offset = self._source.position
            word = self._peek_word()
            flags = word & FLAG_MASK
            if flags in _RUN_BYTES:
                yield from self._runs(flags)
                continue
            self._source.advance(RECORD_HEADER_BYTES)
            if flags == RamFlag.EOS:
                yield EndOfRecords(offset, word & ~FLAG_MASK)
                return
            yield self._other(flags, word, offset)

    def _other(self, flags: int, word: int, offset: int) -> Item:
        """Take one record of any kind that does not come in runs."""
        address = word & ~FLAG_MASK
        if flags == RamFlag.MEM_SIZE:
            return self._block_list(address, offset)
        if flags == RamFlag.MULTIFD_FLUSH:
            return MultifdFlush(offset, address)
        if flags in (RamFlag.ZERO, RamFlag.PAGE):
            return self._named_page(flags, address >> PAGE_BITS, offset)
        decode = self._decoders.get(flags & ~RamFlag.CONTINUE)
        if decode is None:
            raise StreamError(offset, RAM_SECTION, "a record of a known kind", f"flags {flags:#x}")
        block = self._same_block(offset) if flags & RamFlag.CONTINUE else self._read_block(offset)
        pfn = address >> PAGE_BITS
        self._check_pfn(block, pfn, offset)
        return decode(self._source, pfn, block, offset)

    def _peek_word(self) -> int:
        view = self._source.window(RECORD_HEADER_BYTES)
        if len(view) < RECORD_HEADER_BYTES:
            raise self._source.truncated(RAM_SECTION, "a record", len(view))
        word: int = U64.unpack_from(view)[0]
        return word

    def _block_list(self, total_bytes: int, offset: int) -> RamBlocks:
        if self._blocks is not None:
            raise StreamError(offset, RAM_SECTION, "one block list", "another one")
        blocks = read_block_list(self._source, total_bytes, addresses=self._addresses)
        self._blocks = {block.name: block for block in blocks}
        return RamBlocks(offset, blocks)

    def _read_block(self, offset: int) -> BlockInfo:
        name = read_name(self._source, RAM_SECTION, "a block name")
        block = (self._blocks or {}).get(name)
        if block is None:
            raise StreamError(offset, RAM_SECTION, "a block of the block list", name)
        self._block = block
        return block

    def _same_block(self, offset: int) -> BlockInfo:
        if self._block is None:
            raise StreamError(offset, RAM_SECTION, "a block name in the first page record")
        return self._block

    @staticmethod
    def _check_pfn(block: BlockInfo, pfn: int, offset: int) -> None:
        if pfn >= block.pages:
            expected = f"a page below {block.pages:#x} of block {block.name}"
            raise StreamError(offset, RAM_SECTION, expected, f"page {pfn:#x}")

    def _named_page(self, flags: int, pfn: int, offset: int) -> PageBatch:
        block = self._read_block(offset)
        self._check_pfn(block, pfn, offset)
        pfns = np.array([pfn], np.int64)
        if flags == RamFlag.PAGE:
            view = self._source.take(PAGE_SIZE, RAM_SECTION, "a page")
            data = np.frombuffer(view, np.uint8).reshape(1, PAGE_SIZE)
            return PageBatch(offset, block.name, pfns, data, named=True)
        if self._source.take(1, RAM_SECTION, "the fill byte of a zero page")[0]:
            raise _bad_fill(self._source.position - ZERO_RECORD_BYTES)
        return PageBatch(offset, block.name, pfns, None, named=True)

    def _runs(self, flags: int) -> Iterator[PageBatch]:
        """Take a stretch of page records of the current block."""
        base, block = self._source.position, self._same_block(self._source.position)
        need = _RUN_BYTES[flags]
        view = self._source.window(need)
        if len(view) < need:
            raise self._source.truncated(RAM_SECTION, f"a record of {need} bytes", len(view))
        runs = scan(view)
        self._source.advance(runs.end)
        if len(runs.counts) > 1:
            yield from self._mixed(runs, block, base)
            return
        zero, pfns = runs.zeros[0], runs.pfns()
        self._check(pfns, block, base, need)
        if zero and (bad := runs.bad_fill()) is not None:
            raise _bad_fill(base + bad * need)
        yield PageBatch(base, block.name, pfns, None if zero else runs.pages(0))

    def _mixed(self, runs: Runs, block: BlockInfo, base: int) -> Iterator[PageBatch]:
        """Yield a stretch of several runs, put together by kind where the order may change."""
        starts, zero = runs.records()
        pfns = runs.pfns(starts)
        self._check(pfns, block, base + starts)
        zeros, normal = starts[zero], starts[~zero]
        if (bad := runs.bad_fill(zeros)) is not None:
            raise _bad_fill(base + int(zeros[bad]))
        if not self._keep_order and (pfns[1:] > pfns[:-1]).all():
            around = np.frombuffer(runs.buffer, np.uint8)
            pages = ScatteredPages(around, normal + RECORD_HEADER_BYTES)
            yield PageBatch(base + int(zeros[0]), block.name, pfns[zero], None)
            yield PageBatch(base + int(normal[0]), block.name, pfns[~zero], pages)
            return
        first = 0
        for run, count in enumerate(runs.counts):
            data = None if runs.zeros[run] else runs.pages(run)
            some = pfns[first : first + count]
            yield PageBatch(base + runs.starts[run], block.name, some, data)
            first += count

    def _check(
        self,
        pfns: NDArray[np.int64],
        block: BlockInfo,
        offsets: int | NDArray[np.int64],
        stride: int = 0,
    ) -> None:
        """Check that every page is inside its block."""
        outside = pfns >= block.pages
        if outside.any():
            index = int(outside.argmax())
            at = offsets + index * stride if isinstance(offsets, int) else int(offsets[index])
            self._check_pfn(block, int(pfns[index]), at)


def _bad_fill(record: int) -> StreamError:
    at = record + RECORD_HEADER_BYTES
    return StreamError(at, RAM_SECTION, "fill byte 0 of a zero page", "another value")
