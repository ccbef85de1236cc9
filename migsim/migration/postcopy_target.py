"""RAM of a target that runs ahead of it: what has arrived, and what the guest waits for.

Pages are written by whoever reads the stream; the guest's writes come from elsewhere, and never
touch a page before it has arrived.  The first one that it needs is asked for on the return path
(spec stream.md sections 7 and 9, QEMU 10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StateError
from ..ram.bitmap import DirtyBitmap
from ..stream.postcopy import encode_received, encode_request, encode_resume_ack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..ram.block import RAMBlock
    from ..stream.items import PageBatch
    from .answers import Replies


class PostcopyTarget:
    """What has arrived of every block, from the advice on.

    Attributes:
        running: the guest may run: pages that are not there are asked for.
    """

    def __init__(
        self, blocks: Iterable[RAMBlock], replies: Replies, wake: Callable[[], None]
    ) -> None:
        self._blocks = {block.name: block for block in blocks}
        self._received = {name: DirtyBitmap(block.pages) for name, block in self._blocks.items()}
        self._replies = replies
        self._wake = wake
        self._asked: set[tuple[str, int]] = set()
        self._waits_for: tuple[str, int] | None = None
        self.running = False

    def note(self, name: str, pfns: NDArray[np.int64]) -> None:
        """Note pages that have been written."""
        self._received[name].set_pfns(pfns)

    def forget(self, name: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Call pages missing again: they have been written anew at the source.

        Raises:
            IndexError: there are no such pages.
            KeyError: there is no such block.
        """
        received = self._received[name]
        for low, high in ranges:
            received.clear_range(low, high)

    def begin(self) -> None:
        """Let the guest run, as far as it gets."""
        for name, block in self._blocks.items():
            block.watch = _Gate(self, name, self._received[name])
        self.running = True

    def place(self, batch: PageBatch) -> None:
        """Write the pages that have not been there yet; the guest has changed others since."""
        block, received = self._blocks[batch.block], self._received[batch.block]
        new = ~received.test(batch.pfns)
        pfns, view = batch.pfns[new], block.view()
        data = batch.data
        view[pfns] = 0 if data is None else data[new]
        received.set_pfns(pfns)  # from here on the guest may go there
        waits_for = self._waits_for
        if waits_for is not None and self._received[waits_for[0]].test(_one(waits_for[1]))[0]:
            self._waits_for = None
            self._wake()

    def end(self) -> None:
        """Let the guest run freely: everything is there."""
        self.running = False
        for block in self._blocks.values():
            if isinstance(block.watch, _Gate):
                block.watch = None

    # Recovery

    def resume(self, replies: Replies) -> None:
        """Go on over a new channel; what was asked for over the old one may be lost."""
        self._replies = replies

    def tell_received(self, name: str) -> None:
        """Tell the source which pages of a block are here; KeyError when there is no such block."""
        self._replies.say(encode_received(name, self._received[name]))

    def acknowledge(self) -> None:
        """Tell the source that pages can come again, and ask anew."""
        self._asked.clear()
        self._replies.say(encode_resume_ack())

    # The guest

    def ask(self, name: str, pfn: int) -> None:
        """Ask for a page that the guest waits for, once."""
        self._waits_for = (name, pfn)
        if (name, pfn) not in self._asked:
            self._asked.add((name, pfn))
            self._replies.say(encode_request(name, pfn))


class _Gate:
    """Keeps the guest from pages of one block that are not there."""

    def __init__(self, target: PostcopyTarget, name: str, received: DirtyBitmap) -> None:
        self._target = target
        self._name = name
        self._received = received

    def about_to_write(self, pfns: NDArray[np.int64]) -> None:
        """Refuse what does not come from the guest and would be lost when the page arrives.

        Raises:
            StateError: one of the pages is missing.
        """
        missing = pfns[~self._received.test(pfns)]
        if missing.size:
            self._target.ask(self._name, int(missing[0]))
            raise StateError(f"page {missing[0]} of {self._name}", "missing", hint="it will arrive")

    def room_for(self, pfns: NDArray[np.int64]) -> int:
        """Return how many of these touches, in order, can be made; ask for the next page."""
        missing = np.flatnonzero(~self._received.test(pfns))
        if not missing.size:
            return int(pfns.size)
        first = int(missing[0])
        self._target.ask(self._name, int(pfns[first]))
        return first


def _one(pfn: int) -> NDArray[np.int64]:
    return np.array([pfn], np.int64)
