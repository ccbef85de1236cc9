"""The guest of the migration test client: a loop that counts in the first byte of every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from migsim.ram.backends import PhantomBackend
from migsim.units import MIB, PAGE_SIZE

from .boot_program import LOAD_ADDR
from .workload import ConstantRate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from migsim.ram.block import RAMBlock

    from .boot_program import BootProgram

FIRST_PFN = MIB // PAGE_SIZE
"""First page that the guest counts in: 1 MiB."""
PAGES = 99 * MIB // PAGE_SIZE
"""Pages that it counts in, up to 100 MiB: 25344."""
PASSES_PER_B = 64
"""Counting passes over all pages after which it prints ``B``."""
_WORD = slice(4, 8)
_SLEPT = np.frombuffer((1).to_bytes(4, "little"), np.uint8)


class PageCounter(ConstantRate):
    """Adds 1 to the first byte of every page, ascending, pass after pass.

    At boot it prints ``A`` and sets the bytes to 0 in a pass of its own; after every 64th counting
    pass it prints ``B``.  The suspending variant falls asleep after the first ``B`` unless the
    32-bit word 4 bytes into the range is 1, and sets that word first; a wake-up boots it again.
    The rate is in page writes: 25344 of them are a pass.  With a ``program`` its boot sector is
    put where the firmware puts it when the guest boots.

    Source: spec frontend.md section 6, QEMU 10.0.2.
    """

    def __init__(
        self,
        *,
        rate_pages_per_s: float,
        first: int = FIRST_PFN,
        pages: int = PAGES,
        suspends: bool = False,
        program: BootProgram | None = None,
    ) -> None:
        super().__init__(first, first + pages - 1, rate_pages_per_s)
        self.program = program
        self.suspends = suspends
        self._asleep = False
        self._slept = False
        self._serial = b""

    @property
    def asleep(self) -> bool:
        """Whether the guest has put itself to sleep."""
        return self._asleep

    def wakeup(self) -> None:
        """Boot again; only the memory remembers that the guest has slept."""
        self._asleep = False
        self._position = 0

    def stay_asleep(self) -> None:
        """Sleep on, if this is where it falls asleep; elsewhere somebody else suspended it."""
        if self.suspends and self._position == (PASSES_PER_B + 1) * self.pages:
            self._asleep = self._slept = True

    def position_in(self, block: RAMBlock) -> int:
        """Return the position at which the memory of ``block`` is, its own if that fits.

        The program of a real machine leaves its position in memory: pages up to some place were
        counted once more than the rest, and the count is the number of passes modulo 256.
        """
        number, low = divmod(self._position, self.pages)
        if number == 0 or not block.backend.has_bytes:
            return self._position
        counts = block.view()[self.first : self.first + self.pages, 0]
        if _is_at(counts, number, low):
            return self._position
        found = self.counted_position(block)
        return self._position if found is None else found

    def counted_position(self, block: RAMBlock) -> int | None:
        """Return the least position at which ``block`` has these counts, without the first pass.

        None where no position leaves them behind, or the memory has no bytes.
        """
        if not block.backend.has_bytes:
            return None
        counts = block.view()[self.first : self.first + self.pages, 0]
        differing = np.flatnonzero(counts != counts[0])
        low = int(differing[0]) if len(differing) else 0
        number = (int(counts[0]) or 256) if low else int(counts[0]) + 1
        return number * self.pages + low if _is_at(counts, number, low) else None

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes; it never sleeps this way."""
        start = self._position % self.pages
        self._position += count
        return self.first + np.arange(start, start + count, dtype=np.int64) % self.pages

    def looked_at(self, count: int) -> NDArray[np.int64]:
        """Return the page that says whether the guest has slept, where that is asked."""
        first_b = (PASSES_PER_B + 1) * self.pages
        asks = self.suspends and self._position < first_b <= self._position + count
        return np.full(int(asks), self.first, np.int64)

    def write(self, block: RAMBlock, count: int) -> int:
        """Do the next ``count`` writes to ``block``; return how many, fewer when it fell asleep."""
        begin = self._position
        if begin == 0 and count:
            self._serial += b"A"
            self._load_sector(block)
        first_b = (PASSES_PER_B + 1) * self.pages
        end = begin + count
        sleeps = self.suspends and begin < first_b <= end and not self._has_slept(block)
        if sleeps:
            end = first_b
        while self._position < end:
            self._stretch(block, end - self._position)
        self._serial += b"B" * (self._printed(end) - self._printed(begin))
        if sleeps:
            self._fall_asleep(block)
        return end - begin

    def take_serial(self) -> bytes:
        """Return what the guest has printed since the last call."""
        printed, self._serial = self._serial, b""
        return printed

    def get_state(self) -> dict[str, int]:
        """Return what must travel: position, and whether the guest sleeps or has slept."""
        return super().get_state() | {"asleep": int(self._asleep), "slept": int(self._slept)}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on from ``state``; nothing that was printed before is printed again."""
        super().set_state(state)
        self._asleep, self._slept = bool(state.get("asleep")), bool(state.get("slept"))
        self._serial = b""

    def _printed(self, position: int) -> int:
        return max(position // self.pages - 1, 0) // PASSES_PER_B

    def _stretch(self, block: RAMBlock, count: int) -> None:
        """Do at most ``count`` writes: part of one pass, or several whole counting passes."""
        number, low = divmod(self._position, self.pages)
        passes = count // self.pages if low == 0 and number > 0 else 0
        high = self.pages if passes else min(self.pages, low + count)
        passes = max(passes, 1)
        self._count(block, self.first + low, self.first + high, number, number + passes - 1)
        self._position += (high - low) * passes

    def _count(self, block: RAMBlock, low: int, high: int, number: int, last: int) -> None:
        """Do the passes ``number`` to ``last`` over pages ``low`` to ``high - 1``."""
        block.about_to_write_range(low, high)
        block.log.mark_range(low, high)
        backend = block.backend
        if isinstance(backend, PhantomBackend):
            # Without bytes the count is known from the pass: at 0 the page is zero again.
            keep = int(self._slept and low == self.first)
            if last % 256:
                backend.nonzero.set_range(low, high)
            else:
                backend.nonzero.clear_range(low + keep, high)
            return
        counters = block.view()[low:high, 0]
        if number == 0:
            counters[:] = 0
        else:
            counters += np.uint8((last - number + 1) % 256)

    def _load_sector(self, block: RAMBlock) -> None:
        if self.program is None or not block.backend.has_bytes:
            return
        pfn, start = divmod(LOAD_ADDR, PAGE_SIZE)
        image = np.frombuffer(self.program.image, np.uint8)
        block.view()[pfn, start : start + image.size] = image
        block.log.mark_range(pfn, pfn + 1)

    def _has_slept(self, block: RAMBlock) -> bool:
        if not block.backend.has_bytes:
            return self._slept
        return bool((block.view()[self.first, _WORD] == _SLEPT).all())

    def _fall_asleep(self, block: RAMBlock) -> None:
        self._asleep = self._slept = True
        block.about_to_write_range(self.first, self.first + 1)
        block.log.mark_range(self.first, self.first + 1)
        if block.backend.has_bytes:
            block.view()[self.first, _WORD] = _SLEPT
        elif isinstance(block.backend, PhantomBackend):
            block.backend.nonzero.set_range(self.first, self.first + 1)


def _is_at(counts: NDArray[np.uint8], number: int, low: int) -> bool:
    """Return whether these are the counts when pass ``number`` has come to page ``low``."""
    behind = (number - 1) % 256
    ahead = np.uint8(number % 256)
    return bool((counts[:low] == ahead).all() and (counts[low:] == behind).all())
