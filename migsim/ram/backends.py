"""What guest RAM is made of: the memory backends, by their QOM type names.

==========================  =======  ==========  ===================================================
type                        share    named file  bytes
==========================  =======  ==========  ===================================================
``memory-backend-ram``      off      no          an anonymous mapping; shared: an unnamed memfd
``memory-backend-memfd``    on       no          a memfd
``memory-backend-file``     off      yes         a file, or an unlinked one in a directory
``phantom``                 off      as told     none: only which pages are not zero is known
==========================  =======  ==========  ===================================================

``share`` is the default; a block is left out of the stream under ``x-ignore-shared`` only when it
is shared and a named file (spec modes.md section 2, QEMU 10.0).
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import stat
import tempfile
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, StateError
from ..units import PAGE_SIZE
from .bitmap import DirtyBitmap
from .extents import FileExtents, anonymous_extents, whole

if TYPE_CHECKING:
    import types
    from typing import Self

    import numpy.typing as npt

# Reserving swap for a mapping that is larger than the machine would be refused; the module names
# the flag from Python 3.13 on, its value is that of Linux.
_MAP_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)


class BackendKind(enum.StrEnum):
    """The backend types, spelled as QOM spells them; ``phantom`` is migsim's own."""

    RAM = "memory-backend-ram"
    MEMFD = "memory-backend-memfd"
    FILE = "memory-backend-file"
    PHANTOM = "phantom"


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
    """

    kind: BackendKind
    has_bytes = True

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
            raise self._error(f"size {size_bytes} is not a positive multiple of {PAGE_SIZE}")

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

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(f"{self.kind} {self.id}", reason)


class _MappedBackend(MemoryBackend):
    """A backend over a mapping, of a descriptor or anonymous."""

    _mapping: mmap.mmap | None = None
    _array: npt.NDArray[np.uint8] | None = None
    _fd: int | None = None
    _file: FileExtents | None = None

    def array(self) -> npt.NDArray[np.uint8]:
        if self._array is None:
            raise StateError(f"the array of {self.id}", "closed")
        return self._array

    def data_extents(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        array = self.array()
        if self._file is None:
            return anonymous_extents(array.ctypes.data, start, stop)
        # Pages that were written through a private mapping are not in the file.
        return self._file.within(start, stop) if self.share else whole(start, stop)

    def discard(self, start: int, stop: int) -> None:
        array = self.array()
        if self.readonly or self._mapping is None:
            raise StateError(f"discard of {self.id}", "read-only")
        if start >= stop:
            return
        if self._file is not None and not self.share:
            array[start:stop] = 0
            return
        advice = mmap.MADV_DONTNEED if self._file is None else mmap.MADV_REMOVE
        try:
            self._mapping.madvise(advice, start, stop - start)
        except OSError:  # a file system that cannot punch holes
            array[start:stop] = 0
        if self._file is not None:
            self._file.forget()

    def fileno(self) -> int:
        if self._fd is None:
            return super().fileno()
        return self._fd

    def flush(self) -> None:
        if self._mapping is not None and self._file is not None and self.share:
            self._mapping.flush()

    def close(self) -> None:
        mapping, self._mapping, self._array = self._mapping, None, None
        if mapping is not None:
            # While someone still holds an array over it, this is refused; the last one unmaps it.
            with contextlib.suppress(BufferError):
                mapping.close()
        if self._fd is not None:
            self._fd = None
            self._finalizer()

    def _map_anonymous(self) -> None:
        self._map(-1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _map_descriptor(self, fd: int) -> None:
        """Map ``fd``, which belongs to the backend from here on, also when this fails."""
        self._fd = fd
        self._finalizer = weakref.finalize(self, os.close, fd)
        try:
            self._map(fd, mmap.MAP_SHARED if self.share else mmap.MAP_PRIVATE)
        except BaseException:
            self.close()
            raise
        self._file = FileExtents(fd)

    def _map(self, fd: int, flags: int) -> None:
        prot = mmap.PROT_READ if self.readonly else mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._mapping = mmap.mmap(fd, self.size_bytes, flags | _MAP_NORESERVE, prot)
        except (OSError, ValueError, OverflowError) as error:
            raise self._error(f"cannot map {self.size_bytes} bytes: {error}") from error
        self._array = np.frombuffer(self._mapping, np.uint8)


class RamBackend(_MappedBackend):
    """``memory-backend-ram``: memory without a name; shared, it has a descriptor to hand over."""

    kind = BackendKind.RAM

    def __init__(self, id: str, size_bytes: int, *, share: bool = False) -> None:
        super().__init__(id, size_bytes, share=share)
        if share:
            self._map_descriptor(_memfd(self))
        else:
            self._map_anonymous()


class MemfdBackend(_MappedBackend):
    """``memory-backend-memfd``: a new memfd, or an existing one that someone handed over.

    Args:
        id: object id.
        size_bytes: size in bytes.
        share: mapped shared; QEMU's default for this type.
        fd: descriptor to map instead of a new one; it is duplicated and stays the caller's.

    Raises:
        ConfigError: bad size, or ``fd`` is smaller than it.
    """

    kind = BackendKind.MEMFD

    def __init__(
        self,
        id: str,
        size_bytes: int,
        *,
        share: bool = True,
        fd: int | None = None,
    ) -> None:
        super().__init__(id, size_bytes, share=share)
        self._map_descriptor(_memfd(self) if fd is None else os.dup(fd))


class FileBackend(_MappedBackend):
    """``memory-backend-file``: a file by name, as QEMU 10.0 opens it.

    A missing file is created sparse and an empty one extended; a longer one is used as it is; in a
    directory, a file is created and unlinked at once, and counts as a named file all the same
    (checked on QEMU 10.0.2: ``x-ignore-shared`` leaves it out, so that its content is lost).

    Attributes:
        mem_path: the file or directory.

    Raises:
        ConfigError: bad size, the file is shorter than it, cannot be opened or mapped, or is
            neither a regular file nor a directory; read-only and missing.
    """

    kind = BackendKind.FILE

    def __init__(
        self,
        id: str,
        size_bytes: int,
        mem_path: str | os.PathLike[str],
        *,
        share: bool = False,
        readonly: bool = False,
    ) -> None:
        super().__init__(id, size_bytes, share=share, named_file=True, readonly=readonly)
        self.mem_path = Path(mem_path)
        try:
            fd = self._open()
        except OSError as error:
            reason = error.strerror or str(error)
            raise self._error(f"cannot open {self.mem_path}: {reason}") from error
        self._map_descriptor(fd)

    def _open(self) -> int:
        """Return a descriptor of a file that is long enough; what it made, it unmakes on failure."""
        made: Path | None = None
        # Without O_NONBLOCK, opening a FIFO would wait for its other end.
        access = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDONLY if self.readonly else os.O_RDWR)
        if self.mem_path.is_dir() and not self.readonly:
            fd, name = tempfile.mkstemp(
                prefix=f"ram-{self.id.replace('/', '-')}-", dir=self.mem_path
            )
            os.unlink(name)
        elif self.readonly or self.mem_path.exists():
            fd = os.open(self.mem_path, access)
        else:
            # A link that leads nowhere is an error, not a wish to create what it names.
            fd = os.open(self.mem_path, access | os.O_CREAT | os.O_EXCL, 0o644)
            made = self.mem_path
        try:
            self._fit(fd)
        except BaseException:
            os.close(fd)
            if made is not None:
                made.unlink()
            raise
        return fd

    def _fit(self, fd: int) -> None:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise self._error(f"{self.mem_path} is not a regular file")
        if state.st_size == 0 and not self.readonly:
            os.ftruncate(fd, self.size_bytes)
        elif state.st_size < self.size_bytes:
            raise self._error(
                f"{self.mem_path} holds {state.st_size} bytes, {self.size_bytes} are wanted"
            )


class PhantomBackend(MemoryBackend):
    """Memory without bytes: a bitmap says which pages are not zero; 1 TiB costs 32 MiB.

    Attributes:
        nonzero: the pages that are not zero, as a bitmap of ``size_bytes // 4096`` pages.
    """

    kind = BackendKind.PHANTOM
    has_bytes = False

    def __init__(
        self,
        id: str,
        size_bytes: int,
        *,
        share: bool = False,
        named_file: bool = False,
    ) -> None:
        super().__init__(id, size_bytes, share=share, named_file=named_file)
        self.nonzero = DirtyBitmap(size_bytes // PAGE_SIZE)

    @property
    def pristine(self) -> bool:
        """Whether no page is marked as not zero."""
        return self.nonzero.next_set(0) == self.nonzero.pages

    def array(self) -> npt.NDArray[np.uint8]:
        """Raise StateError: there are no bytes."""
        raise StateError(f"the array of {self.id}", "phantom", hint="this backend has no bytes")

    def data_extents(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.int64]:
        """Return one range, from the first page marked in it to ``stop``; none without a mark."""
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        first = self.nonzero.next_set(start // PAGE_SIZE) * PAGE_SIZE
        return whole(max(first, start), stop)

    def discard(self, start: int, stop: int) -> None:
        """Unmark the pages from byte ``start`` to byte ``stop``."""
        self.nonzero.clear_range(start // PAGE_SIZE, stop // PAGE_SIZE)

    def flush(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """The description of a backend, as ``-object TYPE,id=...,size=...`` gives it.

    Attributes:
        qom_type: the type.
        id: object id.
        size: size in bytes.
        mem_path: file or directory; for ``memory-backend-file`` only, which needs it.
        share: None is the default of the type.
        readonly: for ``memory-backend-file`` only.
    """

    qom_type: BackendKind
    id: str
    size: int
    mem_path: str | None = None
    share: bool | None = None
    readonly: bool = False

    def create(self) -> MemoryBackend:
        """Return a new backend of this description.

        Raises:
            ConfigError: the description does not fit its type, or the backend cannot be made.
        """
        is_file = self.qom_type is BackendKind.FILE
        if is_file is (self.mem_path is None) or (self.readonly and not is_file):
            raise ConfigError(
                f"{self.qom_type} {self.id}",
                "mem-path and readonly belong to memory-backend-file, which needs mem-path",
            )
        if self.mem_path is not None:
            return FileBackend(
                self.id, self.size, self.mem_path, share=bool(self.share), readonly=self.readonly
            )
        if self.qom_type is BackendKind.MEMFD:
            return MemfdBackend(self.id, self.size, share=self.share is not False)
        kind = RamBackend if self.qom_type is BackendKind.RAM else PhantomBackend
        return kind(self.id, self.size, share=bool(self.share))


def _memfd(backend: MemoryBackend) -> int:
    fd = os.memfd_create(backend.id, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, backend.size_bytes)
    except OSError as error:
        os.close(fd)
        raise ConfigError(f"{backend.kind} {backend.id}", str(error)) from error
    return fd
