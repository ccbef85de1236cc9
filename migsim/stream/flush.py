"""When QEMU's output file hands bytes to the channel, worked out without moving any.

QEMU gathers output in pieces: small things (headers, zero records, device state) are copied into a
buffer of 32768 bytes, a page is referred to where it lies.  A small thing right behind another one
extends the same piece.  It writes when 64 pieces are there, when the buffer is full (whatever was
being put is split at that point), or when told to.  Only what was written counts as transferred,
and the rate limit looks at that number, so the steps of a migration follow from these rules
(spec lifecycle.md section 6, QEMU 10.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..units import PAGE_SIZE
from .wire import (
    IO_BUFFER_BYTES,
    IO_VECTOR_ENTRIES,
    RECORD_HEADER_BYTES,
    ZERO_RECORD_BYTES,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_PAGES = IO_VECTOR_ENTRIES // 2
_NO_BUDGET = 1 << 62


@dataclass(frozen=True, slots=True)
class FlushState:
    """What waits in QEMU's output file.

    Attributes:
        entries: pieces in the I/O vector, 0..63.
        buffered_bytes: small bytes in the buffer, 0..32767.
        pages: pages referred to.
        open_piece: the last piece is in the buffer, so that more small bytes extend it.
    """

    entries: int = 0
    buffered_bytes: int = 0
    pages: int = 0
    open_piece: bool = False

    @property
    def queued_bytes(self) -> int:
        """Bytes put but not yet handed to the channel."""
        return self.buffered_bytes + self.pages * PAGE_SIZE

    def after_put(self, size_bytes: int) -> tuple[FlushState, int]:
        """Return the state after ``size_bytes`` small bytes, and the bytes flushed meanwhile.

        Where the new piece is the 64th, it is flushed as soon as it has one byte, as the output
        behind a page always begins with a number put byte by byte.
        """
        if size_bytes <= 0:
            return self, 0
        state, flushed = self, 0
        if not state.open_piece:
            if state.entries == IO_VECTOR_ENTRIES - 1:
                rest, flushed = FlushState().after_put(size_bytes - 1)
                return rest, state.queued_bytes + 1 + flushed
            state = FlushState(state.entries + 1, state.buffered_bytes, state.pages, True)
        full, rest_bytes = divmod(state.buffered_bytes + size_bytes, IO_BUFFER_BYTES)
        if not full:
            return FlushState(state.entries, rest_bytes, state.pages, True), 0
        flushed = full * IO_BUFFER_BYTES + state.pages * PAGE_SIZE
        return _fresh(rest_bytes), flushed


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How far a run of page records gets.

    Attributes:
        count: pages that go out, from the first candidate on.
        flushed_bytes: bytes handed to the channel while they go out.
        state: what waits afterwards.
    """

    count: int
    flushed_bytes: int
    state: FlushState


def plan_pages(
    zero_mask: NDArray[np.bool_],
    name_bytes: int,
    state: FlushState,
    budget_bytes: int | None = None,
) -> PagePlan:
    """Return how many of the candidate pages QEMU sends before it sees its rate limit exceeded.

    The limit is looked at before each page and is exceeded when more than ``budget_bytes`` have
    been flushed since the call; None means no limit, a negative budget lets no page out.

    Args:
        zero_mask: shape (n,) bool, True where the candidate goes out as a zero record.
        name_bytes: bytes of length byte and block name in the first record, 0 when it continues
            the block of the record before.
        state: what waits in the output file now.
        budget_bytes: bytes that may still be flushed.

    Source: spec lifecycle.md sections 5 and 6 (checked against QEMU 10.0: 2101266 bytes a window at
    20 MiB/s, 3640 zero pages a window at 20000 bytes/s).
    """
    budget = _NO_BUDGET if budget_bytes is None else budget_bytes
    if not zero_mask.size or budget < 0:
        return PagePlan(0, 0, state)
    return _Walk(zero_mask, name_bytes, state, budget).run()


