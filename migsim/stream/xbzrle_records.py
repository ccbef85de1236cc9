"""XBZRLE records of the ram section, written and read in stretches (spec stream.md section 8.1).

A record is the page's word, the block's name where it changes, one byte that names the encoding,
the delta's length in two bytes, and the delta.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import StreamError
from ..units import PAGE_BITS, PAGE_SIZE
from .ram_records import PAGE_RECORD_BYTES, name_field
from .wire import (
    RAM_SECTION,
    RECORD_HEADER_BYTES,
    U64,
    ZERO_RECORD_BYTES,
    RamFlag,
)
from .xbzrle import Deltas
from .xbzrle_decode import apply_deltas, check_deltas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .items import BlockInfo
    from .source import ByteSource

ENCODING: Final = 1
"""The encoding byte; there is no other encoding than XBZRLE."""
DELTA_HEADER: Final = struct.Struct(">BH")
"""Encoding and length, before the delta."""
DELTA_RECORD_BYTES: Final = RECORD_HEADER_BYTES + DELTA_HEADER.size
"""Bytes of a record beside its delta and the block's name."""

_WORD = int(RamFlag.XBZRLE | RamFlag.CONTINUE)
_RECORDS_MAX = 1024


class Sent(IntEnum):
    """What becomes of a page that is to be sent."""

    PAGE = 0
    ZERO = 1
    DELTA = 2
    NOTHING = 3
    """The receiver has this very page already."""


@dataclass(frozen=True, slots=True, eq=False)
class XbzrleBatch:
    """Changes of some pages of one block, each page at most once.

    Deltas have been copied out of the source and checked: they stay valid.

    Attributes:
        offset: of the first record.
        block: block name.
        pfns: shape (n,) int64, page numbers within the block.
        deltas: what changes, in the same order.
        offsets: shape (n,) int64, place of each delta in the stream.
        named: the first record carried the block's name.
    """

    offset: int
    block: str
    pfns: NDArray[np.int64]
    deltas: Deltas
    offsets: NDArray[np.int64]
    named: bool = False

    def apply_to(self, pages: NDArray[np.uint8]) -> None:
        """Change ``pages``, shape (n, page size) uint8: row i is what page ``pfns[i]`` holds."""
        apply_deltas(self.deltas, pages, self.offsets)


def read_deltas(
    source: ByteSource, pfn: int, block: BlockInfo, offset: int, *, named: bool = False
) -> XbzrleBatch:
    """Take the rest of a record, and the records of further pages that follow at once.

    Args:
        source: is behind the record's first word and block name.
        pfn: page of the record, inside its block.
        block: its block.
        offset: of the record's first byte.
        named: the record carried the block's name.

    Raises:
        StreamError: a record is cut off, names another encoding, is longer than a page, lies
            outside the block, or its delta makes no page.
    """
    pfns = [pfn]
    seen = {pfn}
    offsets, pieces = [], []
    page_bits = block.page_bytes.bit_length() - 1
    while True:
        delta = _take_delta(source, block.page_bytes)
        offsets.append(source.position - len(delta))
        pieces.append(delta)
        more = _next_pfn(source, page_bits) if len(pfns) < _RECORDS_MAX else None
        if more is None or more in seen:
            break
        _check_pfn(block, more, source.position)
        source.advance(RECORD_HEADER_BYTES)
        pfns.append(more)
        seen.add(more)
    data = np.frombuffer(b"".join(pieces), np.uint8)
    deltas = Deltas(data, np.array([len(piece) for piece in pieces], np.int64))
    places = np.array(offsets, np.int64)
    check_deltas(deltas, places, block.page_bytes)
    return XbzrleBatch(offset, block.name, np.array(pfns, np.int64), deltas, places, named)


def _take_delta(source: ByteSource, page_bytes: int) -> bytes:
    raw = source.take(DELTA_HEADER.size, RAM_SECTION, "encoding and length of a delta")
    encoding, size = DELTA_HEADER.unpack(raw)
    at = source.position - DELTA_HEADER.size
    if encoding != ENCODING:
        raise StreamError(at, RAM_SECTION, f"encoding {ENCODING} of a page", str(encoding))
    if size > page_bytes:
        expected = f"a delta of at most {page_bytes} bytes"
        raise StreamError(at + 1, RAM_SECTION, expected, f"{size} bytes")
    return bytes(source.take(size, RAM_SECTION, f"a delta of {size} bytes"))


