"""Reading a file ahead of its reader, in a thread of its own.

The kernel copies the next pieces of a file while those that came before are looked at.  The thread
has a descriptor of its own and touches nothing but its pieces, so nobody has to wait for it.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Final

import numpy as np

HEAD_BYTES: Final = 64 << 10
"""Room in front of a piece, for what is left of the one before."""
PIECE_BYTES: Final = 2 << 20
_PIECES: Final = 4


class ReadAhead:
    """The bytes of a file from a position on, piece after piece.

    A piece that was given back must not be looked at any more.

    Args:
        fd: the file; the descriptor may be closed afterwards.
        position: where to begin.

    Raises:
        OSError: the descriptor cannot be had twice.
    """

    def __init__(self, fd: int, position: int) -> None:
        self._fd = os.dup(fd)
        self._full: SimpleQueue[tuple[memoryview, int] | OSError] = SimpleQueue()
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        for _ in range(_PIECES):
            self._free.put(np.empty(HEAD_BYTES + PIECE_BYTES, np.uint8).data)
        arguments = (self._fd, position, self._free, self._full)
        # Holds no reference to this object, which may be forgotten before the file ends.
        self._thread = threading.Thread(target=_read, args=arguments, daemon=True)
        self._thread.start()

    def next(self) -> tuple[memoryview, int]:
        """Return the next piece, and the number of bytes behind its first `HEAD_BYTES`.

        No bytes are the end of the file; do not ask again.

        Raises:
            OSError: the file cannot be read.
        """
        piece = self._full.get()
        if isinstance(piece, OSError):
            raise piece
        return piece

    def give_back(self, piece: memoryview) -> None:
        """Let the next bytes be read into ``piece``."""
        self._free.put(piece)

    def stop(self) -> None:
        """Read no more; a second call does nothing."""
        if self._fd < 0:
            return
        self._free.put(None)
        self._thread.join()
        os.close(self._fd)
        self._fd = -1


def _read(
    fd: int,
    position: int,
    free: SimpleQueue[memoryview | None],
    full: SimpleQueue[tuple[memoryview, int] | OSError],
) -> None:
    while (piece := free.get()) is not None:
        try:
            count = os.preadv(fd, [piece[HEAD_BYTES:]], position)
        except OSError as error:
            full.put(error)
            return
        position += count
        full.put((piece, count))
        if not count:
            return
