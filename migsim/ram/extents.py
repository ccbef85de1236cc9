"""Which parts of a memory may hold anything but zero, found without touching the memory.

Looking at an untouched page is not free: it costs a fault, and on a tmpfs it even allocates the
page.  The kernel knows better: files have holes, and anonymous memory has a page table.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from ..units import GIB, PAGE_SIZE
from .pages import runs

if TYPE_CHECKING:
    import numpy.typing as npt

_PAGEMAP = "/proc/self/pagemap"
# Bits of a pagemap entry (Linux 4.2 and later): page present, page swapped out.
_POPULATED = np.uint64(1 << 63 | 1 << 62)
# Beyond so many extents, asking costs more than looking: the rest counts as one.
_MOST_EXTENTS = 4096
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's


def whole(start: int, stop: int) -> npt.NDArray[np.int64]:
    """Return the extents of a memory of which nothing is known: one, or none when it is empty."""
    return np.array([(start, stop)] if start < stop else [], np.int64).reshape(-1, 2)


class FileExtents:
    """The data extents of an open file, by SEEK_DATA and SEEK_HOLE.

    The last extent found is remembered, so that a walk through a large file in windows asks the
    kernel once an extent.  A remembered extent may have shrunk, never grown: `forget` after
    punching holes.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._known = (0, 0)

    def forget(self) -> None:
        """Drop what is remembered."""
        self._known = (0, 0)

    def within(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the byte ranges between ``start`` and ``stop`` that may hold data.

        int64 of shape ``(n, 2)``, ascending and apart, rounded outwards to whole pages.  One range
        that covers everything when the file system cannot tell.
        """
        found: list[tuple[int, int]] = []
        at = start
        while at < stop and len(found) < _MOST_EXTENTS:
            begin, end = self._next(at, stop)
            if begin >= stop:
                return _paged(found, start, stop)
            found.append((begin, end))
            at = end
        if at < stop:
            found.append((at, stop))
        return _paged(found, start, stop)

    def _next(self, at: int, stop: int) -> tuple[int, int]:
        """Return the next extent at or after ``at``; it begins at ``stop`` when there is none."""
        begin, end = self._known
        if begin <= at < end:
            return at, end
        try:
            status = os.fstat(self._fd)
            if status.st_blocks * _BLOCK_BYTES >= status.st_size > at:
                # Without a hole; to find its end, a tmpfs would look at every page of the file.
                self._known = (0, status.st_size)
                return at, status.st_size
            begin = os.lseek(self._fd, at, os.SEEK_DATA)
            end = os.lseek(self._fd, begin, os.SEEK_HOLE)
        except OSError as error:
            return (stop, stop) if error.errno == errno.ENXIO else (at, stop)
        self._known = (begin, end)
        return begin, end


def _paged(found: list[tuple[int, int]], start: int, stop: int) -> npt.NDArray[np.int64]:
    if not found:
        return whole(0, 0)
    extents = np.array(found, np.int64)
    extents[:, 0] = np.maximum(extents[:, 0] // PAGE_SIZE * PAGE_SIZE, start)
    extents[:, 1] = np.minimum(-(-extents[:, 1] // PAGE_SIZE) * PAGE_SIZE, stop)
    return _joined(extents)


def anonymous_extents(address: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Return the byte ranges of an anonymous private mapping that were ever touched.

    ``address`` is where the mapping begins, ``start`` and ``stop`` are page-aligned offsets in it;
    result as of `FileExtents.within`.  One range that covers everything when the kernel does not
    tell.
    """
    if mmap.PAGESIZE != PAGE_SIZE:
        return whole(start, stop)
    try:
        fd = os.open(_PAGEMAP, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return whole(start, stop)
    try:
        found = [_touched(fd, address, at, min(at + GIB, stop)) for at in range(start, stop, GIB)]
    finally:
        os.close(fd)
    return _joined(np.concatenate(found)) if found else whole(0, 0)


def _touched(fd: int, address: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    wanted = (stop - start) // PAGE_SIZE * 8
    entries = os.pread(fd, wanted, (address + start) // PAGE_SIZE * 8)
    if len(entries) != wanted:
        return whole(start, stop)
    first, length = runs(np.frombuffer(entries, np.uint64) & _POPULATED != 0)
    return np.stack((first, first + length), axis=1) * PAGE_SIZE + start


def _joined(extents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return ascending extents with those that touch or overlap made one."""
    apart = np.flatnonzero(extents[1:, 0] > extents[:-1, 1])
    if len(extents) == 0 or apart.size == len(extents) - 1:
        return extents
    first = extents[np.append(0, apart + 1), 0]
    last = extents[np.append(apart, len(extents) - 1), 1]
    return np.stack((first, last), axis=1)
