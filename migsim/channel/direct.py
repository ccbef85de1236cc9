"""Files whose pages go past the host's cache (O_DIRECT), for ``direct-io``.

Only what is aligned goes that way: the pages of mapped-ram, which have places for it.  Headers,
bitmaps and device state stay with the ordinary descriptor (spec stream.md section 10, QEMU 10.0).
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from ..errors import ChannelError
from .file import FileInput, FileOutput

if TYPE_CHECKING:
    from .base import Buffer

ALIGNMENT = 4096
"""Alignment of offsets, lengths and memory that every file system takes, in bytes."""
_ROOM_BYTES = 1 << 20


def open_direct(path: str, flags: int) -> int:
    """Return a descriptor of ``path`` with O_DIRECT and ``flags``.

    Raises:
        ChannelError: the file cannot be opened so.
    """
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChannelError(f"file:{path}", "open", reason, error.errno) from error


class DirectFileOutput(FileOutput):
    """A file of which aligned places are written through ``direct_fd``, which it owns."""

    def __init__(
        self, path: str, offset: int = 0, *, fd: int | None = None, direct_fd: int
    ) -> None:
        self._direct_fd = direct_fd
        self._room = mmap.mmap(-1, _ROOM_BYTES)
        super().__init__(path, offset, fd=fd)

    def write_at(self, position: int, data: Buffer) -> None:
        """Place all of ``data`` at byte ``position``."""
        view = memoryview(data).cast("B")
        if position % ALIGNMENT or view.nbytes % ALIGNMENT:
            super().write_at(position, view)
            return
        try:
            while view.nbytes:
                size = min(view.nbytes, _ROOM_BYTES)
                self._room[:size] = view[:size]
                with memoryview(self._room) as room:
                    done = os.pwrite(self._direct_fd, room[:size], position)
                view, position = view[done:], position + done
        except OSError as error:
            reason = error.strerror or str(error)
            raise ChannelError(f"file:{self.path}", "write", reason, error.errno) from error

    def close(self) -> None:
        """Close both descriptors."""
        if self._direct_fd >= 0:
            os.close(self._direct_fd)
            self._direct_fd = -1
        super().close()


class DirectFileInput(FileInput):
    """A file of which aligned places are read through ``direct_fd``, which it owns."""

    def __init__(
        self, path: str, offset: int = 0, *, fd: int | None = None, direct_fd: int
    ) -> None:
        self._direct_fd = direct_fd
        self._room = mmap.mmap(-1, _ROOM_BYTES)
        super().__init__(path, offset, fd=fd)

    def read_at(self, position: int, room: memoryview) -> int:
        """Read the bytes at ``position`` into ``room``; 0 is the end."""
        size = min(room.nbytes, _ROOM_BYTES) // ALIGNMENT * ALIGNMENT
        if position % ALIGNMENT or not size:
            return super().read_at(position, room)
        try:
            with memoryview(self._room) as own:
                count = os.preadv(self._direct_fd, [own[:size]], position)
                room[:count] = own[:count]
        except OSError as error:
            reason = error.strerror or str(error)
            raise ChannelError(f"file:{self.path}", "read", reason, error.errno) from error
        return count

    def close(self) -> None:
        """Close both descriptors."""
        if self._direct_fd >= 0:
            os.close(self._direct_fd)
            self._direct_fd = -1
        super().close()
