"""Pages at their places in a file: page i of a block lies at a fixed offset, or nowhere yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..ram.bitmap import DirtyBitmap
from ..ram.pages import runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import OverlappingChannel, RandomAccessChannel

_PIECE_BYTES = 2 << 20
# From this mean length on, pages are written where they lie instead of being copied together.
_LONG_RUN = 8


class PlacedPages:
    """The pages of one block in a file.

    Args:
        channel: the file.
        offset: byte of the file at which page 0 has its place.
        pages: number of pages.
        page_bytes: bytes of a page.

    Attributes:
        stored: pages whose content is in the file; the others are zero.
        overlap: the channel, while contents stay as they are until it has settled; or None.

    Raises:
        ChannelError: from any method, when the file cannot be written or read.
    """

    def __init__(
        self, channel: RandomAccessChannel, offset: int, pages: int, page_bytes: int
    ) -> None:
        self._channel = channel
        self._offset = offset
        self._page_bytes = page_bytes
        self.stored = DirtyBitmap(pages)
        self.overlap: OverlappingChannel | None = None

    def write(self, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Store pages: ``pfns`` int64 of shape (n,), ``data`` uint8 of shape (n, page_bytes).

        Of a page that is named twice the last content stays.
        """
        most = max(1, _PIECE_BYTES // self._page_bytes)
        write_at = self.overlap.place if self.overlap else self._channel.write_at
        for begin in range(0, pfns.size, most):
            some = pfns[begin : begin + most]
            rows = np.ascontiguousarray(data[begin : begin + most])
            flat, size = rows.reshape(-1).data, self._page_bytes
            firsts, lasts = _edges(some)
            places = (some[firsts] * size + self._offset).tolist()
            for place, first, last in zip(
                places, (firsts * size).tolist(), (lasts * size).tolist(), strict=True
            ):
                write_at(place, flat[first:last])
        self.stored.set_pfns(pfns)

    def write_some(
        self, pfns: NDArray[np.int64], data: NDArray[np.uint8], chosen: NDArray[np.bool_]
    ) -> None:
        """Store the pages that ``chosen`` (bool, shape (n,)) says; long runs are not copied."""
        starts, lengths = runs(chosen)
        if starts.size * _LONG_RUN > pfns.size:
            self.write(pfns[chosen], data[chosen])
            return
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            self.write(pfns[start : start + length], data[start : start + length])

    def forget(self, pfns: NDArray[np.int64]) -> None:
        """Call pages zero; what lies in the file stays."""
        self.stored.clear_pfns(pfns)

    def erase(self, pfns: NDArray[np.int64]) -> None:
        """Make pages zero in the file as well; places where nothing was stored are left alone."""
        there = pfns[self.stored.test(pfns)]
        if there.size:
            self.write(there, np.zeros((there.size, self._page_bytes), np.uint8))
            self.stored.clear_pfns(there)

    def read(self, pfns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of pages, shape (n, page_bytes)."""
        rows = np.zeros((pfns.size, self._page_bytes), np.uint8)
        stored = np.flatnonzero(self.stored.test(pfns))
        for first, last in neighbours(pfns[stored]) if stored.size else ():
            count, place = last - first, self._offset + int(pfns[stored[first]]) * self._page_bytes
            room = np.empty((count, self._page_bytes), np.uint8)
            done, flat = 0, memoryview(room.reshape(-1).data)
            while done < len(flat):
                part = self._channel.read_at(place + done, flat[done:])
                if part == 0:
                    break
                done += part
            rows[stored[first:last]] = room
        return rows


def neighbours(pfns: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of indices whose page numbers follow each other, in order."""
    firsts, lasts = _edges(pfns)
    return zip(firsts.tolist(), lasts.tolist(), strict=True)


def _edges(pfns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where ranges of numbers that follow each other begin, and where they end."""
    edges = np.flatnonzero(pfns[1:] - pfns[:-1] != 1) + 1
    return np.concatenate(([0], edges)), np.concatenate((edges, [pfns.size]))
