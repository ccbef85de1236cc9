"""The simulated mounts of a host: real directories, and what an event does to their files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from ..errors import ConfigError
from ..ram.extents import FileExtents
from ..units import MIB
from .survival import RamKind

MOUNTS: Final[Mapping[str, RamKind]] = MappingProxyType(
    {
        "shm": RamKind.TMPFS,
        "pkram": RamKind.TMPFS_PKRAM,
        "dax": RamKind.DAX,
        "disk": RamKind.DISK,
    }
)
"""The mounts of a host unless told otherwise: directory below its root, and what it stands for."""

MOUNT_KINDS: Final = frozenset(MOUNTS.values())
"""The kinds of RAM that have a name in a file system."""

MARKER: Final = ".migsim-host"
"""Name of the file that says that a directory is the root of a host and may be wiped."""


class FileLoss(NamedTuple):
    """A file that lost its contents: its path and the size it had in bytes."""

    path: Path
    size_bytes: int


class _Contents(NamedTuple):
    size_bytes: int
    digest: bytes


@dataclass(slots=True)
class Mount:
    """One mount: a directory and what its files lie in.

    Attributes:
        path: the directory, absolute and free of symbolic links.
        kind: what the files lie in.
    """

    path: Path
    kind: RamKind
    _synced: dict[Path, _Contents] = field(default_factory=dict)

    def files(self) -> Iterator[Path]:
        """Yield the regular files below the mount, in a fixed order; no link is followed."""
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path

    def sync(self) -> None:
        """Remember what the files hold now as what a loss of power leaves."""
        self._synced = {path: _contents(path) for path in self.files()}

    def wipe(self) -> list[FileLoss]:
        """Empty the mount; return the files that were in it."""
        lost = [FileLoss(path, path.stat().st_size) for path in self.files()]
        with os.scandir(self.path) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        return lost

    def lose_unsynced(self) -> list[FileLoss]:
        """Make what was written since the last sync unusable; return the files that were.

        Contents are compared, not times: a write through a mapping does not always change the
        time of a file.  A device keeps its size, and so does a file of which an older version was
        synced; another file is removed.  A synced file that is gone stays gone.
        """
        lost = []
        left: dict[Path, _Contents] = {}
        for path in list(self.files()):
            before, now = self._synced.get(path), _contents(path)
            if before == now:
                left[path] = now
                continue
            lost.append(FileLoss(path, now.size_bytes))
            keeps = now if self.kind is RamKind.DAX else before
            if keeps is None:
                path.unlink()
            else:
                _zero(path, keeps.size_bytes)
                left[path] = _Contents(keeps.size_bytes, _digest().digest())
        self._synced = left
        return lost


def make_mounts(root: Path, kinds: Mapping[str, RamKind]) -> dict[str, Mount]:
    """Return the mounts below ``root``, by name; missing directories are created.

    Below a root that was a host before, files stay as they are.  Elsewhere an existing directory
    with the name of a mount is refused, because events wipe mounts.

    Raises:
        ConfigError: such a directory, a link, a name that is not a plain one, or a kind of RAM
            that has no files.
    """
    for name, kind in kinds.items():
        if Path(name).name != name:
            raise ConfigError(f"mount {name}", "a plain directory name is needed")
        if kind not in MOUNT_KINDS:
            raise ConfigError(f"mount {name}", f"{kind} RAM has no files")
        path = root / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ConfigError(f"mount {name}", f"{path} is not a directory")
        if path.exists() and not (root / MARKER).is_file():
            raise ConfigError(
                f"mount {name}", f"{path} was not made for a host, and events would wipe it"
            )
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).touch()
    mounts = {name: Mount(root.resolve() / name, kind) for name, kind in kinds.items()}
    for mount in mounts.values():
        mount.path.mkdir(exist_ok=True)
    return mounts


def _digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _contents(path: Path) -> _Contents:
    """Return the size and a digest of a file; holes and zeroes are the same."""
    digest = _digest()
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size_bytes = os.fstat(fd).st_size
        at = 0
        for start, stop in FileExtents(fd).within(0, size_bytes).tolist():
            # Whole aligned pieces, each once, so that where holes begin does not matter.
            at = max(at, start // MIB * MIB)
            while at < stop:
                piece = os.pread(fd, MIB, at)
                if np.frombuffer(piece, np.uint8).any():
                    digest.update(at.to_bytes(8, "little") + piece)
                at += MIB
    return _Contents(size_bytes, digest.digest())


def _zero(path: Path, size_bytes: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)
