"""The guest of the migration test client: a loop that counts in the first byte of every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from migsim.units import MIB, PAGE_SIZE

from .workload import ConstantRate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from migsim.ram.block import RAMBlock

FIRST_PFN = MIB // PAGE_SIZE
"""First page that the guest counts in: 1 MiB."""
PAGES = 99 * MIB // PAGE_SIZE
"""Pages that it counts in, up to 100 MiB: 25344."""
PASSES_PER_B = 64
"""Passes over all pages after which it prints ``B``."""


class PageCounter(ConstantRate):
    """Adds 1 to the first byte of every page, ascending, pass after pass.

    At boot it prints ``A``, then sets the bytes to 0 in a pass of its own; after every 64th
    counting pass it prints ``B``.  The suspending variant goes to sleep after the first ``B``
    unless the 32-bit word 4 bytes into the range is 1, and sets that word first; ``wakeup`` boots
    it again.  Source: spec frontend.md section 6, QEMU 10.0.2.
    """

    def __init__(
        self,
        *,
        rate_pages_per_s: float,
        first: int = FIRST_PFN,
        pages: int = PAGES,
        suspends: bool = False,
    ) -> None:
        super().__init__(first, first + pages - 1, rate_pages_per_s)
        self.suspends = suspends

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes."""
        raise NotImplementedError

    def write(self, block: RAMBlock, count: int) -> None:
        """Do the next ``count`` writes to ``block``: clear in the first pass, count after it."""
        raise NotImplementedError
