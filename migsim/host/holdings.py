"""What a process holds: its memory backends, remembered so that they outlast their descriptors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..errors import StateError
from ..ram import FileBackend

if TYPE_CHECKING:
    from ..ram import MemoryBackend

Inode: TypeAlias = tuple[int, int]
"""Identity of a file, also of one without a name: device and inode number."""


class Process(Protocol):
    """Something that runs on a host and ends with it."""

    def kill(self) -> None:
        """End at once, as SIGKILL would end it, and close all memory backends.

        It must not raise, and need not tell the host, which knows.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """One memory backend in the hands of a process.

    Attributes:
        backend: the backend.
        inode: the file behind it, or None for memory of the process alone.
        path: where that file was found, or None for one without a name.
    """

    backend: MemoryBackend
    inode: Inode | None
    path: Path | None

    @property
    def named(self) -> bool:
        """Whether the file is still there under its path."""
        return self.path is not None and inode_of(self.path) == self.inode


def inode_of(file: Path | int) -> Inode | None:
    """Return the identity of a path or descriptor, None when there is nothing."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def holding(backend: MemoryBackend) -> Holding:
    """Return what a process that uses ``backend`` holds; the backend must still be open.

    A private mapping counts as memory of the process, because what is written to it is.
    """
    try:
        fd = backend.fileno()
    except StateError:
        return Holding(backend, None, None)
    if not backend.share:
        return Holding(backend, None, None)
    state = os.fstat(fd)
    path = None
    if isinstance(backend, FileBackend) and state.st_nlink > 0:
        path = Path(os.path.realpath(backend.mem_path))
    return Holding(backend, (state.st_dev, state.st_ino), path)


def is_memfd(fd: int) -> bool:
    """Return whether a descriptor is that of a memfd."""
    return os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:")