def _fresh(buffered_bytes: int) -> FlushState:
    """Return the state right after a flush that left ``buffered_bytes`` behind."""
    return FlushState(1, buffered_bytes, 0, True) if buffered_bytes else FlushState()


def _with_page(state: FlushState) -> FlushState:
    """Return the state after a page behind its header; never the 64th piece here."""
    return FlushState(state.entries + 1, state.buffered_bytes, state.pages + 1, False)


class _Walk:
    """One walk over the candidates, from flush to flush."""

    def __init__(
        self, zero_mask: NDArray[np.bool_], name_bytes: int, state: FlushState, budget: int
    ) -> None:
        # No page leaves less than nine bytes behind except a normal one, which leaves far more.
        most = (budget + 2 * IO_BUFFER_BYTES) // RECORD_HEADER_BYTES + 1
        self.end = min(zero_mask.size, most)
        zeros = int(np.count_nonzero(zero_mask[: self.end]))
        self.normals = self.end - zeros
        self.normal_at: NDArray[np.int64] | None = None  # only looked at when some are zero
        if zeros == self.end:
            self.normal_at = np.empty(0, np.int64)
        elif zeros:
            self.normal_at = np.flatnonzero(~zero_mask[: self.end])
        self.at = 0  # records done
        self.seen = 0  # normal pages among them
        self.name = name_bytes
        self.state = state
        self.budget = budget
        self.flushed = 0

    def run(self) -> PagePlan:
        """Walk until the budget is used up or the candidates are."""
        while self.at < self.end and self.flushed <= self.budget:
            if self.state.entries == 0 and self.name == 0:
                self._regular_batches()
                if self.at >= self.end or self.flushed > self.budget:
                    break
            if not self._next_flush():
                self._tail()
        return PagePlan(self.at, self.flushed, self.state)

    def _position(self, nth: int) -> int:
        """Return the record of the ``nth`` normal page from here (1 is the next), or the end."""
        index = self.seen + nth - 1
        if index >= self.normals:
            return self.end
        return index if self.normal_at is None else int(self.normal_at[index])

    def _normals_within(self, records: int) -> int:
        """Return how many of the next ``records`` records are normal pages."""
        if self.normal_at is None:
            return min(records, self.end - self.at)
        return int(np.searchsorted(self.normal_at, self.at + records)) - self.seen

    def _move(self, records: int, normals: int, flushed: int, state: FlushState) -> None:
        self.at += records
        self.seen += normals
        self.flushed += flushed
        self.state = state
        self.name = 0

    def _regular_batches(self) -> None:
        """Take every group of 32 normal pages (and the zero records between) that fits a flush."""
        batches = (self.normals - self.seen) // _BATCH_PAGES
        if not batches:
            return
        page_bytes = _BATCH_PAGES * PAGE_SIZE
        if self.normal_at is None:
            size = _BATCH_PAGES * RECORD_HEADER_BYTES + page_bytes
            taken = min(batches, (self.budget - self.flushed) // size + 1)
            self._move(taken * _BATCH_PAGES, taken * _BATCH_PAGES, taken * size, FlushState())
            return
        last = self.normal_at[self.seen + _BATCH_PAGES - 1 :: _BATCH_PAGES][:batches]
        records = np.diff(last, prepend=self.at - 1)
        small = records * ZERO_RECORD_BYTES - _BATCH_PAGES
        irregular = small >= IO_BUFFER_BYTES
        taken = int(irregular.argmax()) if irregular.any() else batches
        total = np.cumsum(small[:taken] + page_bytes)
        taken = min(taken, int(total.searchsorted(self.budget - self.flushed, "right")) + 1)
        if taken:
            done = int(last[taken - 1]) + 1 - self.at
            self._move(done, taken * _BATCH_PAGES, int(total[taken - 1]), FlushState())

    def _next_flush(self) -> bool:
        """Go through the record that causes the next flush; False when none does."""
        state = self.state
        free = IO_VECTOR_ENTRIES - state.entries + (1 if state.open_piece else 0)
        normals = free // 2
        by_page = free % 2 == 0  # the 64th piece is a page, not the header behind one
        if by_page:
            records = self._position(normals) + 1 - self.at
        else:
            records = self._position(normals) + 1 - self.at if normals else 0
        reached = self.at + records + (0 if by_page else 1) <= self.end
        if not reached:
            records, normals = self.end - self.at, self.normals - self.seen
        small = state.buffered_bytes + records * ZERO_RECORD_BYTES - normals
        small += self.name if records else 0
        if small >= IO_BUFFER_BYTES:
            self._flush_by_buffer()
            return True
        if not reached:
            return False
        flushed = small + (state.pages + normals) * PAGE_SIZE
        if by_page:
            self._move(records, normals, flushed, FlushState())
        else:
            self._flush_by_header(records, normals, flushed)
        return True

    def _flush_by_header(self, records: int, normals: int, flushed: int) -> None:
        """Take the record whose first byte is the 64th piece, and those before it."""
        normal = self._position(normals + 1) == self.at + records
        header = RECORD_HEADER_BYTES if normal else ZERO_RECORD_BYTES
        left = _fresh(header + (0 if records else self.name) - 1)
        state = _with_page(left) if normal else left
        self._move(records + 1, normals + normal, flushed + 1, state)

    def _flush_by_buffer(self) -> None:
        """Take the records up to the one in which the buffer gets full."""
        pages = self.state.pages
        before = self.state.buffered_bytes + self.name
        zeros = self._position(1) - self.at
        full = (before + zeros * ZERO_RECORD_BYTES) // IO_BUFFER_BYTES
        if zeros and full:
            first = IO_BUFFER_BYTES + pages * PAGE_SIZE
            over = self.budget - self.flushed - first
            full = min(full, 1 + (over // IO_BUFFER_BYTES + 1 if over >= 0 else 0))
            records = max(1, -(-(full * IO_BUFFER_BYTES - before) // ZERO_RECORD_BYTES))
            left = before + records * ZERO_RECORD_BYTES - full * IO_BUFFER_BYTES
            self._move(records, 0, full * IO_BUFFER_BYTES + pages * PAGE_SIZE, _fresh(left))
            return
        records, normals = self._records_to_fill(IO_BUFFER_BYTES - before)
        left = before + records * ZERO_RECORD_BYTES - normals - IO_BUFFER_BYTES
        last_normal = self._position(normals) == self.at + records - 1 if normals else False
        flushed = IO_BUFFER_BYTES + (pages + normals - last_normal) * PAGE_SIZE
        state = _with_page(_fresh(left)) if last_normal else _fresh(left)
        self._move(records, normals, flushed, state)

    def _records_to_fill(self, need_bytes: int) -> tuple[int, int]:
        """Return the records that bring ``need_bytes`` small bytes, and the normal pages in them.

        Climbs from below: the bytes grow with every record, so the first fixed point is the answer.
        """
        records, normals = 1, self._normals_within(1)
        while True:
            wanted = max(1, -(-(need_bytes + normals) // ZERO_RECORD_BYTES))
            if wanted <= records:
                return records, normals
            records = wanted
            normals = self._normals_within(records)

    def _tail(self) -> None:
        """Take the rest, which causes no flush."""
        state, records = self.state, self.end - self.at
        normals = self.normals - self.seen
        small = state.buffered_bytes + self.name + records * ZERO_RECORD_BYTES - normals
        entries = state.entries - (1 if state.open_piece else 0) + 2 * normals
        last = self._position(normals) if normals else self.at - 1
        open_piece = last < self.end - 1
        entries += 1 if open_piece else 0
        self._move(
            records, normals, 0, FlushState(entries, small, state.pages + normals, open_piece)
        )
