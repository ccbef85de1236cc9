"""The buffered output file of a migration: real bytes in large pieces, accounting as QEMU's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channel.base import Buffer, OverlappingChannel, RandomAccessChannel, SkippingChannel
from .flush import FlushState, PagePlan, plan_pages
from .pieces import PIECE_BYTES, Pieces
from .ram_records import name_field, records_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..channel.base import OutputChannel


class OutFile:
    """Takes everything that a migration writes, in order.

    Two things happen to each byte.  It goes to the channel, gathered into pieces of about a
    megabyte.  And it is accounted as QEMU would: ``transferred`` grows only when QEMU's own file
    object would write, which is what its rate limit and its statistics look at (spec lifecycle.md
    sections 5 and 6).  Device bytes and pages may be mixed freely; memory use is bounded.

    Raises:
        ChannelError: from any method, when the channel cannot take the bytes.
    """

    def __init__(self, channel: OutputChannel) -> None:
        self.channel = channel
        self._counter = channel if isinstance(channel, SkippingChannel) else None
        self._overlaps = isinstance(channel, OverlappingChannel) and channel.overlaps
        self._pieces = Pieces(channel)
        self._state = FlushState()
        self._transferred = 0

    @property
    def transferred(self) -> int:
        """Bytes that QEMU would have handed to the channel by now."""
        return self._transferred

    @property
    def queued(self) -> int:
        """Bytes put since, which QEMU would still hold back."""
        return self._state.queued_bytes

    @property
    def accounted(self) -> int:
        """Bytes put so far, whether QEMU would have handed them over by now or not."""
        return self._transferred + self._state.queued_bytes

    @property
    def state(self) -> FlushState:
        """What waits in QEMU's file object, for ``plan_pages``."""
        return self._state

    @property
    def position(self) -> int:
        """Byte offset in the channel's target where the next byte goes."""
        return self.channel.position + self._pieces.waiting_bytes

    def seek(self, position: int) -> None:
        """Go on at byte ``position`` of a target that can be placed at will; leaves a hole.

        As QEMU does, hands over what was put so far.
        """
        self.flush()
        if not isinstance(self.channel, RandomAccessChannel):
            raise TypeError("only a target of random access can be seeked")
        self.channel.seek(position)

    def count_placed(self, size_bytes: int) -> None:
        """Count bytes that were written to their places in the target, past this object.

        As QEMU does, hands over first what was put before.
        """
        if size_bytes:
            self.end_part()
        self._transferred += size_bytes

    def put(self, data: Buffer) -> None:
        """Write small bytes: headers, commands, device state."""
        view = memoryview(data).cast("B")
        self._account(view.nbytes)
        self._gather(view)

    def skip(self, size_bytes: int) -> None:
        """Account for small bytes that do not exist; only for a counting channel."""
        self._account(size_bytes)
        self._skip(size_bytes)

    def plan(
        self,
        block_name: str | None,
        zero_mask: NDArray[np.bool_],
        budget_bytes: int | None = None,
    ) -> PagePlan:
        """Return how many of these pages QEMU would send now; see ``plan_pages``."""
        return plan_pages(zero_mask, len(name_field(block_name)), self._state, budget_bytes)

    def put_pages(
        self,
        block_name: str | None,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Write the records of some pages of one block.

        Args:
            block_name: written into the first record; None when the page record before it in this
                stream was of the same block.
            pfns: shape (n,) int64, page numbers within the block, in sending order.
            data: shape (n, 4096) uint8, row i is page ``pfns[i]`` (rows of zero pages are not
                looked at), or None for a counting channel.
            zero_mask: shape (n,) bool, True where a zero record is written.
            plan: what ``plan`` returned for exactly these pages, to save working it out again.
        """
        if not pfns.size:
            return
        if data is None:
            self.skip_pages(block_name, zero_mask, plan)
            return
        self._account_pages(block_name, zero_mask, plan)
        self._pieces.put_pages(block_name, pfns, data, zero_mask)

    def skip_pages(
        self,
        block_name: str | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Account for records that do not exist; arguments as of `put_pages`.

        Only for a counting channel; which pages they are makes no difference.
        """
        self._account_pages(block_name, zero_mask, plan)
        self._skip(records_bytes(block_name, zero_mask))

    def put_records(
        self, block_name: str | None, small: NDArray[np.bool_], raw: NDArray[np.uint8]
    ) -> None:
        """Write records that are encoded already, of a page each.

        ``small`` says which of them are less than a page: those are counted as zero records, and
        what they are longer comes behind them.
        """
        self._account_pages(block_name, small, None)
        self._account(raw.size - records_bytes(block_name, small))
        self._gather(raw.data)

    def flush(self) -> None:
        """Hand everything to the channel, and wait until it has taken it."""
        self._hand_over()
        self.channel.flush()

    def end_part(self) -> None:
        """Hand everything to the channel, as at the end of each ram part and of setup.

        A channel that overlaps may still be writing then; what goes wrong is told later.
        """
        self._hand_over()
        if not self._overlaps:
            self.channel.flush()

    def _hand_over(self) -> None:
        self._transferred += self._state.queued_bytes
        self._state = FlushState()
        self._pieces.hand_over()

    def _gather(self, data: memoryview) -> None:
        """Put bytes behind the others, or write them at once where they are many."""
        if data.nbytes >= PIECE_BYTES:
            self._pieces.hand_over()
            self.channel.write(data)
        else:
            self._pieces.put(data)

    def _account(self, size_bytes: int) -> None:
        self._state, flushed = self._state.after_put(size_bytes)
        self._transferred += flushed

    def _account_pages(
        self, block_name: str | None, zero_mask: NDArray[np.bool_], plan: PagePlan | None
    ) -> None:
        if plan is None or plan.count != zero_mask.size:
            plan = self.plan(block_name, zero_mask)
        self._state = plan.state
        self._transferred += plan.flushed_bytes

    def _skip(self, size_bytes: int) -> None:
        self._pieces.hand_over()
        if self._counter is None:
            raise TypeError("bytes can only be left out of a channel that counts (skip)")
        self._counter.skip(size_bytes)
