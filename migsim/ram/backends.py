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

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StateError
from ..units import PAGE_SIZE
from .bitmap import DirtyBitmap
from .extents import whole
from .memory import MappedBackend, MemoryBackend
from .spec import BackendKind, BackendSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "BackendKind",
    "BackendSpec",
    "FileBackend",
    "MemfdBackend",
    "MemoryBackend",
    "PhantomBackend",
    "RamBackend",
]


class RamBackend(MappedBackend):
    """``memory-backend-ram``: memory without a name; shared, it has a descriptor to hand over."""

    kind = BackendKind.RAM

    def __init__(
        self,
        id: str,
        size_bytes: int,
        *,
        share: bool = False,
        fd: int | None = None,
        in_place: bool = False,
    ) -> None:
        super().__init__(id, size_bytes, share=share)
        self.in_place = in_place
        if share and in_place:
            raise self.error("memory that a file becomes in place is private")
        if share:
            self.map_descriptor(_memfd(self) if fd is None else os.dup(fd))
        else:
            self.map_anonymous()


class MemfdBackend(MappedBackend):
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
        self.map_descriptor(_memfd(self) if fd is None else os.dup(fd))


class FileBackend(MappedBackend):
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
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self.error(f"cannot open {self.mem_path}: {reason}") from error
        self.map_descriptor(fd)

    def _open(self) -> int:
        """Return a descriptor of a file that is long enough; unmake what was made on failure."""
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
            raise self.error(f"{self.mem_path} is not a regular file")
        if state.st_size == 0 and not self.readonly:
            os.ftruncate(fd, self.size_bytes)
        elif state.st_size < self.size_bytes:
            raise self.error(
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


def _memfd(backend: MemoryBackend) -> int:
    fd = -1
    try:
        fd = os.memfd_create(backend.id, os.MFD_CLOEXEC)
        os.ftruncate(fd, backend.size_bytes)
    except (OSError, OverflowError) as error:
        if fd >= 0:
            os.close(fd)
        raise backend.error(
            f"cannot make a memfd of {backend.size_bytes} bytes: {error}"
        ) from error
    return fd
