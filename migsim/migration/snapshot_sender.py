"""RAM as it was at one moment, saved while the guest writes on.

Every page is write protected at that moment.  The first write to a page that has not been saved
yet is held until the page is: its old content goes to the head of the queue.  QEMU makes the
processor wait for that; here the old content is copied, and the guest goes on (spec lifecycle.md
section 6, background-snapshot).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .ram_sender import BATCH_PAGES, RamSender
from .work import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..ram.bitmap import DirtyBitmap
    from ..ram.block import RAMBlock
    from ..stream.writer import StreamWriter


@dataclass(frozen=True, slots=True)
class _Kept:
    """Pages that the guest has written since, as they were: ``data`` is None without bytes."""

    block: RAMBlock
    pfns: NDArray[np.int64]
    zero: NDArray[np.bool_]
    data: NDArray[np.uint8] | None


class SnapshotSender(RamSender):
    """Sends RAM as it is when `protect` is called.

    There is no dirty log: what is written afterwards does not belong to the snapshot.
    """

    _queue: deque[_Kept]

    def begin(self) -> None:
        """Call every page unsaved; nothing is protected yet."""
        self._queue = deque()
        for bitmap in self._bitmaps:
            bitmap.set_all()
        self.dirty_pages = self.pages

    def protect(self) -> None:
        """Fix the content that is saved: that of this moment."""
        for block, bitmap in zip(self._blocks, self._bitmaps, strict=True):
            block.watch = _Protection(self, block, bitmap)

    def end(self) -> None:
        """Let the guest write freely."""
        for block in self._blocks:
            if isinstance(block.watch, _Protection) and block.watch.sender is self:
                block.watch = None
        self._queue = deque()

    def sync(self) -> int:
        """Return 0: nothing becomes dirty."""
        return 0

    def keep(self, block: RAMBlock, bitmap: DirtyBitmap, pfns: NDArray[np.int64]) -> None:
        """Put those of ``pfns`` that are not saved yet at the head of the queue."""
        unsaved = np.unique(pfns[bitmap.test(pfns)])
        if not unsaved.size:
            return
        bitmap.clear_pfns(unsaved)
        for first in range(0, unsaved.size, BATCH_PAGES):
            piece = unsaved[first : first + BATCH_PAGES]
            data = np.array(block.read(piece)) if block.backend.has_bytes else None
            self._queue.append(_Kept(block, piece, self._zero_mask(block, piece), data))

    def send(self, writer: StreamWriter, *, stop_above: int | None, max_pages: int) -> Work:
        """Send pages that the guest has written first, then others in scan order."""
        work = Work()
        while self._queue and work.normal_pages + work.zero_pages < max_pages:
            self._send_kept(writer, work, self._queue.popleft())
        if self._queue:
            return work
        left = max_pages - work.normal_pages - work.zero_pages
        rest = super().send(writer, stop_above=stop_above, max_pages=left)
        rest.normal_pages += work.normal_pages
        rest.zero_pages += work.zero_pages
        rest.bytes_out += work.bytes_out
        return rest

    def _send_kept(self, writer: StreamWriter, work: Work, kept: _Kept) -> None:
        before = writer.accounted
        writer.pages(kept.block.name, kept.pfns, kept.data, kept.zero)
        zeros = int(np.count_nonzero(kept.zero))
        self.dirty_pages -= kept.pfns.size
        work.zero_pages += zeros
        work.normal_pages += kept.pfns.size - zeros
        work.bytes_out += writer.accounted - before


@dataclass(frozen=True, slots=True)
class _Protection:
    """The write protection of one block."""

    sender: SnapshotSender
    block: RAMBlock
    unsaved: DirtyBitmap

    def about_to_write(self, pfns: NDArray[np.int64]) -> None:
        """Keep what is about to be overwritten."""
        self.sender.keep(self.block, self.unsaved, pfns)
