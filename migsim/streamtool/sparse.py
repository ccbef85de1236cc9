"""A file that stays a hole where zeros are written."""

from __future__ import annotations

import ctypes
import os
import tempfile
from typing import TYPE_CHECKING, Final

import numpy as np

from ..channel.file import FileOutput
from ..errors import ChannelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import Buffer
    from .files import PathLike

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2
# Less than this is written as it is: file systems make no smaller holes.
_HOLE_BYTES: Final = 1024
_ZEROS: Final = bytes(1 << 20)


class SparseOutput(FileOutput):
    """An output file in which whole writes of zeros become holes.

    Where nothing was written yet they cost nothing; elsewhere a hole is punched, or, where the file
    system cannot, zeros are written.

    Raises:
        ChannelError: from any method, when the file cannot be opened or written.
    """

    def __init__(self, path: PathLike, offset: int = 0) -> None:
        super().__init__(path, offset)
        self._size = self._written = offset

    def write_at(self, position: int, data: Buffer) -> None:
        """Place all of ``data`` at byte ``position``; the running position does not move."""
        view = memoryview(data)
        end = position + view.nbytes
        if view.nbytes >= _HOLE_BYTES and _is_zero(view):
            if end > self._size:
                self.resize(end)
            if position < self._written:
                self._clear(position, min(end, self._written))
            return
        super().write_at(position, view)
        if end > self._written:
            self._written = end
            self._size = max(self._size, end)

    def resize(self, size_bytes: int) -> None:
        """Cut the file to ``size_bytes``, or let it grow by a hole."""
        super().resize(size_bytes)
        self._size = size_bytes
        self._written = min(self._written, size_bytes)

    def _clear(self, position: int, end: int) -> None:
        """Make bytes zero that may have been written."""
        if _punch(self._fd, position, end - position):
            return
        while position < end:
            piece = _ZEROS[: end - position]
            super().write_at(position, piece)
            position += len(piece)


def scratch_file(directory: PathLike) -> SparseOutput:
    """Return a new, empty file without a name in ``directory``; it is gone when it is closed.

    Raises:
        ChannelError: it cannot be made.
    """
    try:
        fd, path = tempfile.mkstemp(".part", ".migsim.", directory)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChannelError(f"file:{os.fspath(directory)}", "open", reason, error.errno) from error
    os.close(fd)
    try:
        return SparseOutput(path)
    finally:
        os.unlink(path)


def _is_zero(view: memoryview) -> bool:
    """Return whether every byte is zero, at the speed of memory; most data says so at once."""
    some: NDArray[np.uint8] = np.frombuffer(view, np.uint8)
    return not some[0] and not some.any()


def _punch(fd: int, position: int, size_bytes: int) -> bool:
    """Make a hole in an open file; return whether that was possible."""
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return False
    offset, length = ctypes.c_int64(position), ctypes.c_int64(size_bytes)
    return bool(fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length) == 0)
