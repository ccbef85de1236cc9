"""A file that appears complete, or not at all.

It is written under another name in the same directory, and takes its own when every byte is on the
disk.  Whatever goes wrong before, what had the name keeps it, unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import ChannelError
from .sparse import SparseOutput

if TYPE_CHECKING:
    from .files import PathLike

_SUFFIX = ".part"
# The whole name must stay below 256 bytes.
_NAME_KEPT = 32
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_PERMISSIONS = 0o777


class AtomicFile:
    """The new content of ``path``; a context that ends without an exception puts it in place.

    A file that is there already keeps owner and permissions; a new one is for its owner only, as
    QEMU's are.  Refused, before anything is written: a symbolic link, anything that is not a
    regular file, a file that may not be written, and a file that is being read.

    Args:
        path: the file.
        sources: files that are read meanwhile, which it must not be.

    Attributes:
        path: as given.
        channel: what is written into, an output channel with random access.
        cleanup: what else is closed when the file is done with.
        kept: the file is in place.

    Raises:
        ChannelError: the file is refused, or cannot be made, written or put in place.
    """

    def __init__(self, path: PathLike, sources: Iterable[PathLike] = ()) -> None:
        self.path = Path(path)
        self.kept = False
        self.cleanup = ExitStack()
        self._fd = -1
        try:
            self._target = self._hold()
            self._check_target(sources)
            self._fd, self._temporary = self._make()
            self.channel = SparseOutput(self._temporary)
            self.channel.path = os.fspath(self.path)  # what errors call it
            self._keep_permissions()
        except BaseException:
            self._drop()
            raise

    @property
    def replaces(self) -> os.stat_result | None:
        """What had the name before, None when nothing did."""
        return self._target

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._put_in_place()
        finally:
            self._drop()

    # Before

    def _hold(self) -> os.stat_result | None:
        """Return what has the name, and keep it, so that its number is not given to another."""
        try:
            fd = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("open", error) from error
        self.cleanup.callback(os.close, fd)
        return os.fstat(fd)

    def _look(self) -> os.stat_result | None:
        """Return what has the name now, a link itself rather than what it leads to."""
        try:
            return self.path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("open", error) from error

    def _check_target(self, sources: Iterable[PathLike]) -> None:
        target = self._target
        if target is None:
            return
        if stat.S_ISLNK(target.st_mode):
            raise self._refused("it is a symbolic link: name the file itself", errno.ELOOP)
        if not stat.S_ISREG(target.st_mode):
            raise self._refused("it is no regular file", errno.EEXIST)
        for source in sources:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(source), target):
                    raise self._refused(f"it is {source}, which is read meanwhile", errno.EBUSY)
        if not target.st_mode & _WRITABLE or not os.access(self.path, os.W_OK):
            raise self._refused("it is write-protected", errno.EACCES)

    def _make(self) -> tuple[int, str]:
        try:
            return tempfile.mkstemp(_SUFFIX, f".{self.path.name[:_NAME_KEPT]}.", self.path.parent)
        except OSError as error:
            raise self._error("open", error) from error

    def _keep_permissions(self) -> None:
        if self._target is None:
            return
        try:
            mine = os.fstat(self._fd)
            if (mine.st_uid, mine.st_gid) != (self._target.st_uid, self._target.st_gid):
                os.fchown(self._fd, self._target.st_uid, self._target.st_gid)
            os.fchmod(self._fd, self._target.st_mode & _PERMISSIONS)
        except PermissionError as error:
            raise self._refused("it belongs to another user", error.errno) from error
        except OSError as error:
            raise self._error("open", error) from error

    # After

    def _put_in_place(self) -> None:
        try:
            self.channel.flush()
            os.fsync(self._fd)
            self._check_unchanged()
            os.rename(self._temporary, self.path)
        except OSError as error:
            raise self._error("write", error) from error
        self.kept = True
        self._sync_directory()

    def _check_unchanged(self) -> None:
        """Refuse to take the place of what came there meanwhile."""
        now, before = self._look(), self._target
        if (now is None) != (before is None) or (
            now is not None and before is not None and not os.path.samestat(now, before)
        ):
            raise self._refused("another file has taken this name meanwhile", errno.EEXIST)

    def _sync_directory(self) -> None:
        """Make the name last.  Some file systems cannot; the file is in place all the same."""
        with contextlib.suppress(OSError):
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _drop(self) -> None:
        """Close the file; if it is not in place, remove it."""
        self.cleanup.close()
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        channel = getattr(self, "channel", None)
        if channel is not None:
            channel.close()
        os.close(fd)
        if not self.kept:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def _refused(self, reason: str, number: int | None) -> ChannelError:
        return ChannelError(f"file:{self.path}", "open", reason, number)

    def _error(self, operation: str, error: OSError) -> ChannelError:
        reason = error.strerror or str(error)
        return ChannelError(f"file:{self.path}", operation, reason, error.errno)
