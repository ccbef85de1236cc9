"""Pages of a mapped-ram file that hold something although they do not count.

A page that became zero after an earlier pass had stored it is only a clear bit; what was stored
stays in the file (spec stream.md section 10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..units import PAGE_SIZE
from .bitmap import DirtyBitmap
from .extents import FileExtents

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

_PAGES = 1 << 16


def stale_pages(fd: int, offset: int, stored: DirtyBitmap) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the pages that are not ``stored`` and may hold data in the file all the same.

    ``offset`` is where page 0 lies in the open file ``fd``.  Holes of the file are not looked at.
    """
    if stored.count() == stored.pages:
        return
    extents = FileExtents(fd).within(offset, offset + stored.pages * PAGE_SIZE)
    clear = DirtyBitmap(stored.pages)
    clear.set_all()
    clear.subtract(stored)
    for start, stop in ((extents - offset) // PAGE_SIZE).tolist():
        at = start
        while (pfns := clear.take(at, _PAGES, stop)).size:
            yield pfns
            at = int(pfns[-1]) + 1
