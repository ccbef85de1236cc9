"""``file:`` channels: a regular file, written or read from a byte offset on.

Saving creates the file with mode 0600 if it is missing, cuts it to the offset (a shorter file grows
by a hole) and writes from there; loading maps the file and starts at the offset (spec stream.md
section 12).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from typing import TYPE_CHECKING

from ..errors import ChannelError

if TYPE_CHECKING:
    from .base import Buffer

_MODE = 0o600


def _failed(path: str, operation: str, error: OSError) -> ChannelError:
    return ChannelError(f"file:{path}", operation, error.strerror or str(error), error.errno)


class FileOutput:
    """The output end of ``file:PATH[,offset=N]``.

    Raises:
        ChannelError: the file cannot be opened, cut or written.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int = 0) -> None:
        self.path = os.fspath(path)
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise _failed(self.path, "open", error) from error
        self._fd = fd
        self._position = offset
        try:
            os.ftruncate(fd, offset)
        except OSError as error:
            self.close()
            raise _failed(self.path, "open", error) from error

    @property
    def position(self) -> int:
        """Byte offset in the file where the next byte goes."""
        return self._position

    def write(self, data: Buffer) -> None:
        """Append all of ``data`` at the position."""
        self.write_at(self._position, data)
        self._position += memoryview(data).nbytes

    def write_at(self, position: int, data: Buffer) -> None:
        """Place all of ``data`` at byte ``position``; the running position does not move."""
        view = memoryview(data).cast("B")
        try:
            while view.nbytes:
                done = os.pwrite(self._fd, view, position)
                view = view[done:]
                position += done
        except OSError as error:
            raise _failed(self.path, "write", error) from error

    def seek(self, position: int) -> None:
        """Go on writing at byte ``position``; what is skipped stays a hole."""
        self._position = position

    def flush(self) -> None:
        """Do nothing: every write goes to the kernel at once."""

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileInput:
    """The input end of ``file:PATH[,offset=N]``.

    A regular file is mapped read-only, so that reading copies nothing; it must not shrink while it
    is open.  Anything else (a FIFO, a terminal) is read in order like a pipe.

    Raises:
        ChannelError: the file cannot be opened, mapped or read.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int = 0) -> None:
        self.path = os.fspath(path)
        self._position = offset
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        self._fd = -1
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(self._fd)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(21, "is a directory")
            if stat.S_ISREG(status.st_mode):
                self._open_regular(status.st_size)
        except OSError as error:
            self.close()
            raise _failed(self.path, "open", error) from error

    def _open_regular(self, size_bytes: int) -> None:
        if size_bytes:
            self._map = mmap.mmap(self._fd, size_bytes, access=mmap.ACCESS_READ)
            self._view = memoryview(self._map)
        else:
            self._view = memoryview(b"")

    @property
    def position(self) -> int:
        """Byte offset in the file of the next byte."""
        return self._position

    def read(self, size_bytes: int) -> bytes:
        """Return up to ``size_bytes`` bytes, or ``b""`` at the end."""
        if self._view is not None:
            piece = bytes(self._view[self._position : self._position + size_bytes])
        else:
            try:
                piece = os.read(self._fd, size_bytes)
            except OSError as error:
                raise _failed(self.path, "read", error) from error
        self._position += len(piece)
        return piece

    def buffer(self) -> memoryview | None:
        """Return the mapped file, or None when it cannot be mapped."""
        return self._view

    def close(self) -> None:
        """Close the file; arrays that still look into the map keep it alive."""
        if self._view is not None:
            with contextlib.suppress(BufferError):
                self._view.release()
                if self._map is not None:
                    self._map.close()
            self._view = self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