def _next_pfn(source: ByteSource, page_bits: int) -> int | None:
    """Return the page of the next record if that has come and is a delta of the same block."""
    # Asking for no byte waits for none: a pipe gives what it has.
    view = source.window(0)
    if len(view) < RECORD_HEADER_BYTES:
        return None
    word: int = U64.unpack_from(view)[0]
    return word >> page_bits if word & ((1 << page_bits) - 1) == _WORD else None


def _check_pfn(block: BlockInfo, pfn: int, offset: int) -> None:
    if pfn >= block.pages:
        expected = f"a page below {block.pages:#x} of block {block.name}"
        raise StreamError(offset, RAM_SECTION, expected, f"page {pfn:#x}")


def encode_records(
    block_name: str | None,
    pfns: NDArray[np.int64],
    data: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    deltas: Deltas,
) -> NDArray[np.uint8]:
    """Return the records of some pages of one block, one after another.

    Args:
        block_name: written into the first record; None when the record before was of this block.
        pfns: shape (n,) int64, page numbers within the block, in sending order.
        data: shape (n, 4096) uint8, row i is page ``pfns[i]``; only rows of whole pages are looked
            at.
        kinds: shape (n,) uint8, a ``Sent`` for each page.
        deltas: those of the pages that are sent as one, in order.

    Raises:
        ConfigError: the name is empty or longer than 255 bytes.
    """
    sent = kinds != Sent.NOTHING
    pfns, data_rows, kinds = pfns[sent], np.flatnonzero(sent), kinds[sent]
    if not pfns.size:
        return np.empty(0, np.uint8)
    name = name_field(block_name)
    starts, total = _layout(kinds, deltas, len(name))
    out = np.empty(total, np.uint8)
    _put_words(out, starts, pfns, kinds, bool(name))
    if name:
        out[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + len(name)] = np.frombuffer(name, np.uint8)
    payloads = starts + RECORD_HEADER_BYTES
    payloads[0] += len(name)
    _put_pages(out, payloads[kinds == Sent.PAGE], data[data_rows[kinds == Sent.PAGE]])
    out[payloads[kinds == Sent.ZERO]] = 0
    _put_deltas(out, payloads[kinds == Sent.DELTA], deltas)
    return out


def _layout(
    kinds: NDArray[np.uint8], deltas: Deltas, name_bytes: int
) -> tuple[NDArray[np.int64], int]:
    """Return the first byte of each record, and the bytes of all."""
    by_kind = np.array([PAGE_RECORD_BYTES, ZERO_RECORD_BYTES, DELTA_RECORD_BYTES])
    sizes = by_kind[kinds]
    sizes[kinds == Sent.DELTA] += deltas.sizes
    sizes[0] += name_bytes
    ends = np.cumsum(sizes)
    return ends - sizes, int(ends[-1])


def _put_words(
    out: NDArray[np.uint8],
    starts: NDArray[np.int64],
    pfns: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    named: bool,
) -> None:
    flags = np.array([RamFlag.PAGE, RamFlag.ZERO, RamFlag.XBZRLE], np.uint64)[kinds]
    words = (pfns.astype(np.uint64) << np.uint64(PAGE_BITS)) | flags
    words[1 if named else 0 :] |= np.uint64(RamFlag.CONTINUE)
    # One (overlapping) element for each byte offset, so that one assignment scatters them all.
    places: NDArray[np.uint64] = np.ndarray(
        out.size - RECORD_HEADER_BYTES + 1, ">u8", out.data, strides=(1,)
    )
    places[starts] = words


def _put_pages(
    out: NDArray[np.uint8], payloads: NDArray[np.int64], pages: NDArray[np.uint8]
) -> None:
    if payloads.size:
        rows: NDArray[np.uint8] = np.ndarray(
            (out.size - PAGE_SIZE + 1, PAGE_SIZE), np.uint8, out.data, strides=(1, 1)
        )
        rows[payloads] = pages


def _put_deltas(out: NDArray[np.uint8], payloads: NDArray[np.int64], deltas: Deltas) -> None:
    out[payloads] = ENCODING
    out[payloads + 1] = deltas.sizes >> 8
    out[payloads + 2] = deltas.sizes & 0xFF
    shift = payloads + DELTA_HEADER.size - deltas.starts
    out[np.arange(deltas.data.size) + np.repeat(shift, deltas.sizes)] = deltas.data
