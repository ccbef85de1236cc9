"""Writing behind: a thread that writes one buffer while its owner fills the next.

Buffers are few and used again and again, so that memory stays bounded and no fresh page is
touched for them.  What goes wrong is told at the next call, and at `settle` at the latest.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

LENT_BYTES = (1 << 20) + (64 << 10)
"""Length of a buffer: 256 page records, and what stands before them."""
_BUFFERS = 8
_PIECES = 64  # that wait at most


@dataclass(frozen=True, slots=True)
class _Job:
    position: int
    data: memoryview
    buffer: memoryview | None  # the whole buffer, if it was lent


class WriteBehind:
    """A thread that writes, started by the first piece of work.

    Args:
        write: places all of some bytes at a byte of the target; called from the thread.

    Raises:
        Whatever ``write`` raised: from `give`, `place` and `settle`, from then on.
    """

    def __init__(self, write: Callable[[int, memoryview], None]) -> None:
        self._write = write
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_PIECES)
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._made = 0
        self._thread: threading.Thread | None = None
        self._problem: Exception | None = None
        self._told = False

    @property
    def busy(self) -> bool:
        """Whether something may still have to be written."""
        return bool(self._jobs.unfinished_tasks)

    def lend(self) -> memoryview:
        """Return a buffer of `LENT_BYTES`, once one is free; it goes back by `give`."""
        if self._free.empty() and self._made < _BUFFERS:
            self._made += 1
            return memoryview(bytearray(LENT_BYTES))
        return self._free.get()

    def give(self, position: int, buffer: memoryview, size_bytes: int) -> None:
        """Write the first ``size_bytes`` of a lent ``buffer`` to byte ``position``."""
        self._submit(_Job(position, buffer[:size_bytes], buffer))

    def give_back(self, buffer: memoryview) -> None:
        """Take back a lent ``buffer`` of which nothing is to be written."""
        self._free.put(buffer)

    def place(self, position: int, data: memoryview) -> None:
        """Write ``data``, which has to stay as it is until `settle`."""
        self._submit(_Job(position, data, None))

    def settle(self) -> None:
        """Wait until everything is written."""
        if self.busy:
            self._jobs.join()
        self._raise()

    def stop(self) -> None:
        """Wait until everything is written and end the thread; raise what nobody was told."""
        self.abandon()
        if not self._told:
            self._raise()

    def abandon(self) -> None:
        """Wait until everything is written and end the thread, whatever went wrong."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _submit(self, job: _Job) -> None:
        self._raise()
        if self._thread is None:
            # A save that is given up without being closed must not keep the process alive.
            self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _raise(self) -> None:
        if self._problem is not None:
            self._told = True
            raise self._problem

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._problem is None:
                    self._write(job.position, job.data)
            except Exception as problem:  # told to the owner
                self._problem = problem
            if job.buffer is not None:
                self._free.put(job.buffer)
            del job  # the data may be a view of memory that is to be let go of
            self._jobs.task_done()
