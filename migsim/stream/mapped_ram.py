"""RAM at fixed places of the file: one bitmap and one region of pages per block, read.

Behind a block's name and length stand a header, a bitmap of the pages that are stored, and,
aligned, the pages themselves; page i has one place, whether it is stored or not.  All offsets
count from the beginning of the file (spec stream.md section 10).  Only the bitmap decides what is
there: bytes under a clear bit are a hole, or what an earlier pass left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StreamError
from ..ram.bitmap import DirtyBitmap
from .items import BlockInfo, MappedRegion, PageBatch, ScatteredPages
from .wire import MAPPED_ALIGNMENT, MAPPED_HEADER, MAPPED_VERSION, RAM_SECTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import SeekableInput
    from .source import ByteSource

_WORD_PAGES = 64
# A piece of bitmap looked at together, and the pages read together: both stay in a cache.
_BITMAP_BYTES = 64 << 10
_READ_BYTES = 2 << 20
# Pages that are not stored are read along with their neighbours where they are fewer than this.
_GAP_PAGES = 64


def bitmap_bytes(pages: int) -> int:
    """Return the length of the bitmap of a block of ``pages`` pages."""
    return -(-pages // _WORD_PAGES) * (_WORD_PAGES // 8)


def layout(position: int, pages: int) -> MappedRegion:
    """Return where a writer puts the bitmap and pages of a block whose header is at ``position``.

    Both are offsets in the file; the pages begin at the next MiB behind the bitmap.
    """
    bitmap = position + MAPPED_HEADER.size
    end = bitmap + bitmap_bytes(pages)
    return MappedRegion(bitmap, -(-end // MAPPED_ALIGNMENT) * MAPPED_ALIGNMENT)


def encode_region(region: MappedRegion, page_bytes: int) -> bytes:
    """Return the header of a block."""
    return MAPPED_HEADER.pack(region.version, page_bytes, region.bitmap_offset, region.pages_offset)


def read_region(source: ByteSource, name: str, used_bytes: int, page_bytes: int) -> MappedRegion:
    """Take the header of block ``name`` and go on behind its pages.

    Raises:
        StreamError: a version above 1, another page size, pages that do not begin at a multiple of
            it or behind the header, or places outside of the file.
    """
    offset = source.position
    size = source.size_bytes
    if size is None:
        found = "a pipe; save it to a file first"
        raise StreamError(offset, RAM_SECTION, "mapped-ram in a file that can be seeked", found)
    raw = source.take(MAPPED_HEADER.size, RAM_SECTION, f"the mapped-ram header of block {name}")
    version, stored_page, bitmap, pages = MAPPED_HEADER.unpack(raw)
    if version > MAPPED_VERSION:
        expected = f"mapped-ram header version 0 or {MAPPED_VERSION} of block {name}"
        raise StreamError(offset, RAM_SECTION, expected, str(version))
    if stored_page != page_bytes:
        expected = f"page size {page_bytes} of block {name}"
        raise StreamError(offset + 4, RAM_SECTION, expected, str(stored_page))
    if pages % page_bytes or pages < source.position:
        expected = (
            f"pages of block {name} at a multiple of {page_bytes} behind {source.position:#x}"
        )
        raise StreamError(offset + 20, RAM_SECTION, expected, f"{pages:#x}")
    needed = (("the bitmap", bitmap, bitmap_bytes(used_bytes // page_bytes)),)
    for what, begin, length in (*needed, ("the pages", pages, used_bytes)):
        if begin + length > size:
            expected = f"{what} of block {name}, {length} bytes from {begin:#x} on"
            raise StreamError(min(begin, size), RAM_SECTION, expected, f"the end at {size:#x}")
    source.seek(pages + used_bytes)
    return MappedRegion(bitmap, pages, version)


def read_pages(source: ByteSource, block: BlockInfo) -> Iterator[PageBatch]:
    """Yield the stored pages of a block, ascending, many at a time.

    The source's position does not move.  Contents are valid until the next batch is asked for.

    Raises:
        StreamError: a bit is set behind the last page, or the file has become shorter.
    """
    assert block.mapped is not None
    room = np.empty(_READ_BYTES, np.uint8)
    for pfns in _stored(source, block):
        for first, last in _stretches(pfns, _READ_BYTES // block.page_bytes):
            yield _read_stretch(source, block, pfns[first:last], room)


def read_stored(channel: SeekableInput, block: BlockInfo) -> DirtyBitmap:
    """Return which pages of a block are stored.

    Raises:
        StreamError: a bit is set behind the last page, or the file has become shorter.
        ChannelError: the file cannot be read.
    """
    assert block.mapped is not None
    stored = DirtyBitmap(block.pages)
    room = stored.words.view(np.uint8).data
    place, done = block.mapped.bitmap_offset, 0
    while done < room.nbytes:
        count = channel.read_at(place + done, room[done:])
        if count == 0:
            expected = f"the bitmap of block {block.name}"
            raise StreamError(place, RAM_SECTION, expected, f"the end after {done} bytes")
        done += count
    if block.pages % _WORD_PAGES and int(stored.words[-1]) >> (block.pages % _WORD_PAGES):
        expected = f"no bit set behind page {block.pages - 1:#x} of block {block.name}"
        raise StreamError(place + done - 8, RAM_SECTION, expected, "one")
    return stored


def _stored(source: ByteSource, block: BlockInfo) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the stored pages, ascending, from one piece of bitmap after another."""
    assert block.mapped is not None
    size = bitmap_bytes(block.pages)
    piece = np.empty(min(size, _BITMAP_BYTES), np.uint8)
    for begin in range(0, size, _BITMAP_BYTES):
        part = piece[: min(_BITMAP_BYTES, size - begin)]
        place = block.mapped.bitmap_offset + begin
        if (count := source.read_into(place, part.data)) < part.size:
            expected = f"the bitmap of block {block.name}"
            raise StreamError(place, RAM_SECTION, expected, f"the end after {count} bytes")
        if not part.any():
            continue
        pfns = np.flatnonzero(np.unpackbits(part, bitorder="little")) + begin * 8
        if pfns[-1] >= block.pages:
            bad = int(pfns[pfns >= block.pages][0])
            expected = f"no bit set behind page {block.pages - 1:#x} of block {block.name}"
            at = block.mapped.bitmap_offset + bad // 8
            raise StreamError(at, RAM_SECTION, expected, f"the bit of page {bad:#x}")
        yield pfns


