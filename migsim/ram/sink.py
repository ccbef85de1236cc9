"""Where the content of loaded pages goes: memory that is written while the next is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..behind import LENT_BYTES, WriteBehind
from ..threads import thread_count

if TYPE_CHECKING:
    import numpy.typing as npt

    from .block import RAMBlock

# Fewer pages are copied at once: waking a thread costs more.
_FEW_PAGES = 64


class PageSink:
    """Puts runs of pages into the memory of a block, by a second thread where that is of use.

    Raises:
        ConfigError: from `write` and `settle`, when the file behind the memory cannot take them.
    """

    def __init__(self, block: RAMBlock) -> None:
        self._block = block
        self._behind: WriteBehind | None = None
        self._room: memoryview | None = None

    def write(self, first: int, data: npt.NDArray[np.uint8]) -> None:
        """Give the pages from ``first`` on the content ``data``, uint8 of shape (n, page_size)."""
        if len(data) < _FEW_PAGES:
            self.settle()
            self._block.view()[first : first + len(data)] = data
            return
        if self._behind is None and thread_count() > 1:
            self._behind = WriteBehind(self._block.backend.store)
        size = self._block.page_size
        most = LENT_BYTES // size
        for at in range(0, len(data), most):
            rows = data[at : at + most]
            room = self._behind.lend() if self._behind else self._own_room()
            packed = np.frombuffer(room, np.uint8)[: rows.size].reshape(rows.shape)
            packed[:] = rows
            place = (first + at) * size
            if self._behind:
                self._behind.give(place, room, rows.size)
            else:
                self._block.backend.store(place, room[: rows.size])

    def settle(self) -> None:
        """Wait until everything is in memory."""
        if self._behind is not None:
            self._behind.settle()

    def stop(self) -> None:
        """Wait, forget what went wrong, and let go of thread and buffers."""
        behind, self._behind, self._room = self._behind, None, None
        if behind is not None:
            behind.abandon()

    def _own_room(self) -> memoryview:
        if self._room is None:
            self._room = memoryview(bytearray(LENT_BYTES))
        return self._room
