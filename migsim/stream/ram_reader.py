"""The records of the ram section, read (spec stream.md section 8.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import StreamError
from .blocks import ListForm, read_block_list
from .items import BlockInfo, EndOfRecords, Item, MultifdFlush, PageBatch, RamBlocks, ScatteredPages
from .mapped_ram import read_pages
from .names import read_name
from .scan import PAGE_WORD, ZERO_WORD, Mixture, scan, strided_pages
from .wire import (
    RAM_SECTION,
    RECORD_HEADER_BYTES,
    U64,
    ZERO_RECORD_BYTES,
    RamFlag,
)
from .xbzrle_records import read_deltas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .source import ByteSource

_NAMED_PAGE = (int(RamFlag.ZERO), int(RamFlag.PAGE))
_XBZRLE = (int(RamFlag.XBZRLE), int(RamFlag.XBZRLE | RamFlag.CONTINUE))


class PageChannels(Protocol):
    """Further channels that bring pages beside the main one (multifd)."""

    def until_sync(self, blocks: Mapping[str, BlockInfo]) -> Iterator[PageBatch]:
        """Yield what all channels bring up to their next common synchronisation point."""
        ...

    def finish(self) -> None:
        """Check that nothing is left on any channel.

        Raises:
            StreamError: something is.
        """
        ...


class RamReader:
    """Reads the parts of one ram section.

    Args:
        source: where the records come from.
        form: what is known of the block list's layout; may be completed until it comes.
        keep_order: yield page batches exactly as the records lie; otherwise pages of one stretch
            may be put together by kind, when no page occurs twice in it.
        channels: further channels that bring pages, if there are any.
        leave: tells of a block with places in the file that its pages are not to be read.
    """

    def __init__(
        self,
        source: ByteSource,
        form: ListForm,
        *,
        keep_order: bool = False,
        channels: PageChannels | None = None,
        leave: Callable[[BlockInfo], bool] | None = None,
    ) -> None:
        self._source = source
        self._leave = leave
        self._keep_order = keep_order
        self._channels = channels
        self._flushes = False
        self._blocks: dict[str, BlockInfo] | None = None
        self._block: BlockInfo | None = None
        self._mapped = False
        self.form = form

    @property
    def blocks(self) -> Mapping[str, BlockInfo]:
        """The blocks of the list by name; none before it came."""
        return self._blocks or {}

    def take_over(self, other: RamReader) -> None:
        """Know the blocks that ``other`` has met."""
        self.form, self._blocks = other.form, other._blocks

    def part(self) -> Iterator[Item]:
        """Yield what one START, PART or END holds, its end record last.

        Raises:
            StreamError: a record is malformed, cut off or out of place.
        """
        while True:
            offset = self._source.position
            word = self._peek_word()
            flags = word & (self.form.page_bytes - 1)
            if flags in (PAGE_WORD, ZERO_WORD) and not self._mapped:
                yield from self._runs(flags)
                continue
            self._source.advance(RECORD_HEADER_BYTES)
            if flags == RamFlag.EOS:
                if not self._flushes:  # machine types up to 8.0 synchronise here
                    yield from self._channel_pages()
                yield EndOfRecords(offset, word - flags)
                return
            yield from self._other(flags, word - flags, offset)

    def _other(self, flags: int, address: int, offset: int) -> Iterator[Item]:
        """Take one record of any kind that does not come in runs."""
        if flags == RamFlag.MEM_SIZE:
            yield from self._block_list(address, offset)
        elif self._mapped:
            expected = "no pages among the records of a mapped-ram stream"
            raise StreamError(offset, RAM_SECTION, expected, f"flags {flags:#x}")
        elif flags == RamFlag.MULTIFD_FLUSH:
            self._flushes = True
            yield MultifdFlush(offset, address)
            yield from self._channel_pages()
        elif flags in _NAMED_PAGE:
            yield self._named_page(flags, address // self.form.page_bytes, offset)
        elif flags in _XBZRLE:
            named = flags == RamFlag.XBZRLE
            block = self._read_block(offset) if named else self._same_block(offset)
            pfn = address // self.form.page_bytes
            self._check_pfn(block, pfn, offset)
            yield read_deltas(self._source, pfn, block, offset, named=named)
        else:
            raise StreamError(offset, RAM_SECTION, "a record of a known kind", f"flags {flags:#x}")

    def _peek_word(self) -> int:
        view = self._source.window(RECORD_HEADER_BYTES)
        if len(view) < RECORD_HEADER_BYTES:
            raise self._source.truncated(RAM_SECTION, "a record", len(view))
        word: int = U64.unpack_from(view)[0]
        return word

    def _block_list(self, total_bytes: int, offset: int) -> Iterator[Item]:
        if self._blocks is not None:
            raise StreamError(offset, RAM_SECTION, "one block list", "another one")
        blocks = read_block_list(self._source, total_bytes, self.form)
        self._blocks = {block.name: block for block in blocks}
        self._mapped = bool(self.form.mapped)
        yield RamBlocks(offset, blocks)
        for block in blocks if self._mapped else ():
            if self._leave is None or not self._leave(block):
                yield from read_pages(self._source, block)

    def _channel_pages(self) -> Iterator[Item]:
        if self._channels is not None:
            yield from self._channels.until_sync(self.blocks)

    def _read_block(self, offset: int) -> BlockInfo:
        name = read_name(self._source, RAM_SECTION, "a block name")
        block = self.blocks.get(name)
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
            view = self._source.take(block.page_bytes, RAM_SECTION, "a page").toreadonly()
            data = np.frombuffer(view, np.uint8).reshape(1, block.page_bytes)
            return PageBatch(offset, block.name, pfns, data, named=True)
        if self._source.take(1, RAM_SECTION, "the fill byte of a zero page")[0]:
            raise _bad_fill(self._source.position - ZERO_RECORD_BYTES)
        return PageBatch(offset, block.name, pfns, None, named=True)

    def _runs(self, flags: int) -> Iterator[PageBatch]:
        """Take a stretch of page records of the current block."""
        base, block = self._source.position, self._same_block(self._source.position)
        need = ZERO_RECORD_BYTES if flags == ZERO_WORD else RECORD_HEADER_BYTES + block.page_bytes
        view = self._source.window(need)
        if len(view) < need:
            raise self._source.truncated(RAM_SECTION, f"a record of {need} bytes", len(view))
        found = scan(view, block.page_bytes)
        self._source.advance(found.end)
        if isinstance(found, Mixture):
            yield from self._mixture(found, block, base)
            return
        pfns = found.pfns()
        self._check(pfns, block, base, need)
        if (bad := found.bad_fill()) is not None:
            raise _bad_fill(base + bad * need)
        yield PageBatch(base, block.name, pfns, None if found.zero else found.pages())

    def _mixture(self, found: Mixture, block: BlockInfo, base: int) -> Iterator[PageBatch]:
        """Yield records of both forms, put together by form where the order may change."""
        pfns, zero, size = found.pfns(), found.zero, block.page_bytes
        self._check(pfns, block, base + found.starts)
        if (bad := found.bad_fill()) is not None:
            raise _bad_fill(base + bad)
        if self._keep_order or not (pfns[1:] > pfns[:-1]).all():
            yield from self._in_order(found, pfns, block, base)
            return
        zeros, normal = found.starts[zero], found.starts[~zero]
        if zeros.size:
            yield PageBatch(base + int(zeros[0]), block.name, pfns[zero], None)
        if normal.size:
            around = np.frombuffer(found.buffer, np.uint8)
            pages = ScatteredPages(around, normal + RECORD_HEADER_BYTES, size)
            yield PageBatch(base + int(normal[0]), block.name, pfns[~zero], pages)

    @staticmethod
    def _in_order(
        found: Mixture, pfns: NDArray[np.int64], block: BlockInfo, base: int
    ) -> Iterator[PageBatch]:
        edges = np.flatnonzero(np.diff(found.zero)) + 1
        for first, last in zip([0, *edges], [*edges, pfns.size], strict=True):
            start, count = int(found.starts[first]), int(last - first)
            data = None
            if not found.zero[first]:
                data = strided_pages(found.buffer, start, count, block.page_bytes)
            yield PageBatch(base + start, block.name, pfns[first:last], data)

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