def _stretches(pfns: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of indices of ``pfns`` that are read together.

    A stretch spans at most ``most`` pages and no wide gap, so that few bytes are read in vain.
    """
    split = (np.diff(pfns) > _GAP_PAGES) | (np.diff(pfns // most) > 0)
    edges = np.flatnonzero(split) + 1
    begins, ends = [0, *edges.tolist()], [*edges.tolist(), pfns.size]
    yield from zip(begins, ends, strict=True)


def _read_stretch(
    source: ByteSource, block: BlockInfo, pfns: NDArray[np.int64], room: NDArray[np.uint8]
) -> PageBatch:
    assert block.mapped is not None
    size, first = block.page_bytes, int(pfns[0])
    span = int(pfns[-1]) - first + 1
    part = room[: span * size]
    place = block.mapped.pages_offset + first * size
    if (count := source.read_into(place, part.data)) < part.size:
        expected = f"pages {first:#x} to {int(pfns[-1]):#x} of block {block.name}"
        raise StreamError(place, RAM_SECTION, expected, f"the end after {count} bytes")
    part.flags.writeable = False
    if pfns.size == span:
        return PageBatch(place, block.name, pfns, part.reshape(span, size))
    scattered = ScatteredPages(part, (pfns - first) * size, size)
    return PageBatch(place, block.name, pfns, scattered)
