"""``-daemonize`` and ``-pidfile``: a process in the background, and a file that names it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from ..errors import ChannelError

_STARTED = b"\0"


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Hold a locked file with the process id while the block runs; nothing without a ``path``.

    Raises:
        ChannelError: it cannot be written, or another process holds it.
    """
    if path is None:
        yield
        return
    uri = f"file:{path}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ChannelError(uri, "open", str(error), error.errno) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.write(fd, b"%d\n" % os.getpid())
        except OSError as error:
            raise ChannelError(uri, "write", str(error), error.errno) from error
        yield
        with contextlib.suppress(OSError):
            os.unlink(path)
    finally:
        os.close(fd)


def into_background() -> tuple[int | None, Callable[[], None]]:
    """Fork; return the exit status for the process in front, or None in the one behind.

    The process in front waits until the other says, by calling what is returned here, that the
    machine is there; if it ends before, its status is that of the other.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(write_end)
        started = os.read(read_end, 1) == _STARTED
        os.close(read_end)
        return 0 if started else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), nothing
    os.close(read_end)
    os.setsid()

    def ready() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)
        os.write(write_end, _STARTED)
        os.close(write_end)

    return None, ready


def nothing() -> None:
    """Do nothing."""
