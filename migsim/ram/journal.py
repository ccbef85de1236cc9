"""Loading RAM so that it can be taken back: what was there is remembered until the load is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import StateError
from .backends import PhantomBackend
from .bitmap import DirtyBitmap
from .block import consecutive
from .memory import MappedBackend
from .pages import runs, zero_page_mask
from .sink import PageSink
from .stale import stale_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from .block import RAMBlock

# Up to this many runs are given back to the kernel one by one; more are overwritten in bulk.
_MOST_DISCARDS = 4096
# From this mean length on, runs of pages are written one by one.
_LONG_RUN = 16


class RamJournal:
    """Writes page contents into RAM blocks and remembers what they replaced.

    Kept is the old content of pages that were not zero, once a page; of the others only that they
    were touched.  A block whose memory is untouched is never looked at.  Between the first write
    and `commit` or `rollback` nobody else may write to the blocks.

    Pages that would become zero and are zero are left alone, so that holes stay holes.  A block may
    be resized in between; a rollback gives it its old length again.

    Args:
        blocks: the blocks that may be written to.
    """

    def __init__(self, blocks: Iterable[RAMBlock]) -> None:
        self._entries = {block.name: _entry(block) for block in blocks}

    def write(
        self, block: RAMBlock, pfns: npt.NDArray[np.int64], data: npt.NDArray[np.uint8] | None
    ) -> None:
        """Give ``pfns`` of ``block`` the content ``data``.

        ``pfns`` is int64 of shape ``(n,)``, ``data`` uint8 of shape ``(n, page_size)``; of a page
        that is named twice the last content stays.  ``data`` None is content that is not zero and
        not known, for phantom memory only.

        Raises:
            KeyError: the block is not one of the journal's.
            IndexError: a page is outside the block.
            ValueError: ``data`` is of another shape, or missing where there are bytes.
        """
        block.check(pfns)
        self._entries[block.name].write(pfns, data)

    def zero(self, block: RAMBlock, pfns: npt.NDArray[np.int64]) -> None:
        """Make ``pfns`` of ``block`` zero; arguments and errors as of `write`."""
        block.check(pfns)
        self._entries[block.name].zero(pfns)

    def adopt(self, block: RAMBlock, fd: int, offset: int, stored: DirtyBitmap) -> None:
        """Let the memory of ``block`` be a private view of a file from byte ``offset`` on.

        Of pages that are not in ``stored`` what the file holds does not count: they are zero.

        Raises:
            KeyError: the block is not one of the journal's.
            ConfigError: the file cannot be mapped there.
            StateError: the block has memory that no file can lie over.
        """
        self._entries[block.name].adopt(fd, offset, stored)

    def settle(self) -> None:
        """Wait until everything is in the blocks' memory; needed before someone else looks at it.

        Raises:
            ConfigError: the file system of a shared file has no room; from the other methods too.
        """
        for entry in self._entries.values():
            entry.settle()

    def commit(self) -> None:
        """Keep what was written and forget the rest; the journal is empty and usable again."""
        self.settle()
        for entry in self._entries.values():
            entry.forget()

    def rollback(self) -> None:
        """Give every block the length and every page the content from before; then as `commit`.

        Raises:
            StateError: a backend is closed, or a block was resized and its dirty log runs.
        """
        for entry in self._entries.values():
            entry.rollback()
            entry.forget()


class _BytesEntry:
    """The journal of a block that has bytes."""

    _undo: Callable[[], None] | None

    def __init__(self, block: RAMBlock) -> None:
        self._block = block
        self._sink = PageSink(block)
        self.forget()

    def settle(self) -> None:
        self._sink.settle()

    def adopt(self, fd: int, offset: int, stored: DirtyBitmap) -> None:
        self._sink.settle()
        backend = self._block.backend
        if not isinstance(backend, MappedBackend):
            raise StateError(f"mapping a file over {backend.id}", "without a mapping")
        self._undo = backend.map_over(fd, offset)
        for pfns in stale_pages(fd, offset, stored):
            left = pfns[~self._block.zero_mask(pfns)]
            self._block.view()[left] = 0

    def forget(self) -> None:
        self._sink.stop()
        self._used_bytes = self._block.used_bytes
        # Made with the first write: of a block that nothing is written to, size must not matter.
        self._bitmap: DirtyBitmap | None = None
        self._saved: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]] = []
        self._undo = None
        # Asked once, before the first write: afterwards the memory is not untouched any more.
        self._pristine: bool | None = None

    def write(self, pfns: npt.NDArray[np.int64], data: npt.NDArray[np.uint8] | None) -> None:
        wanted = (pfns.size, self._block.page_size)
        if data is None or data.shape != wanted:
            found = None if data is None else data.shape
            raise ValueError(f"content of shape {wanted} is wanted, not {found}")
        self._remember(pfns)
        if consecutive(pfns):
            self._sink.write(int(pfns[0]), data)
        elif self._long_runs(pfns):
            starts, lengths = runs(pfns)
            at = 0
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                self._sink.write(start, data[at : at + length])
                at += length
        else:
            self._sink.settle()
            self._block.view()[pfns] = data

    def zero(self, pfns: npt.NDArray[np.int64]) -> None:
        if self._is_pristine():
            pfns = pfns[self._touched.test(pfns)]
        if not pfns.size:
            return
        self._sink.settle()
        pfns = pfns[~self._block.zero_mask(pfns)]
        self._remember(pfns)
        self._block.view()[pfns] = 0

    def rollback(self) -> None:
        self._sink.stop()
        block = self._block
        if self._undo is not None:
            self._undo()
        pages = block.backend.array()[: block.max_pages * block.page_size]
        view = pages.reshape(block.max_pages, block.page_size)
        pfns = np.empty(0, np.int64) if self._bitmap is None else self._bitmap.take(0, len(view))
        starts, lengths = runs(pfns)
        if starts.size <= _MOST_DISCARDS:
            size = block.page_size
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                block.backend.discard(start * size, (start + length) * size)
        else:
            view[pfns] = 0
        for old, content in self._saved:
            view[old] = content
        block.resize(self._used_bytes)

    @staticmethod
    def _long_runs(pfns: npt.NDArray[np.int64]) -> bool:
        steps = np.diff(pfns)
        return bool((steps > 0).all()) and int(np.count_nonzero(steps != 1)) * _LONG_RUN < pfns.size

    @property
    def _touched(self) -> DirtyBitmap:
        if self._bitmap is None:
            self._bitmap = DirtyBitmap(self._block.max_pages)
        return self._bitmap

    def _remember(self, pfns: npt.NDArray[np.int64]) -> None:
        if not self._is_pristine():
            fresh = pfns[~self._touched.test(pfns)]
            fresh = fresh[~self._block.zero_mask(fresh)]
            if fresh.size:
                # A page named twice is saved twice, with the same content.
                self._saved.append((fresh, np.array(self._block.read(fresh))))
        self._touched.set_pfns(pfns)

    def _is_pristine(self) -> bool:
        if self._pristine is None:
            self._pristine = self._block.backend.pristine
        return self._pristine


class _PhantomEntry:
    """The journal of a block of which only the pages that are not zero are known."""

    def __init__(self, block: RAMBlock, backend: PhantomBackend) -> None:
        self._block = block
        self._backend = backend
        self.forget()

    def adopt(self, fd: int, offset: int, stored: DirtyBitmap) -> None:
        raise StateError(f"mapping a file over {self._backend.id}", "without bytes")

    def settle(self) -> None:
        """Do nothing: there are no bytes under way."""

    def forget(self) -> None:
        self._used_bytes = self._block.used_bytes
        self._before: DirtyBitmap | None = None

    def write(self, pfns: npt.NDArray[np.int64], data: npt.NDArray[np.uint8] | None) -> None:
        self._remember()
        if data is None:
            self._backend.nonzero.set_pfns(pfns)
            return
        zero = zero_page_mask(np.ascontiguousarray(data))
        # The last content of a page counts, so what is zero must not be unmarked as a whole after
        # what is not; pages that are named twice are rare, and told apart by their last place.
        last = _last_places(pfns)
        pfns, zero = pfns[last], zero[last]
        self._backend.nonzero.set_pfns(pfns[~zero])
        self._backend.nonzero.clear_pfns(pfns[zero])

    def zero(self, pfns: npt.NDArray[np.int64]) -> None:
        self._remember()
        self._backend.nonzero.clear_pfns(pfns)

    def rollback(self) -> None:
        if self._before is not None:
            self._backend.nonzero.words[:] = self._before.words
        self._block.resize(self._used_bytes)

    def _remember(self) -> None:
        if self._before is None:
            self._before = self._backend.nonzero.copy()


def _last_places(pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the index of the last occurrence of every distinct page number."""
    _, places = np.unique(pfns[::-1], return_index=True)
    return pfns.size - 1 - places


def _entry(block: RAMBlock) -> _BytesEntry | _PhantomEntry:
    if isinstance(block.backend, PhantomBackend):
        return _PhantomEntry(block, block.backend)
    return _BytesEntry(block)
