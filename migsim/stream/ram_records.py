"""Page records of the ram section, encoded in bulk (spec stream.md section 8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..units import PAGE_SIZE
from .names import encode_name
from .wire import (
    EOS_BYTES,
    RECORD_HEADER_BYTES,
    U64,
    ZERO_RECORD_BYTES,
    RamFlag,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE_RECORD_BYTES = RECORD_HEADER_BYTES + PAGE_SIZE
"""Bytes of a normal page record of the same block as the record before."""
EOS_RECORD = U64.pack(RamFlag.EOS)
"""The record that ends every part of the ram section."""
assert len(EOS_RECORD) == EOS_BYTES

_ZERO_WORD = int(RamFlag.ZERO | RamFlag.CONTINUE)
_PAGE_WORD = int(RamFlag.PAGE | RamFlag.CONTINUE)


def name_field(block_name: str | None) -> bytes:
    """Return length byte and name as a record carries them; nothing for None (same block).

    Raises:
        ConfigError: the name is empty or longer than 255 bytes.
    """
    return b"" if block_name is None else encode_name(block_name)


def records_bytes(
    block_name: str | None, zero_mask: NDArray[np.bool_], page_bytes: int = PAGE_SIZE
) -> int:
    """Return the bytes that ``encode_pages`` makes of these pages."""
    zeros = int(np.count_nonzero(zero_mask))
    normals = zero_mask.size - zeros
    if not zero_mask.size:
        return 0
    normal_bytes = normals * (RECORD_HEADER_BYTES + page_bytes)
    return len(name_field(block_name)) + zeros * ZERO_RECORD_BYTES + normal_bytes


def encode_pages(
    block_name: str | None,
    pfns: NDArray[np.int64],
    data: NDArray[np.uint8],
    zero_mask: NDArray[np.bool_],
    page_bytes: int = PAGE_SIZE,
) -> NDArray[np.uint8]:
    """Return the records of some pages of one block, one after another.

    Args:
        block_name: written into the first record; None when the record before was of this block.
        pfns: shape (n,) int64, page numbers within the block, in sending order.
        data: shape (n, page_bytes) uint8, row i is page ``pfns[i]``; rows of zero pages are not
            looked at.  Rows may lie anywhere (a strided view), bytes of a row must be adjacent.
        zero_mask: shape (n,) bool, True where a zero record is written.
        page_bytes: bytes of a page.
    """
    out = np.empty(records_bytes(block_name, zero_mask, page_bytes), np.uint8)
    encode_pages_into(out, block_name, pfns, data, zero_mask, page_bytes=page_bytes)
    return out


def encode_pages_into(
    out: NDArray[np.uint8],
    block_name: str | None,
    pfns: NDArray[np.int64],
    data: NDArray[np.uint8],
    zero_mask: NDArray[np.bool_],
    *,
    page_bytes: int = PAGE_SIZE,
) -> None:
    """Put the records into ``out``, which has exactly the bytes of `records_bytes`.

    The other arguments are those of `encode_pages`.
    """
    if not pfns.size:
        return
    zeros = int(np.count_nonzero(zero_mask))
    name = name_field(block_name)
    # Everything is laid out as if no record had a name; the first header and the name then go in
    # front of the first payload, over the header that was put there.
    records = out[len(name) :]
    words = pfns.astype(np.uint64) * np.uint64(page_bytes)
    if zeros == 0:
        _encode_normal(records, words, data)
    elif zeros == pfns.size:
        _encode_zero(records, words)
    else:
        _encode_mixed(records, words, data, zero_mask)
    if name:
        kind = RamFlag.ZERO if zero_mask[0] else RamFlag.PAGE
        first = U64.pack(int(words[0]) | kind) + name
        out[: len(first)] = np.frombuffer(first, np.uint8)


def _encode_normal(
    out: NDArray[np.uint8], words: NDArray[np.uint64], data: NDArray[np.uint8]
) -> None:
    rows = out.reshape(words.size, RECORD_HEADER_BYTES + data.shape[1])
    headers = (words | np.uint64(_PAGE_WORD)).astype(">u8")
    rows[:, :RECORD_HEADER_BYTES] = headers.view(np.uint8).reshape(-1, RECORD_HEADER_BYTES)
    rows[:, RECORD_HEADER_BYTES:] = data


def _encode_zero(out: NDArray[np.uint8], words: NDArray[np.uint64]) -> None:
    rows = out.reshape(words.size, ZERO_RECORD_BYTES)
    headers = (words | np.uint64(_ZERO_WORD)).astype(">u8")
    rows[:, :RECORD_HEADER_BYTES] = headers.view(np.uint8).reshape(-1, RECORD_HEADER_BYTES)
    rows[:, RECORD_HEADER_BYTES:] = 0


def _encode_mixed(
    out: NDArray[np.uint8],
    words: NDArray[np.uint64],
    data: NDArray[np.uint8],
    zero_mask: NDArray[np.bool_],
) -> None:
    page_bytes = data.shape[1]
    sizes = np.where(zero_mask, ZERO_RECORD_BYTES, RECORD_HEADER_BYTES + page_bytes)
    starts = np.cumsum(sizes) - sizes
    flags = np.where(zero_mask, np.uint64(_ZERO_WORD), np.uint64(_PAGE_WORD))
    # A view with one (overlapping) element per byte offset lets one assignment scatter them all.
    headers: NDArray[np.uint64] = np.ndarray(
        out.size - RECORD_HEADER_BYTES + 1, ">u8", out.data, strides=(1,)
    )
    headers[starts] = words | flags
    out[starts[zero_mask] + RECORD_HEADER_BYTES] = 0
    normal = np.flatnonzero(~zero_mask)
    payloads: NDArray[np.uint8] = np.ndarray(
        (out.size - page_bytes + 1, page_bytes), np.uint8, out.data, strides=(1, 1)
    )
    payloads[starts[normal] + RECORD_HEADER_BYTES] = data[normal]
