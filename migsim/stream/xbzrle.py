"""XBZRLE: a page as what changed in it (spec stream.md section 8.5), encoded.

A delta is a chain of runs: how many bytes stay, how many are new, the new bytes.  A length takes
one byte, or two: its low seven bits with the top bit set, then its high bits.  Many pages are
encoded at once, so that a page costs no step of Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERFLOW = -1
"""Size that stands for a page whose delta would be too long."""
LENGTH_BITS = 7
"""Bits of a length in its first byte; a second one holds as many more."""
ONE_BYTE = 1 << LENGTH_BITS
"""Lengths below this take one byte; also the bit that says a second one follows."""
RUN_HEADER_BYTES = 2
"""Bytes of the two lengths of a run, at least."""
PAGE_BYTES_MAX = 1 << 14
"""Largest page whose lengths can be written; QEMU encodes no larger ones either."""

# Behind the last run the encoder wants room for one more, even where none comes.
_TAIL_BYTES = 2
_PIECE_PAGES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Deltas:
    """Deltas of several pages, one after another.

    Attributes:
        data: shape (m,) uint8, the deltas without anything between them.
        sizes: shape (n,) int64, bytes of each; 0 where a page did not change, ``OVERFLOW`` where
            there is no delta because it would be too long.
    """

    data: NDArray[np.uint8]
    sizes: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Index in ``data`` of each delta's first byte, shape (n,) int64."""
        sizes = np.maximum(self.sizes, 0)
        return np.cumsum(sizes) - sizes


def encode_deltas(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> Deltas:
    """Return what turns each row of ``old`` into that of ``new``, both of shape (n, 4096) uint8.

    Runs are as long as they can be and the unchanged end of a page is left out, as QEMU does.  A
    delta may be as long as a page, but two bytes less when the page's last byte did not change;
    above that its size is ``OVERFLOW`` (compared with QEMU 10.0: same bytes, same limit).

    Raises:
        ConfigError: pages are larger than 16 KiB.
    """
    if new.shape[1] > PAGE_BYTES_MAX:
        raise ConfigError("xbzrle", f"pages of {new.shape[1]} bytes are too large for it")
    pieces = [
        _encode_piece(old[first : first + _PIECE_PAGES], new[first : first + _PIECE_PAGES])
        for first in range(0, len(new), _PIECE_PAGES)
    ]
    if not pieces:
        return Deltas(np.empty(0, np.uint8), np.empty(0, np.int64))
    return Deltas(
        np.concatenate([piece.data for piece in pieces]),
        np.concatenate([piece.sizes for piece in pieces]),
    )


def _encode_piece(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> Deltas:
    changed = old != new
    # A column of False on both sides makes every run begin and end inside its row.
    pages, page_bytes = new.shape
    padded = np.zeros((pages, page_bytes + 2), np.bool_)
    padded[:, 1:-1] = changed
    edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    row, start = np.divmod(edges[0::2], page_bytes + 1)
    end = edges[1::2] - row * (page_bytes + 1)
    sizes, skip = _sizes(row, start, end, (pages, page_bytes))
    keep_row = sizes > 0
    keep = keep_row[row]
    headers = _headers(skip[keep], (end - start)[keep])
    changed &= keep_row[:, None]
    return Deltas(_put(headers, (end - start)[keep], new[changed]), sizes)


def _sizes(
    row: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return bytes of each page's delta or ``OVERFLOW``, and unchanged bytes before each run."""
    skip, length = start.copy(), end - start
    same_row = row[1:] == row[:-1]
    skip[1:] -= np.where(same_row, end[:-1], 0)
    run_bytes = RUN_HEADER_BYTES + (skip >= ONE_BYTE) + (length >= ONE_BYTE) + length
    pages, page_bytes = shape
    sizes = np.zeros(pages, np.int64)
    limit = np.full(pages, page_bytes)
    if row.size:
        firsts = np.flatnonzero(np.append(True, ~same_row))
        sizes[row[firsts]] = np.add.reduceat(run_bytes, firsts)
        lasts = np.append(firsts[1:], row.size) - 1
        limit[row[lasts]] -= np.where(end[lasts] < page_bytes, _TAIL_BYTES, 0)
    sizes[sizes > limit] = OVERFLOW
    return sizes, skip


def _headers(
    skip: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return both lengths of each run as bytes, shape (runs, 4), and how many of them count.

    Rows are padded at the end.
    """
    rows = np.zeros((skip.size, 4), np.uint8)
    wide_skip, wide = skip >= ONE_BYTE, length >= ONE_BYTE
    rows[:, 0] = (skip & (ONE_BYTE - 1)) | np.where(wide_skip, ONE_BYTE, 0)
    rows[:, 1] = skip >> LENGTH_BITS
    at = 1 + wide_skip.astype(np.int64)
    every = np.arange(skip.size)
    rows[every, at] = (length & (ONE_BYTE - 1)) | np.where(wide, ONE_BYTE, 0)
    rows[every[wide], at[wide] + 1] = length[wide] >> LENGTH_BITS
    return rows, at + 1 + wide


def _put(
    headers: tuple[NDArray[np.uint8], NDArray[np.int64]],
    lengths: NDArray[np.int64],
    content: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return headers and contents of all runs, merged; ``content`` has them in order."""
    rows, header_bytes = headers
    sizes = header_bytes + lengths
    starts = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    is_content = np.ones(out.size, np.bool_)
    for column in range(rows.shape[1]):
        with_column = header_bytes > column
        places = starts[with_column] + column
        out[places] = rows[with_column, column]
        is_content[places] = False
    out[is_content] = content
    return out
