"""The sending side of RAM: which pages are dirty, and the scan that sends them.

The scan goes through the blocks in announcement order and on from where it stopped; it wraps
around at the end (spec stream.md section 8.3).  Dirty-log chunks are cleared when the scan first
touches them in a pass, not when the log is fetched (spec lifecycle.md section 6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ChannelError
from ..ram.backends import PhantomBackend
from ..ram.bitmap import DirtyBitmap
from ..ram.block import HOLE_PAGES
from ..ram.dirtylog import CLEAR_BITMAP_SHIFT
from ..stream.ram_records import PAGE_RECORD_BYTES
from ..stream.wire import ZERO_RECORD_BYTES
from .work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..ram.block import RAMBlock
    from ..stream.writer import StreamWriter

BATCH_PAGES = 4096
"""Pages looked at together: 16 MiB, enough for two threads to share."""
BATCH_PAGES_COUNTED = 1 << 18
"""Pages planned at once when only bitmaps exist and nothing is packed."""
SPARE_PAGES = 64
"""Candidates beyond what the budget holds, as sending stops one flush late."""


class RamSender:
    """Dirty bitmaps and send position of one outgoing migration.

    Attributes:
        dirty_pages: pages that have to be sent, by the bitmaps.
        total_bytes: RAM that this migration copies, in bytes.
    """

    def __init__(
        self,
        blocks: Sequence[RAMBlock],
        *,
        detect_zero: bool,
        chunk_shift: int = CLEAR_BITMAP_SHIFT,
    ) -> None:
        self._blocks = list(blocks)
        self._bitmaps = [DirtyBitmap(block.pages) for block in blocks]
        self._detect_zero = detect_zero
        self._chunk_shift = chunk_shift
        self._block_index = 0
        self._pfn = 0
        self._asked: deque[tuple[int, NDArray[np.int64]]] = deque()
        self.dirty_pages = 0
        self.total_bytes = sum(block.used_bytes for block in blocks)

    @property
    def pages(self) -> int:
        """Pages of all copied blocks."""
        return sum(block.pages for block in self._blocks)

    def pending(self, block: RAMBlock) -> DirtyBitmap | None:
        """Return the pages of ``block`` to be sent, writes that no sync has seen yet included.

        None for a block that this migration does not copy.
        """
        if block not in self._blocks:
            return None
        dirty = self._bitmaps[self._blocks.index(block)].copy()
        block.log.peek(dirty)
        return dirty

    def begin(self) -> None:
        """Call every page dirty and start the dirty logs.

        A log begins with all pages in it, as the accelerator's does: what is written before the
        scan first reaches a chunk is not found dirty again (spec lifecycle.md section 6).
        """
        for block, bitmap in zip(self._blocks, self._bitmaps, strict=True):
            bitmap.set_all()
            block.log.chunk_shift = self._chunk_shift
            block.log.start(initially_set=True)
        self.dirty_pages = self.pages

    def end(self) -> None:
        """Stop the dirty logs; nothing happens to a log that is not running."""
        for block in self._blocks:
            block.log.stop()

    def sync(self) -> int:
        """Fetch the dirty logs; return how many pages are dirty that were not before."""
        new = 0
        for block, bitmap in zip(self._blocks, self._bitmaps, strict=True):
            new += block.log.sync(bitmap)
        self.dirty_pages += new
        return new

    def send(self, writer: StreamWriter, *, stop_above: int | None, max_pages: int) -> Work:
        """Send dirty pages in scan order and return what was sent.

        Args:
            writer: takes the records; its ``out`` counts the bytes that have left.
            stop_above: no page goes out once more bytes than this have left; None for no limit.
            max_pages: at most this many pages.
        """
        work = Work()
        with writer.lasting_pages():
            while self.dirty_pages and max_pages > 0:
                room = None if stop_above is None else stop_above - writer.transferred
                if room is not None and room < 0:
                    return work
                max_pages -= self._send_batch(writer, work, room, max_pages)
        if not self.dirty_pages and (stop_above is None or writer.transferred <= stop_above):
            # The search that finds nothing has gone all the way round.
            writer.wrapped()
        return work

    # Postcopy.

    @property
    def asked_for(self) -> bool:
        """Whether the target waits for pages."""
        return bool(self._asked)

    def ask_for(self, name: str, pfns: NDArray[np.int64]) -> None:
        """Send these pages next; those that are not dirty are on their way already.

        Raises:
            ChannelError: no such block or page is being sent.
        """
        index = self._index(name)
        if index is None or not pfns.size or pfns[-1] >= self._blocks[index].pages:
            raise ChannelError("return path", "read", f"a page that {name!r} does not have")
        self._asked.append((index, pfns))

    def forget_asked(self) -> None:
        """Forget what was asked for: the channel is lost."""
        self._asked.clear()

    def send_asked(self, writer: StreamWriter) -> Work:
        """Send what was asked for, in the order of asking; the scan goes on behind the last."""
        work = Work()
        while self._asked:
            index, pfns = self._asked.popleft()
            wanted = pfns[self._bitmaps[index].test(pfns)]
            if wanted.size:
                self._send_these(writer, work, index, wanted)
        return work

    def _send_these(
        self, writer: StreamWriter, work: Work, index: int, pfns: NDArray[np.int64]
    ) -> None:
        block, bitmap = self._blocks[index], self._bitmaps[index]
        zero, data = self._zero_mask(block, pfns), block.read(pfns)
        before = writer.accounted
        writer.pages(block.name, pfns, data, zero)
        bitmap.clear_pfns(pfns)
        self._block_index, self._pfn = index, int(pfns[-1]) + 1
        self.dirty_pages -= pfns.size
        zeros = int(np.count_nonzero(zero))
        work.zero_pages += zeros
        work.normal_pages += pfns.size - zeros
        work.bytes_out += writer.accounted - before

    def dirty(self) -> Iterator[tuple[RAMBlock, NDArray[np.int64]]]:
        """Yield every block with its dirty pages, ascending."""
        for block, bitmap in zip(self._blocks, self._bitmaps, strict=True):
            yield block, bitmap.take(0, block.pages)

    def pages_of(self, name: str) -> int | None:
        """Return the number of pages of a block that is sent, None for any other."""
        index = self._index(name)
        return None if index is None else self._blocks[index].pages

    def replace_dirty(self, name: str, dirty: DirtyBitmap) -> None:
        """Have exactly these pages of a block be sent."""
        index = self._index(name)
        assert index is not None
        self.dirty_pages += dirty.count() - self._bitmaps[index].count()
        self._bitmaps[index] = dirty

    def _index(self, name: str) -> int | None:
        return next((i for i, block in enumerate(self._blocks) if block.name == name), None)

    def _send_batch(
        self, writer: StreamWriter, work: Work, room: int | None, max_pages: int
    ) -> int:
        """Send one batch out of the current block, or move on to the next block."""
        block, bitmap = self._blocks[self._block_index], self._bitmaps[self._block_index]
        pfns = None
        zero = self._one_kind(block, bitmap, room, max_pages)
        if zero is None:
            pfns, zero = self._candidates(block, bitmap, room, max_pages)
        if not zero.size:
            self._next_block(writer)
            return 0
        plan = writer.plan(block.name, zero, room)
        zero = zero[: plan.count]
        if pfns is None:
            first, after = bitmap.next_set(self._pfn), bitmap.reach(self._pfn, plan.count)[0]
        else:
            first, after = int(pfns[0]), int(pfns[plan.count - 1]) + 1
        block.log.clear_chunks(first, after - 1)
        bitmap.clear_range(first, after)
        # Where no bytes are written, only the number of pages is looked at.
        sent = np.broadcast_to(np.int64(first), plan.count) if pfns is None else pfns[: plan.count]
        data = block.read(sent) if block.backend.has_bytes else None
        before, beside, compact = _sent_so_far(writer)
        writer.pages(block.name, sent, data, zero, plan)
        self._pfn = after
        self.dirty_pages -= plan.count
        zeros = int(np.count_nonzero(zero))
        work.zero_pages += zeros
        after_bytes, after_beside, after_compact = _sent_so_far(writer)
        work.compact_pages += after_compact - compact
        work.normal_pages += plan.count - zeros - (after_compact - compact)
        work.side_bytes += after_beside - beside
        work.bytes_out += after_bytes - before
        return plan.count

    def _candidates(
        self, block: RAMBlock, bitmap: DirtyBitmap, room: int | None, max_pages: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the next dirty pages and which are zero; a hole of memory is not looked into."""
        first = bitmap.next_set(self._pfn)
        if self._detect_zero and block.backend.has_bytes and first < bitmap.pages:
            end = block.hole_end(first)
            if end > first:
                limit = self._limit(block, room, max_pages, ZERO_RECORD_BYTES, HOLE_PAGES)
                pfns = bitmap.take(first, limit, end)
                return pfns, np.ones(pfns.size, np.bool_)
        pfns = bitmap.take(first, self._limit(block, room, max_pages, PAGE_RECORD_BYTES))
        return pfns, self._zero_mask(block, pfns)

    def _limit(
        self,
        block: RAMBlock,
        room: int | None,
        max_pages: int,
        record_bytes: int,
        batch: int = BATCH_PAGES,
    ) -> int:
        """Return how many candidates are worth looking at."""
        limit = min(max_pages, batch if block.backend.has_bytes else BATCH_PAGES_COUNTED)
        return limit if room is None else min(limit, room // record_bytes + SPARE_PAGES)

    def _one_kind(
        self, block: RAMBlock, bitmap: DirtyBitmap, room: int | None, max_pages: int
    ) -> NDArray[np.bool_] | None:
        """Return the zero mask of the next candidates if they need not be looked at one by one.

        That is so where memory is only a bitmap and they are all zero, or none is: then their
        number says everything, and words are counted instead of pages being listed.
        """
        backend = block.backend
        if not isinstance(backend, PhantomBackend):
            return None
        first = bitmap.next_set(self._pfn)
        starts_zero = self._detect_zero and backend.nonzero.next_set(first) != first
        record_bytes = ZERO_RECORD_BYTES if starts_zero else PAGE_RECORD_BYTES
        after, count = bitmap.reach(first, self._limit(block, room, max_pages, record_bytes))
        if self._detect_zero:
            normal = bitmap.count_common(backend.nonzero, first, after)
            if normal != (0 if starts_zero else count):
                return None
        return np.full(count, starts_zero)

    def _zero_mask(self, block: RAMBlock, pfns: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not self._detect_zero:
            return np.zeros(pfns.size, dtype=bool)
        return block.zero_mask(pfns)

    def _next_block(self, writer: StreamWriter) -> None:
        self._block_index = (self._block_index + 1) % len(self._blocks)
        self._pfn = 0
        if not self._block_index:
            writer.wrapped()


def _sent_so_far(writer: StreamWriter) -> tuple[int, int, int]:
    """Return bytes on all channels, those beside the main one, and pages less than whole."""
    beside = writer.side_bytes
    return writer.accounted, beside, writer.compact_pages
