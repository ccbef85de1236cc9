"""Page contents in bulk: which pages are zero, and how page numbers fall into runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..threads import in_halves

if TYPE_CHECKING:
    import numpy.typing as npt

# Pages that are looked at together: 1 MiB of 4 KiB pages stays in the second-level cache.
_PIECE_PAGES = 256
# From this mean length on, runs of pages are looked at in place instead of being copied together.
_LONG_RUN = 32
# A thread costs some 0.1 ms; half of 16 MiB takes several times as long where there is work to do.
_PAGES_FOR_TWO = 4096


def runs(
    pages: npt.NDArray[np.bool_] | npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return first members and lengths of the runs in a mask or in ascending numbers.

    ``pages`` is a bool mask (runs of True, by index) or an int64 array of ascending numbers without
    repeats (runs of consecutive numbers).  Both results are int64 arrays of one member a run.
    """
    if pages.dtype == np.bool_:
        edges = np.flatnonzero(np.diff(pages.view(np.int8), prepend=0, append=0))
        return edges[0::2], edges[1::2] - edges[0::2]
    if pages.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    last = np.append(np.flatnonzero(np.diff(pages) != 1), pages.size - 1)
    first = np.append(0, last[:-1] + 1)
    return pages[first].astype(np.int64), last - first + 1


def zero_page_mask(view: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return for every page whether all of its bytes are zero.

    ``view`` is a uint8 array of shape ``(n, page_size)``, rows contiguous, page_size a multiple of
    8; the result is a bool array of shape ``(n,)``.
    """
    words = view.view(np.uint64)
    mask = np.empty(len(words), np.bool_)
    for at in range(0, len(words), _PIECE_PAGES):
        piece = words[at : at + _PIECE_PAGES]
        # Nearly every page that is not zero gives itself away by its first word.
        maybe = piece[:, 0] == 0
        count = int(np.count_nonzero(maybe))
        if count == len(piece) and not piece.max():
            pass  # one reduction over adjacent words runs at the speed of memory
        elif count * 2 > len(piece):
            maybe = piece.max(axis=1) == 0
        elif count:
            maybe[maybe] = piece[maybe].max(axis=1) == 0
        mask[at : at + _PIECE_PAGES] = maybe
    return mask


def zero_page_mask_by_two(view: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return what `zero_page_mask` does, found by two threads where there are processors for it.

    Memory that is not in the process's page table yet is brought there by both as well.
    """
    found = in_halves(lambda part: zero_page_mask(view[part]), len(view), _PAGES_FOR_TWO)
    return found[0] if len(found) == 1 else np.concatenate(found)


def zero_pages_at(
    view: npt.NDArray[np.uint8], pfns: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return for every one of ``pfns`` whether that page of ``view`` is zero.

    ``view`` as of `zero_page_mask`; ``pfns`` int64 in any order, repeats allowed; the result is a
    bool array of its shape.
    """
    words = view.view(np.uint64)
    mask: npt.NDArray[np.bool_] = words[pfns, 0] == 0
    left = np.flatnonzero(mask)
    where = pfns[left]
    starts, lengths = runs(where)
    if where.size >= starts.size * _LONG_RUN:
        found = [
            zero_page_mask(view[start : start + length])
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
    else:
        found = [
            words[where[at : at + _PIECE_PAGES]].max(axis=1) == 0
            for at in range(0, where.size, _PIECE_PAGES)
        ]
    if found:
        mask[left] = np.concatenate(found)
    return mask
