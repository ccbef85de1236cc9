"""RAM blocks: named pieces of guest memory, and the list of them in stream order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, StateError
from ..units import PAGE_SIZE
from .backends import PhantomBackend
from .dirtylog import DirtyLog
from .pages import zero_page_mask_by_two, zero_pages_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from .backends import MemoryBackend
    from .watch import Watch

# Above this many pages of span per page asked for, finding holes costs more than looking.
_SPARSE_SPAN = 64
HOLE_PAGES = 1 << 16
"""Pages that `RAMBlock.hole_end` looks over at once: 256 MiB."""


class RAMBlock:
    """A named piece of guest RAM over a memory backend, with its dirty log.

    Attributes:
        name: the id string in the stream (``ram0``, ``pc.ram``, ``/rom@etc/acpi/tables`` ...).
        backend: where the bytes are.
        used_bytes: length in use, which the stream announces.
        max_bytes: largest length, which decides the order of blocks; the size of the backend.
        address: guest physical address of the block's region in its container, bytes.
        resizable: the incoming side may change ``used_bytes``.
        migratable: the block is part of the stream.
        firmware: it holds what every machine of its kind has from its start.
        page_size: bytes a page.
        log: writes of the guest, once started; takes no memory before.

    Raises:
        ConfigError: the length in use is not a positive multiple of the page size, or larger than
            the backend.
    """

    page_size = PAGE_SIZE

    def __init__(
        self,
        name: str,
        backend: MemoryBackend,
        used_bytes: int | None = None,
        *,
        address: int = 0,
        resizable: bool = False,
        migratable: bool = True,
        firmware: bool = False,
    ) -> None:
        self.name = name
        self.backend = backend
        self.max_bytes = backend.size_bytes
        self.address = address
        self.resizable = resizable
        self.migratable = migratable
        self.firmware = firmware
        self.used_bytes = self._fitting(self.max_bytes if used_bytes is None else used_bytes)
        self.log = DirtyLog(self.pages)
        self.watch: Watch | None = None

    @property
    def pages(self) -> int:
        """Pages in use."""
        return self.used_bytes // self.page_size

    @property
    def max_pages(self) -> int:
        """Pages that the block can grow to."""
        return self.max_bytes // self.page_size

    @property
    def ignorable(self) -> bool:
        """Whether ``x-ignore-shared`` leaves the pages out of the stream."""
        return self.backend.ignorable

    @property
    def is_blank_firmware(self) -> bool:
        """Whether nothing is known of the firmware in it, which would be damage to a receiver."""
        return self.firmware and self.backend.has_bytes and not self.view().any()

    def resize(self, used_bytes: int) -> None:
        """Change the length in use.

        Raises:
            ConfigError: the block is not resizable, or the length does not fit.
            StateError: the dirty log is running.
        """
        if used_bytes == self.used_bytes:
            return
        if not self.resizable:
            raise ConfigError(
                f"RAM block {self.name}",
                f"has {self.used_bytes} bytes and cannot be given {used_bytes}",
            )
        if self.log.active:
            raise StateError(f"resizing {self.name}", "dirty logging", hint="stop its log first")
        self.used_bytes = self._fitting(used_bytes)
        self.log = DirtyLog(self.pages, self.log.chunk_shift)

    def view(self) -> npt.NDArray[np.uint8]:
        """Return the pages in use: uint8 of shape ``(pages, page_size)``, the memory itself.

        Raises:
            StateError: the backend is closed or has no bytes.
        """
        return self.backend.array()[: self.used_bytes].reshape(self.pages, self.page_size)

    def read(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the content of ``pfns``: uint8 of shape ``(n, page_size)``.

        It is the memory itself when the page numbers follow each other, else a copy.

        Raises:
            IndexError: a page is outside the block.
            StateError: the backend is closed or has no bytes.
        """
        self.check(pfns)
        if consecutive(pfns):
            return self.view()[int(pfns[0]) : int(pfns[0]) + pfns.size]
        return self.view()[pfns]

    def zero_mask(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return for every one of ``pfns`` whether all its bytes are zero (bool of its shape).

        Holes of the backend are not touched, unless the page numbers lie very far apart.

        Raises:
            IndexError: a page is outside the block.
            StateError: the backend is closed.
        """
        self.check(pfns)
        if isinstance(self.backend, PhantomBackend):
            return ~self.backend.nonzero.test(pfns)
        view = self.view()
        inside = self._may_hold_data(pfns)
        if inside is not None:
            mask = np.ones(pfns.size, np.bool_)
            mask[inside] = zero_pages_at(view, pfns[inside])
            return mask
        if consecutive(pfns):
            return zero_page_mask_by_two(view[int(pfns[0]) : int(pfns[0]) + pfns.size])
        return zero_pages_at(view, pfns)

    def hole_end(self, pfn: int) -> int:
        """Return the first page from ``pfn`` on that may be anything but zero; no page is touched.

        That is ``pfn`` itself where nothing is known.  At most `HOLE_PAGES` pages are looked over.
        """
        stop = min(pfn + HOLE_PAGES, self.pages)
        extents = self.backend.data_extents(pfn * self.page_size, stop * self.page_size)
        return int(extents[0, 0]) // self.page_size if len(extents) else stop

    def __repr__(self) -> str:
        return f"RAMBlock({self.name!r}, {self.used_bytes} of {self.max_bytes} bytes)"

    def _may_hold_data(self, pfns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Return the indices of ``pfns`` that lie in data extents, or None when all may."""
        if pfns.size == 0:
            return None
        lo, hi = int(pfns.min()), int(pfns.max()) + 1
        if hi - lo > pfns.size * _SPARSE_SPAN:
            return None
        start, stop = lo * self.page_size, hi * self.page_size
        extents = self.backend.data_extents(start, stop)
        if len(extents) == 1 and extents[0, 0] <= start and extents[0, 1] >= stop:
            return None
        # In the flat list of edges, a page in an extent has an odd number of edges before it.
        edges = np.searchsorted(extents.ravel(), pfns * self.page_size, side="right")
        return np.flatnonzero(edges & 1)

    def about_to_write(self, pfns: npt.NDArray[np.int64]) -> None:
        """Tell the watch, if there is one, before a guest writes to ``pfns``."""
        if self.watch is not None:
            self.watch.about_to_write(pfns)

    def about_to_write_range(self, low: int, high: int) -> None:
        """Tell the watch, if there is one, before pages ``low`` to ``high - 1`` are written."""
        if self.watch is not None:
            self.watch.about_to_write(np.arange(low, high))

    def check(self, pfns: npt.NDArray[np.int64]) -> None:
        """Raise IndexError when one of ``pfns`` is outside the block."""
        if pfns.size and (int(pfns.min()) < 0 or int(pfns.max()) >= self.pages):
            raise IndexError(f"pages {pfns.min()} to {pfns.max()} of {self.pages} in {self.name}")

    def _fitting(self, used_bytes: int) -> int:
        if not 0 < used_bytes <= self.max_bytes or used_bytes % self.page_size:
            raise ConfigError(
                f"RAM block {self.name}",
                f"{used_bytes} bytes is not a positive multiple of {self.page_size}"
                f" up to {self.max_bytes}",
            )
        return used_bytes


def consecutive(pfns: npt.NDArray[np.int64]) -> bool:
    """Return whether ``pfns`` (int64) are ascending without a gap, and there is at least one."""
    if pfns.size == 0 or int(pfns[-1]) - int(pfns[0]) != pfns.size - 1:
        return False
    return bool((pfns[1:] - pfns[:-1] == 1).all())


class RAMList:
    """The RAM blocks of a machine, in the order in which a stream announces them.

    The order is by descending largest length, then by age (spec stream.md section 8.2, QEMU 10.0).
    """

    def __init__(self, blocks: Iterable[RAMBlock] = ()) -> None:
        self._blocks: dict[str, RAMBlock] = {}
        self._ordered: list[RAMBlock] = []
        for block in blocks:
            self.add(block)

    def add(self, block: RAMBlock) -> None:
        """Add ``block`` as the youngest.

        Raises:
            ConfigError: the list has a block of that name.
        """
        if block.name in self._blocks:
            raise ConfigError(f"RAM block {block.name}", "there is another block of that name")
        self._blocks[block.name] = block
        self._ordered = sorted(self._blocks.values(), key=lambda b: -b.max_bytes)

    def remove(self, name: str) -> RAMBlock:
        """Take the block called ``name`` out and return it; raises KeyError when there is none."""
        block = self._blocks.pop(name)
        self._ordered.remove(block)
        return block

    def get(self, name: str) -> RAMBlock | None:
        """Return the block called ``name``, or None."""
        return self._blocks.get(name)

    def migratable(self) -> list[RAMBlock]:
        """Return the blocks that are part of a stream, in order, ignored ones included."""
        return [block for block in self._ordered if block.migratable]

    @property
    def total_bytes(self) -> int:
        """Used lengths of all migratable blocks, ignored ones included (stream.md section 8.2)."""
        return sum(block.used_bytes for block in self.migratable())

    def close(self) -> None:
        """Close the backends of all blocks."""
        for block in self._ordered:
            block.backend.close()

    def __getitem__(self, name: str) -> RAMBlock:
        return self._blocks[name]

    def __contains__(self, name: object) -> bool:
        return name in self._blocks

    def __iter__(self) -> Iterator[RAMBlock]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)
