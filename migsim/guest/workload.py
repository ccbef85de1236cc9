"""What a workload is: which pages a guest writes, in which order, and when.

A workload is an endless list of page writes.  Its whole state is its *position*, the number of
writes taken so far; that number travels with a migrated guest and ``seek`` goes there at once.
Guest time is counted in whole picoseconds, so that a span of time can be cut into pieces and
put together again without loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from migsim.clock import PS_PER_S
from migsim.errors import ConfigError
from migsim.ram.backends import PhantomBackend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from migsim.ram.block import RAMBlock

_WRITES_AT_ONCE = 1 << 20


class Workload(ABC):
    """An endless list of page writes and the times at which they happen."""

    @property
    @abstractmethod
    def rate_pages_per_s(self) -> float:
        """Page writes per second of guest time; the mean where it varies."""

    @property
    @abstractmethod
    def last_pfn(self) -> int:
        """Highest page number that is ever written, -1 when none is."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Number of writes taken since the guest booted."""

    @abstractmethod
    def due(self, time_ps: int) -> int:
        """Return how many writes have happened by guest time ``time_ps`` (picoseconds)."""

    @abstractmethod
    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes, in order, int64.

        Taking ``a`` and then ``b`` gives what taking ``a + b`` at once gives.  The array may be
        shared and must not be changed.
        """

    @abstractmethod
    def seek(self, position: int) -> None:
        """Go to the write number ``position``, as if that many had been taken since boot."""

    def write(self, block: RAMBlock, count: int) -> int:
        """Do the next ``count`` writes to ``block`` and note them in its dirty log.

        The first 8 bytes of a written page become the number of that write, counted from 1,
        little-endian; the last write to a page wins.  Returns how many writes were done, fewer
        than ``count`` only when the guest put itself to sleep.
        """
        left = count
        while left > 0:
            part = min(left, _WRITES_AT_ONCE)
            first = self.position + 1
            write_stamps(block, self.take(part), first)
            left -= part
        return count

    def looked_at(self, count: int) -> NDArray[np.int64]:
        """Return the pages that the next ``count`` writes depend on, beside those they go to."""
        return np.zeros(0, np.int64)

    @property
    def asleep(self) -> bool:
        """Whether the guest has put itself to sleep; then it writes nothing until ``wakeup``."""
        return False

    def wakeup(self) -> None:
        """Boot again after sleeping."""
        self.seek(0)

    def position_in(self, block: RAMBlock) -> int:
        """Return the position at which the memory of ``block``, which was loaded, is.

        Only a workload that can be recognised in memory that another program wrote looks at it.
        """
        del block
        return self.position

    def stay_asleep(self) -> None:
        """Told after a load, at the position it was saved at, that the guest is suspended.

        Only a workload that puts itself to sleep has anything to do.
        """
        return

    def take_serial(self) -> bytes:
        """Return what the guest has printed since the last call."""
        return b""

    def get_state(self) -> dict[str, int]:
        """Return what must travel with a migration, whole numbers below 2^64 by name."""
        return {"position": self.position}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on from what ``get_state`` of an equal workload returned."""
        self.seek(state["position"])


def write_stamps(block: RAMBlock, pfns: NDArray[np.int64], first: int) -> None:
    """Write the numbers ``first``, ``first + 1``, ... to the pages ``pfns`` of ``block``.

    Each takes the first 8 bytes of its page, little-endian.  The dirty log sees every page; a
    backend without bytes only learns that the pages are no longer zero.
    """
    backend = block.backend
    block.about_to_write(pfns)
    if isinstance(backend, PhantomBackend):
        backend.nonzero.set_pfns(pfns)
    else:
        stamps = block.view().view("<u8")[:, 0]
        # With repeated indices the last assignment stays, as the last write would.
        stamps[pfns] = np.arange(first, first + pfns.size, dtype="<u8")
    block.log.mark_pfns(pfns)


def write_stamped_range(block: RAMBlock, low: int, count: int, first: int) -> None:
    """Write as ``write_stamps`` does, to the ``count`` pages from ``low`` on."""
    backend = block.backend
    block.about_to_write_range(low, low + count)
    if isinstance(backend, PhantomBackend):
        backend.nonzero.set_range(low, low + count)
    else:
        stamps = block.view().view("<u8")[:, 0]
        stamps[low : low + count] = np.arange(first, first + count, dtype="<u8")
    block.log.mark_range(low, low + count)


class ConstantRate(Workload):
    """A workload that writes evenly: after guest time t, ``floor(rate * t)`` writes are done.

    The rate is the decimal number that the float prints as (0.7 is seven tenths), the time a
    whole number of picoseconds, and the product is exact.

    Raises:
        ConfigError: a negative rate, one above a write a picosecond, or an empty range of pages.
    """

    def __init__(self, first: int, last: int, rate_pages_per_s: float) -> None:
        if not 0 <= first <= last:
            raise ConfigError("workload", f"pages {first} to {last} are no range")
        if not 0 <= rate_pages_per_s <= PS_PER_S:  # two writes at a time have no order
            raise ConfigError("workload", f"{rate_pages_per_s} page writes per second")
        self.first = first
        self.last = last
        self._rate = float(rate_pages_per_s)
        ratio = Fraction(repr(self._rate)) / PS_PER_S
        self._per_ps = (ratio.numerator, ratio.denominator)
        self._position = 0

    @property
    def rate_pages_per_s(self) -> float:
        """Page writes per second of guest time."""
        return self._rate

    @property
    def last_pfn(self) -> int:
        """Highest page number that is written."""
        return self.last

    @property
    def position(self) -> int:
        """Number of writes taken since the guest booted."""
        return self._position

    @property
    def pages(self) -> int:
        """Number of pages in the range ``first`` to ``last``, both included."""
        return self.last - self.first + 1

    def due(self, time_ps: int) -> int:
        """Return ``floor(rate * time)``, exactly."""
        numerator, denominator = self._per_ps
        return time_ps * numerator // denominator

    def seek(self, position: int) -> None:
        """Go to the write number ``position``."""
        if position < 0:
            raise ConfigError("workload", f"position {position} is negative")
        self._position = position
