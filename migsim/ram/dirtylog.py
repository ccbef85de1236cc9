"""The dirty log: what the accelerator records, and when it forgets.

The rules are those of KVM with manual protection, which QEMU 10.0 uses (spec lifecycle.md section
6): reading the log does not clear it; each chunk of it is cleared later, when the first page of
the chunk is about to be sent, and then only of the pages that the last reading reported.  A write
to a reported page before that moment leaves no trace, which is right, since the page is still to
be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .bitmap import WORD_BITS, DirtyBitmap, merge_words, subtract_words
from .pages import runs

if TYPE_CHECKING:
    import numpy.typing as npt

CLEAR_BITMAP_SHIFT = 18
"""Default of ``x-clear-bitmap-shift``: a chunk is 2^18 pages, 1 GiB (QEMU 10.0)."""
_MIN_SHIFT = 6


class DirtyLog:
    """The log of page writes of one RAM block.

    It takes no memory until `start`.  Under an accelerator that forgets at once (TCG), call
    ``clear_chunks(0, pages - 1)`` right after `sync`.

    Attributes:
        pages: number of pages that are logged.
        chunk_shift: a chunk of lazy clearing is 2^chunk_shift pages; at least 6.
    """

    def __init__(self, pages: int, chunk_shift: int = CLEAR_BITMAP_SHIFT) -> None:
        if chunk_shift < _MIN_SHIFT:
            raise ValueError(f"chunk_shift {chunk_shift}: at least {_MIN_SHIFT}")
        self.pages = pages
        self.chunk_shift = chunk_shift
        self._log: DirtyBitmap | None = None
        self._reported: DirtyBitmap | None = None
        # A superset of the chunks that have bits in the log, and those that wait for a clear.
        self._touched: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._pending: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)

    @property
    def active(self) -> bool:
        """Whether writes are being recorded."""
        return self._log is not None

    def start(self, *, initially_set: bool = False) -> None:
        """Begin to record, with an empty log, or with every page in it when ``initially_set``.

        KVM as QEMU 10.0 configures it starts with every page set: a page then counts as written
        anew only after the chunk around it was cleared for the first time.  A start while active
        starts over.
        """
        chunks = -(-self.pages // (1 << self.chunk_shift))
        self._log = DirtyBitmap(self.pages)
        self._reported = DirtyBitmap(self.pages)
        self._touched = np.full(chunks, initially_set)
        self._pending = np.zeros(chunks, np.bool_)
        if initially_set:
            self._log.set_all()

    def stop(self) -> None:
        """Stop recording and forget everything."""
        self._log = self._reported = None
        self._touched = self._pending = np.zeros(0, np.bool_)

    def mark_pfns(self, pfns: npt.NDArray[np.int64]) -> None:
        """Record writes to ``pfns`` (int64, any order, repeats allowed); nothing when inactive.

        Raises:
            IndexError: a page is outside the block.
        """
        if self._log is not None and pfns.size:
            self._log.set_pfns(pfns)
            self._touch(int(pfns.min()), int(pfns.max()))

    def mark_range(self, lo: int, hi: int) -> None:
        """Record writes to pages ``lo`` to ``hi - 1``; nothing when inactive.

        Raises:
            IndexError: the range is not inside the block.
        """
        if self._log is not None and lo < hi:
            self._log.set_range(lo, hi)
            self._touch(lo, hi - 1)

    def sync(self, into: DirtyBitmap) -> int:
        """OR the log into ``into`` and return how many bits were new there.

        The log keeps its bits; every chunk now waits for its clear.  Returns 0 when inactive.

        Raises:
            ValueError: ``into`` is of another number of pages.
        """
        if into.pages != self.pages:
            raise ValueError(f"a log of {self.pages} pages into a bitmap of {into.pages}")
        if self._log is None or self._reported is None:
            return 0
        new = 0
        for part in self._word_runs(self._touched):
            new += merge_words(into.words[part], self._log.words[part], self._reported.words[part])
        # A chunk without bits has nothing to clear, and its part of the reported bits is stale.
        self._pending[:] = self._touched
        return new

    def peek(self, into: DirtyBitmap) -> None:
        """OR the log into ``into`` and change nothing else, so that nobody notices.

        Raises:
            ValueError: ``into`` is of another number of pages.
        """
        if self._log is not None:
            into.merge(self._log)

    def clear_chunks(self, first_pfn: int, last_pfn: int) -> None:
        """Clear the chunks of pages ``first_pfn`` to ``last_pfn`` that still wait for it.

        Bits that the last `sync` reported go; writes to other pages since then stay.  To be called
        before the first page of a chunk is read for sending.

        Raises:
            IndexError: the range is not inside the block.
        """
        if self._log is None or self._reported is None or first_pfn > last_pfn:
            return
        if first_pfn < 0 or last_pfn >= self.pages:
            raise IndexError(f"pages {first_pfn} to {last_pfn} of a log of {self.pages} pages")
        first, last = first_pfn >> self.chunk_shift, last_pfn >> self.chunk_shift
        if not self._pending[first : last + 1].any():
            return
        chosen = np.zeros_like(self._pending)
        chosen[first : last + 1] = self._pending[first : last + 1]
        for part in self._word_runs(chosen):
            subtract_words(self._log.words[part], self._reported.words[part])
        self._pending[first : last + 1] = False
        self._touched[chosen] = self._occupied(np.flatnonzero(chosen))

    def _touch(self, first_pfn: int, last_pfn: int) -> None:
        self._touched[first_pfn >> self.chunk_shift : (last_pfn >> self.chunk_shift) + 1] = True

    def _word_runs(self, chunks: npt.NDArray[np.bool_]) -> list[slice]:
        """Return the word slices of the runs of set ``chunks`` (bool, one a chunk)."""
        per_chunk = (1 << self.chunk_shift) // WORD_BITS
        starts, lengths = runs(chunks)
        return [
            slice(start * per_chunk, (start + length) * per_chunk)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]

    def _occupied(self, chunks: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of ``chunks`` (chunk numbers) have a bit in the log."""
        assert self._log is not None
        per_chunk = (1 << self.chunk_shift) // WORD_BITS
        return np.array(
            [bool(self._log.words[c * per_chunk : (c + 1) * per_chunk].max()) for c in chunks],
            np.bool_,
        )
