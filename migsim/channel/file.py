"""``file:`` channels: a regular file, written or read from a byte offset on.

Saving creates the file with mode 0600 if it is missing, cuts it to the offset (a shorter file grows
by a hole) and writes from there; loading starts at the offset (spec stream.md section 12).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..behind import WriteBehind
from ..errors import ChannelError
from ..threads import thread_count
from .ahead import ReadAhead

if TYPE_CHECKING:
    from .base import Buffer

_MODE = 0o600
_POSITION_MAX = (1 << 63) - 1
_FEW_BYTES = 64 << 10


def _failed(path: str, operation: str, error: OSError) -> ChannelError:
    return ChannelError(f"file:{path}", operation, error.strerror or str(error), error.errno)


def _as_os_error(error: OSError | OverflowError) -> OSError:
    """Return ``error``; a number that no file can have is a file that is too large."""
    return error if isinstance(error, OSError) else OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _read_at(fd: int, path: str, position: int, room: memoryview) -> int:
    if position > _POSITION_MAX - len(room):
        return 0
    try:
        return os.preadv(fd, [room], position)
    except OSError as error:
        raise _failed(path, "read", error) from error


class FileOutput:
    """The output end of ``file:PATH[,offset=N]``, or of a file that is open already as ``fd``.

    With ``overlap``, pieces that are lent or placed are written by a thread, where there is a
    processor for it; every other method waits for them first.

    Raises:
        ChannelError: the file cannot be opened, cut or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        offset: int = 0,
        *,
        fd: int | None = None,
        overlap: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        try:
            if fd is None:
                fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise _failed(self.path, "open", error) from error
        self._fd = fd
        self._position = offset
        self._behind = WriteBehind(self._write_all)
        self.overlaps = overlap and thread_count() > 1
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
        self._behind.settle()
        self._write_all(position, memoryview(data).cast("B"))

    def read_at(self, position: int, room: memoryview) -> int:
        """Read bytes at ``position`` back into ``room``; 0 is the end."""
        self._behind.settle()
        return _read_at(self._fd, self.path, position, room)

    def seek(self, position: int) -> None:
        """Go on writing at byte ``position``; what is skipped stays a hole."""
        self._position = position

    def resize(self, size_bytes: int) -> None:
        """Cut the file to ``size_bytes``, or let it grow by a hole."""
        self._behind.settle()
        try:
            os.ftruncate(self._fd, size_bytes)
        except (OSError, OverflowError) as error:
            raise _failed(self.path, "write", _as_os_error(error)) from error

    def lend(self) -> memoryview:
        """Return room to be filled and passed to `write_lent`."""
        return self._behind.lend()

    def write_lent(self, room: memoryview, size_bytes: int) -> None:
        """Append the first ``size_bytes`` of lent ``room``; a few bytes are not worth a thread."""
        if size_bytes < _FEW_BYTES and not self._behind.busy:
            try:
                self._write_all(self._position, room[:size_bytes])
            finally:
                self._behind.give_back(room)
        else:
            self._behind.give(self._position, room, size_bytes)
        self._position += size_bytes

    def place(self, position: int, data: Buffer) -> None:
        """Place all of ``data``, which has to stay as it is until `settle`, at ``position``."""
        self._behind.place(position, memoryview(data).cast("B"))

    def settle(self) -> None:
        """Wait until everything is written."""
        self._behind.settle()

    def flush(self) -> None:
        """Wait until everything is with the kernel."""
        self._behind.settle()

    def detach(self) -> int:
        """Return the descriptor, which is the caller's from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        try:
            self._behind.stop()
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _write_all(self, position: int, view: memoryview) -> None:
        try:
            while view.nbytes:
                done = os.pwrite(self._fd, view, position)
                view = view[done:]
                position += done
        except OSError as error:
            raise _failed(self.path, "write", error) from error


class FileInput:
    """The input end of ``file:PATH[,offset=N]``.

    A regular file or block device can be looked at anywhere; nothing of it is mapped, so it may
    even shrink while it is open.  Anything else (a FIFO, a terminal) is read in order like a pipe.

    Raises:
        ChannelError: the file cannot be opened or read, or has no offset (a pipe begins at 0).
    """

    def __init__(
        self, path: str | os.PathLike[str], offset: int = 0, *, fd: int | None = None
    ) -> None:
        self.path = os.fspath(path)
        self._position = offset
        self._fd = -1 if fd is None else fd
        try:
            if fd is None:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._seekable = stat.S_ISREG(mode) or stat.S_ISBLK(mode)
            if self._seekable:
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            elif offset:
                raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
        except OSError as error:
            self.close()
            raise _failed(self.path, "open", error) from error

    @property
    def position(self) -> int:
        """Byte offset in the file of the next byte."""
        return self._position

    @property
    def size_bytes(self) -> int:
        """Length of the file now."""
        try:
            # Only a device has to be asked by moving: a descriptor may be in use elsewhere too.
            status = os.fstat(self._fd)
            if stat.S_ISREG(status.st_mode):
                return status.st_size
            return os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise _failed(self.path, "seek", error) from error

    def read_into(self, room: memoryview) -> int:
        """Read the next bytes into ``room``; 0 is the end."""
        if self._seekable:
            count = self.read_at(self._position, room)
        else:
            try:
                count = os.readv(self._fd, [room])
            except OSError as error:
                raise _failed(self.path, "read", error) from error
        self._position += count
        return count

    def read_at(self, position: int, room: memoryview) -> int:
        """Read the bytes at ``position`` into ``room``; 0 is the end."""
        return _read_at(self._fd, self.path, position, room)

    def detach(self) -> int:
        """Return the descriptor, which is the caller's from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def fileno(self) -> int:
        """Return the descriptor, which stays the channel's."""
        return self._fd

    def read_ahead(self, position: int) -> ReadAhead:
        """Return the bytes from ``position`` on as pieces that are read before they are wanted."""
        try:
            return ReadAhead(self._fd, position)
        except OSError as error:
            raise _failed(self.path, "read", error) from error

    def read_failed(self, error: OSError) -> ChannelError:
        """Return what the error of a `ReadAhead` means here."""
        return _failed(self.path, "read", error)

    def seekable(self) -> FileInput | None:
        """Return itself, or None when the file can only be read in order."""
        return self if self._seekable else None

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
