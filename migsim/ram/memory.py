"""What every memory backend offers, and what those over a mapping share."""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, StateError
from ..units import PAGE_SIZE
from .extents import FileExtents, anonymous_extents, whole

if TYPE_CHECKING:
    import types
    from collections.abc import Callable
    from typing import Self

    import numpy.typing as npt

    from .spec import BackendKind

# Reserving swap for a mapping that is larger than the machine would be refused; the module names
# the flag from Python 3.13 on, its value is that of Linux.
_MAP_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)

_MADV_POPULATE_READ = 22  # Linux 5.14


class MemoryBackend(ABC):
    """A piece of memory that a RAM block lies in.  Close it, or use it as a context manager.

    Attributes:
        kind: the type.
        id: the object id; the name of the RAM block that it backs.
        size_bytes: size in bytes, a multiple of the page size.
        share: mapped shared, so that writes reach the file or memfd behind it.
        named_file: counts as a named file for ``x-ignore-shared``.
        readonly: `array` is not writeable.
        has_bytes: false for a backend that knows only which pages are zero.
        in_place: a mapped-ram file is not read when it is loaded but becomes the memory.
    """

    kind: BackendKind
    has_bytes = True
    in_place = False

    def __init__(
        self,
        id: str,
        size_bytes: int,
        *,
        share: bool,
        named_file: bool = False,
        readonly: bool = False,
    ) -> None:
        self.id = id
        self.size_bytes = size_bytes
        self.share = share
        self.named_file = named_file
        self.readonly = readonly
        if size_bytes <= 0 or size_bytes % PAGE_SIZE:
            raise self.error(f"size {size_bytes} is not a positive multiple of {PAGE_SIZE}")

    @property
    def ignorable(self) -> bool:
        """Whether ``x-ignore-shared`` leaves this memory out of the stream (modes.md section 2)."""
        return self.share and self.named_file

    @property
    def pristine(self) -> bool:
        """Whether the memory is known to be untouched, hence all zero; false when not known."""
        return len(self.data_extents()) == 0

    @abstractmethod
    def array(self) -> npt.NDArray[np.uint8]:
        """Return the bytes: uint8 of shape ``(size_bytes,)``, the memory itself, not a copy.

        Raises:
            StateError: the backend is closed, or has no bytes.
        """

    @abstractmethod
    def data_extents(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Return the byte ranges that may hold anything but zero, without touching the memory.

        int64 of shape ``(n, 2)``: first byte and one past the last, ascending and apart, within
        ``start`` and ``stop`` (default: the end).  One range for everything when nothing is known.
        """

    @abstractmethod
    def discard(self, start: int, stop: int) -> None:
        """Make the bytes from ``start`` to ``stop`` (page-aligned) zero, giving memory back.

        Raises:
            StateError: the backend is closed or read-only.
        """

    def store(self, start: int, data: memoryview) -> None:
        """Put contiguous bytes at byte ``start``; may be called from another thread.

        Raises:
            ConfigError: the file system has no room for them.
            StateError: the backend is closed or read-only, or has no bytes.
        """
        self.array()[start : start + data.nbytes] = np.frombuffer(data, np.uint8)

    def fileno(self) -> int:
        """Return the descriptor of the file or memfd behind the memory.

        Raises:
            StateError: there is none, or the backend is closed.
        """
        raise StateError(f"the descriptor of {self.id}", "without a file")

    @abstractmethod
    def flush(self) -> None:
        """Write what is shared with a file to that file's storage."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the memory; closing twice is fine.

        The mapping itself goes when the last array over it does, so no array ever dangles.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.size_bytes})"

    def error(self, reason: str) -> ConfigError:
        """Return the error that says why this backend makes no sense."""
        return ConfigError(f"{self.kind} {self.id}", reason)


