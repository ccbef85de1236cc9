"""The sender's memory of what the receiver has: QEMU's XBZRLE cache.

Source: spec lifecycle.md sections 4 and 6; which page stays and every counter were compared with
QEMU 10.0, pass by pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..units import PAGE_SIZE
from .xbzrle import OVERFLOW, Deltas, encode_deltas
from .xbzrle_records import DELTA_HEADER, Sent

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIFETIME_SYNCS = 2
"""Dirty syncs for which a page that was used keeps others out of its place."""

_NOBODY = -1


@dataclass(slots=True)
class XbzrleStats:
    """Counters of ``xbzrle-cache`` in query-migrate.

    Attributes:
        pages: pages found in the cache, also those whose delta was too long or empty.
        bytes: bytes of deltas with all but the first eight bytes of their records; 4096 for each
            delta that was too long.
        cache_miss: pages that were not found.
        overflow: pages whose delta was too long.
        cache_miss_rate: misses for each page sent in the last period.
        encoding_rate: bytes of pages for each byte of deltas in the last period, 0 without any.
    """

    pages: int = 0
    bytes: int = 0
    cache_miss: int = 0
    overflow: int = 0
    cache_miss_rate: float = 0.0
    encoding_rate: float = 0.0
    _before: tuple[int, int, int] = (0, 0, 0)

    def end_period(self, pages_sent: int, page_bytes: int = PAGE_SIZE) -> None:
        """Work out both rates for the time since the last call, in which pages were sent.

        ``pages_sent`` is at least 1: QEMU leaves the rates alone when it sent nothing.
        """
        pages, sent_bytes, misses = self._before
        self.cache_miss_rate = (self.cache_miss - misses) / pages_sent
        plain_bytes = (self.pages - pages) * page_bytes
        delta_bytes = self.bytes - sent_bytes
        self.encoding_rate = plain_bytes / delta_bytes if plain_bytes and delta_bytes else 0.0
        self._before = self.pages, self.bytes, self.cache_miss


@dataclass(frozen=True, slots=True, eq=False)
class SendPlan:
    """How some pages are to be sent.

    Attributes:
        kinds: shape (n,) uint8, a ``Sent`` for each page.
        deltas: those of the pages that are sent as one, in order.
    """

    kinds: NDArray[np.uint8]
    deltas: Deltas


class XbzrleCache:
    """Pages as they were sent last, each in the one place that its address allows.

    Memory is taken as places are used.  QEMU uses the cache from the second walk over RAM on, and
    not in postcopy; a cache of another size starts empty.

    Args:
        size_bytes: parameter ``xbzrle-cache-size``, a power of two of at least a page.
        page_bytes: target page size.

    Attributes:
        stats: the counters; a new cache may be given those of the one before.

    Raises:
        ConfigError: the size is none, or there is not enough memory.
    """

    def __init__(
        self, size_bytes: int, *, page_bytes: int = PAGE_SIZE, stats: XbzrleStats | None = None
    ) -> None:
        if size_bytes < page_bytes or size_bytes & (size_bytes - 1):
            reason = f"{size_bytes} is no power of two of at least a page"
            raise ConfigError("xbzrle-cache-size", reason)
        self.size_bytes = size_bytes
        self.stats = XbzrleStats() if stats is None else stats
        places = size_bytes // page_bytes
        try:
            self._owner = np.full(places, _NOBODY, np.int64)
            self._used_at = np.zeros(places, np.int64)
            self._pages = np.zeros((places, page_bytes), np.uint8)
        except (MemoryError, ValueError) as error:
            raise ConfigError("xbzrle-cache-size", f"no memory for {size_bytes} bytes") from error

    def send(
        self,
        ram_pfns: NDArray[np.int64],
        data: NDArray[np.uint8],
        zero_mask: NDArray[np.bool_],
        dirty_sync_count: int,
        *,
        last_stage: bool = False,
        name_bytes: int = 0,
    ) -> SendPlan:
        """Return how to send some pages, and remember that they were sent.

        Args:
            ram_pfns: shape (n,) int64, page numbers in the address space of all RAM blocks (the
                block's offset and the page's), each page once, in sending order.
            data: shape (n, page size) uint8; rows of zero pages are not looked at.
            zero_mask: shape (n,) bool, pages that are sent as zero pages.
            dirty_sync_count: syncs of the migration so far; the age of what is remembered.
            last_stage: the guest is stopped and this is the last pass: nothing new is remembered.
            name_bytes: bytes of the block's name field in the first record that is sent.

        Raises:
            ConfigError: a page occurs twice.
        """
        if np.unique(ram_pfns).size != ram_pfns.size:
            raise ConfigError("xbzrle", "a page occurs twice among those sent together")
        place = ram_pfns & (self._owner.size - 1)
        found, put = self._look_up(place, ram_pfns, zero_mask, dirty_sync_count, last_stage)
        deltas = encode_deltas(self._pages[place[found]], data[found])
        self._owner[place[put]] = ram_pfns[put]
        self._used_at[place[found | put]] = dirty_sync_count
        self._pages[place[put & zero_mask]] = 0
        self._pages[place[put & ~zero_mask & ~found]] = data[put & ~zero_mask & ~found]
        if not last_stage:
            changed = np.flatnonzero(found)[deltas.sizes != 0]
            self._pages[place[changed]] = data[changed]
        kinds = np.where(zero_mask, np.uint8(Sent.ZERO), np.uint8(Sent.PAGE))
        kinds[found] = np.select(
            [deltas.sizes == 0, deltas.sizes == OVERFLOW], [Sent.NOTHING, Sent.PAGE], Sent.DELTA
        )
        misses = kinds.size - int(np.count_nonzero(found | zero_mask))
        self._count(deltas.sizes, misses, kinds, name_bytes)
        return SendPlan(kinds, Deltas(deltas.data, deltas.sizes[deltas.sizes > 0]))

    def _look_up(
        self,
        place: NDArray[np.int64],
        ram_pfns: NDArray[np.int64],
        zero_mask: NDArray[np.bool_],
        dirty_sync_count: int,
        last_stage: bool,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which pages are found, and which are put (again) into their places.

        A place that was used lately belongs to its page.  Any other goes to the first page that
        wants it, and has been used lately from then on.
        """
        mine = self._owner[place] == ram_pfns
        free = (self._owner[place] == _NOBODY) | (
            self._used_at[place] + LIFETIME_SYNCS <= dirty_sync_count
        )
        wants = free & (mine | zero_mask | (not last_stage))
        candidates = np.flatnonzero(wants)
        _, first = np.unique(place[candidates], return_index=True)
        wins = np.zeros(place.size, np.bool_)
        wins[candidates[first]] = True
        found = mine & ~zero_mask & (~free | wins)
        return found, wins | (mine & ~free & zero_mask)

    def _count(
        self,
        sizes: NDArray[np.int64],
        misses: int,
        kinds: NDArray[np.uint8],
        name_bytes: int,
    ) -> None:
        stats = self.stats
        overflow = int(np.count_nonzero(sizes == OVERFLOW))
        encoded = sizes[sizes > 0]
        stats.pages += sizes.size
        stats.overflow += overflow
        stats.cache_miss += misses
        stats.bytes += overflow * self._pages.shape[1]
        stats.bytes += int(encoded.sum()) + encoded.size * DELTA_HEADER.size
        sent = kinds[kinds != Sent.NOTHING]
        if sent.size and sent[0] == Sent.DELTA:
            stats.bytes += name_bytes

    def query(self) -> dict[str, int | float]:
        """Return the member ``xbzrle-cache`` of query-migrate."""
        stats = self.stats
        return {
            "cache-size": self.size_bytes,
            "bytes": stats.bytes,
            "pages": stats.pages,
            "cache-miss": stats.cache_miss,
            "cache-miss-rate": stats.cache_miss_rate,
            "encoding-rate": stats.encoding_rate,
            "overflow": stats.overflow,
        }
