"""Live channels: sockets, pipes and commands as migration sees them.

What goes out is gathered between two steps of the engine and sent by the driver before the next;
an error of the other side comes up at that step.  What comes in is read by the thread of a load.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import ChannelError

if TYPE_CHECKING:
    from ..channel.base import Buffer, InputChannel

_IOV_MAX = 64
_ANSWER_BYTES = 1 << 16


class LiveOutput:
    """The output end of a descriptor that somebody reads.

    ``process`` is the command behind a pipe: closing waits for its end.

    Attributes:
        error: what went wrong, or None.
        before_close: called before the descriptor is closed, by whoever watches it.
    """

    def __init__(self, fd: int, name: str, process: subprocess.Popen[bytes] | None = None) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._name = name
        self._process = process
        self._queue: deque[memoryview] = deque()
        self._position = 0
        self.error: ChannelError | None = None
        self.abandoned = False
        self.before_close: Callable[[], None] = lambda: None
        self._answers = bytearray()
        self.answers_ended = not stat.S_ISSOCK(os.fstat(fd).st_mode)

    @property
    def fd(self) -> int:
        """The descriptor, for an event loop; -1 when it is closed."""
        return self._fd

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._position

    @property
    def blocked(self) -> bool:
        """Whether bytes wait for the other side to read."""
        return bool(self._queue) and self.error is None

    def write(self, data: Buffer) -> None:
        """Take all of ``data``; it is sent by `pump`."""
        self._check()
        piece = memoryview(bytes(data))
        self._position += len(piece)
        self._queue.append(piece)

    def flush(self) -> None:
        """Send what there is room for."""
        self.pump()
        self._check()

    def pump(self) -> None:
        """Send what there is room for; a problem is kept for the next call of the engine."""
        try:
            while self._queue and self._fd >= 0:
                sent = os.writev(self._fd, [self._queue[i] for i in range(self._pieces())])
                self._drop(sent)
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = self._problem(error)
            self._queue.clear()

    def gather(self) -> None:
        """Take in what the other side has answered."""
        try:
            while not self.answers_ended and self._fd >= 0:
                piece = os.read(self._fd, _ANSWER_BYTES)
                self._answers += piece
                self.answers_ended = not piece
        except BlockingIOError:
            pass
        except OSError:
            self.answers_ended = True

    def take_answers(self) -> bytes:
        """Return what the other side has answered since the last call."""
        self.gather()
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def hang_up(self) -> int | None:
        """Let the other side see the end; return a descriptor that becomes readable when it ended.

        None means that nobody has to be waited for.
        """
        if self._process is None:
            return None
        self._release()
        if self._process.poll() is not None:
            return None
        return os.pidfd_open(self._process.pid)

    def close(self) -> None:
        """Let go of the other side.

        Raises:
            ChannelError: what was written before did not arrive.
        """
        self.pump()
        self._queue.clear()
        self._release()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._check()

    def _pieces(self) -> int:
        return min(len(self._queue), _IOV_MAX)

    def _drop(self, sent: int) -> None:
        while sent:
            first = self._queue[0]
            if sent < len(first):
                self._queue[0] = first[sent:]
                return
            sent -= len(first)
            self._queue.popleft()

    def _release(self) -> None:
        if self._fd >= 0:
            self.before_close()
            os.close(self._fd)
            self._fd = -1

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _problem(self, error: OSError) -> ChannelError:
        return ChannelError(self._name, "write", error.strerror or str(error), error.errno)


class LiveInput:
    """The input end of a descriptor that somebody writes; read by the thread of a load."""

    def __init__(self, fd: int, name: str, process: subprocess.Popen[bytes] | None = None) -> None:
        os.set_blocking(fd, True)
        self._fd = fd
        self._name = name
        self._process = process
        self._position = 0
        self._ended = False
        self._closed = False
        self._lock = threading.Lock()
        self._users = 0
        with contextlib.suppress(OSError):
            self._position = os.lseek(fd, 0, os.SEEK_CUR)

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    def read_into(self, room: memoryview) -> int:
        """Wait for bytes and put them into ``room``; 0 is the end."""
        with self.borrowed() as fd:
            if fd < 0:
                return 0
            try:
                count = os.readv(fd, [room])
            except OSError as error:
                reason = error.strerror or str(error)
                raise ChannelError(self._name, "read", reason, error.errno) from error
            self._position += count
            return count

    @property
    def fd(self) -> int:
        """The descriptor; -1 when it is closed."""
        return -1 if self._ended else self._fd

    def answer(self, data: bytes) -> None:
        """Send ``data`` back; nobody may listen any more."""
        view = memoryview(data)
        with self.borrowed() as fd, contextlib.suppress(OSError):
            while view and fd >= 0:
                view = view[os.write(fd, view) :]

    def seekable(self) -> None:
        """Return None: bytes come in order."""

    def interrupt(self) -> None:
        """Wake up a thread that waits for bytes: it sees the end."""
        self._ended = True
        with self._lock:
            self._shut_down()
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Let go of the source; a thread that reads from it sees the end, and closes it."""
        self._ended = self._closed = True
        with self._lock:
            if self._users:
                self._shut_down()
            else:
                self._close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[int]:
        """Give out the descriptor, -1 after the end; nobody closes it meanwhile.

        Its number would be given to the next connection, whose bytes would be read here.
        """
        with self._lock:
            fd = -1 if self._ended else self._fd
            self._users += 1
        try:
            yield fd
        finally:
            with self._lock:
                self._users -= 1
                if self._closed and not self._users:
                    self._close()

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=os.dup(self._fd))
            with sock:
                sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def readable(channels: Sequence[InputChannel]) -> list[InputChannel]:
    """Return those of some live channels that have bytes or have ended; wait until one has."""
    live = [channel for channel in channels if isinstance(channel, LiveInput)]
    with contextlib.ExitStack() as stack:
        by_fd = {stack.enter_context(channel.borrowed()): channel for channel in live}
        if -1 in by_fd:
            return [by_fd[-1]]
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        return [by_fd[fd] for fd, _ in poll.poll()]


def spawn(args: list[str], *, name: str, output: bool) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a command and return the descriptor of its input (``output``) or output, and it.

    Raises:
        ChannelError: it cannot be started.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    ours, theirs = (write_end, read_end) if output else (read_end, write_end)
    try:
        process = subprocess.Popen(
            args,
            stdin=theirs if output else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output else theirs,
        )
    except (OSError, ValueError) as error:
        os.close(ours)
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise ChannelError(name, "open", str(error), number) from error
    finally:
        os.close(theirs)
    return ours, process