class MappedBackend(MemoryBackend):
    """A backend over a mapping, of a descriptor or anonymous."""

    _mapping: mmap.mmap | None = None
    _array: npt.NDArray[np.uint8] | None = None
    _fd: int | None = None
    _file: FileExtents | None = None
    _over = False  # a file lies over it

    def array(self) -> npt.NDArray[np.uint8]:
        """Return the bytes, uint8 of shape ``(size_bytes,)``; raises StateError when closed."""
        if self._array is None:
            raise StateError(f"the array of {self.id}", "closed")
        return self._array

    def data_extents(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Return the byte ranges that may hold anything but zero, int64 of shape ``(n, 2)``."""
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        array = self.array()
        if self._over:
            return whole(start, stop)
        if self._file is None:
            return anonymous_extents(array.ctypes.data, start, stop)
        # Pages that were written through a private mapping are not in the file.
        return self._file.within(start, stop) if self.share else whole(start, stop)

    def discard(self, start: int, stop: int) -> None:
        """Make the bytes from ``start`` to ``stop`` zero: punch a hole, or drop the pages."""
        array = self.array()
        if self.readonly or self._mapping is None:
            raise StateError(f"discard of {self.id}", "read-only")
        if start >= stop:
            return
        if self._over or (self._file is not None and not self.share):
            array[start:stop] = 0
            return
        advice = mmap.MADV_DONTNEED if self._file is None else mmap.MADV_REMOVE
        try:
            self._mapping.madvise(advice, start, stop - start)
        except OSError:  # a file system that cannot punch holes
            array[start:stop] = 0
        if self._file is not None:
            self._file.forget()

    def store(self, start: int, data: memoryview) -> None:
        """Put contiguous bytes at byte ``start``.

        Shared memory is written through its file: a page that is not there yet need not be cleared
        and brought into the page table first, which takes twice as long, and a full file system is
        an error instead of a signal.
        """
        if self._fd is None or not self.share or self.readonly:
            super().store(start, data)
            return
        try:
            while data.nbytes:
                done = os.pwrite(self._fd, data, start)
                start, data = start + done, data[done:]
        except OSError as error:
            raise self.error(f"cannot write {data.nbytes} bytes: {error.strerror}") from error

    def populate(self) -> None:
        """Bring what the file holds into the process's page table; does nothing where it cannot."""
        if self._mapping is not None:
            for start, stop in self.data_extents().tolist():
                with contextlib.suppress(OSError):
                    self._mapping.madvise(_MADV_POPULATE_READ, start, stop - start)

    def fileno(self) -> int:
        """Return the descriptor behind the memory; raises StateError when there is none."""
        if self._fd is None:
            return super().fileno()
        return self._fd

    def map_over(self, fd: int, offset: int) -> Callable[[], None]:
        """Let the memory be a private view of a file from byte ``offset`` on, which takes no time.

        What was there before goes away.  Pages are read when they are first looked at, and copied
        when first written to; the file has to stay as it is for as long as the memory is used.
        Returns what gives the old memory back.

        Raises:
            ConfigError: the file cannot be mapped there.
            StateError: the memory is shared, read-only or closed.
        """
        if self.share or self.readonly or self._mapping is None:
            raise StateError(f"mapping a file over {self.id}", "shared, read-only or closed")
        before = self._mapping, self._array, self._over
        self._map(fd, mmap.MAP_PRIVATE, offset)
        self._over = True

        def undo() -> None:
            self._mapping, self._array, self._over = before

        return undo

    def flush(self) -> None:
        """Write a shared mapping to its file."""
        if self._mapping is not None and self._file is not None and self.share:
            self._mapping.flush()

    def close(self) -> None:
        """Let go of the memory; closing twice is fine."""
        mapping, self._mapping, self._array = self._mapping, None, None
        if mapping is not None:
            # While someone still holds an array over it, this is refused; the last one unmaps it.
            with contextlib.suppress(BufferError):
                mapping.close()
        if self._fd is not None:
            self._fd = None
            self._finalizer()

    def map_anonymous(self) -> None:
        """Map memory that belongs to no file."""
        self._map(-1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def map_descriptor(self, fd: int) -> None:
        """Map ``fd``, which belongs to the backend from here on, also when this fails."""
        self._fd = fd
        self._finalizer = weakref.finalize(self, os.close, fd)
        try:
            self._map(fd, mmap.MAP_SHARED if self.share else mmap.MAP_PRIVATE)
        except BaseException:
            self.close()
            raise
        self._file = FileExtents(fd)

    def _map(self, fd: int, flags: int, offset: int = 0) -> None:
        prot = mmap.PROT_READ if self.readonly else mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._mapping = mmap.mmap(
                fd, self.size_bytes, flags | _MAP_NORESERVE, prot, offset=offset
            )
        except (OSError, ValueError, OverflowError) as error:
            raise self.error(f"cannot map {self.size_bytes} bytes: {error}") from error
        self._array = np.frombuffer(self._mapping, np.uint8)
