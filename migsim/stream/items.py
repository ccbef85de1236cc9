"""What a reader yields and a writer can be fed with, in the order of the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import StreamError
from ..units import PAGE_SIZE
from .names import encode_text
from .wire import MAPPED_VERSION, SECTION_ID, SECTION_NUMBERS
from .xbzrle_records import XbzrleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..vmstate.fields import Values
    from .wire import SectionType


@dataclass(frozen=True, slots=True)
class Header:
    """The first eight bytes.

    Attributes:
        offset: where the stream begins in its source.
        version: always 3.
    """

    offset: int
    version: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """Machine type and what else must agree (spec stream.md section 3.2).

    Attributes:
        offset: of the section's type byte.
        machine: full machine type name.
        capabilities: names of the checked capabilities that are on, None without the subsection.
        uuid: 16 bytes, or None.
        page_bits: page size as a power of two, or None.
    """

    offset: int
    machine: str
    capabilities: tuple[str, ...] | None = None
    uuid: bytes | None = None
    page_bits: int | None = None


@dataclass(frozen=True, slots=True)
class SectionBegin:
    """Header of a part of an iterable section.

    Attributes:
        offset: of the type byte.
        type: START, PART, END, or FULL for a ram section sent in one.
        section_id: as in the stream.
        name: section name; PART and END take it from their START.
        instance_id: as ``name``.
        version: as ``name``.
    """

    offset: int
    type: SectionType
    section_id: int
    name: str
    instance_id: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class SectionEnd:
    """Footer of a part of an iterable section."""

    offset: int
    section_id: int


@dataclass(frozen=True, slots=True)
class MappedRegion:
    """Where a block lies in a mapped-ram file (spec stream.md section 10).

    Attributes:
        bitmap_offset: byte of the file at which the bitmap of stored pages begins.
        pages_offset: byte of the file at which page 0 has its place.
        version: of the block's header.
    """

    bitmap_offset: int
    pages_offset: int
    version: int = MAPPED_VERSION


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """One block of the list in the ram section's START (spec stream.md section 8.2).

    Attributes:
        name: block name.
        used_bytes: used length, a multiple of the page size.
        address: address in the container, only with x-ignore-shared.
        host_page_bytes: only with postcopy-ram and host pages other than the target's.
        page_bytes: size of a target page.
        mapped: place in the file, only with mapped-ram.
    """

    name: str
    used_bytes: int
    address: int | None = None
    host_page_bytes: int | None = None
    page_bytes: int = PAGE_SIZE
    mapped: MappedRegion | None = None

    @property
    def pages(self) -> int:
        """Number of target pages."""
        return self.used_bytes // self.page_bytes


@dataclass(frozen=True, slots=True)
class RamBlocks:
    """The block list, in announcement order."""

    offset: int
    blocks: tuple[BlockInfo, ...]

    @property
    def total_bytes(self) -> int:
        """Sum of the used lengths, as the stream gives it."""
        return sum(block.used_bytes for block in self.blocks)


@dataclass(frozen=True, slots=True)
class ScatteredPages:
    """Page contents that lie at irregular places of a buffer.

    Attributes:
        buffer: shape (m,) uint8, the bytes around.
        starts: shape (n,) int64, index of the first byte of each page.
        page_bytes: bytes of a page.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    page_bytes: int = PAGE_SIZE

    def gather(self) -> NDArray[np.uint8]:
        """Return a copy of the pages, shape (n, page_bytes)."""
        size = self.page_bytes
        if not self.starts.size:
            return np.empty((0, size), np.uint8)
        rows: NDArray[np.uint8] = np.lib.stride_tricks.sliding_window_view(self.buffer, size)
        return rows[self.starts]


@dataclass(frozen=True, slots=True, eq=False)
class PageBatch:
    """Some pages of one block, all zero or all normal, in the order of their records.

    Contents lie in a buffer of the reader: they are valid until the next item is asked for.  Who
    keeps them copies them.

    Attributes:
        offset: of the first record; of the first page itself with mapped-ram.
        block: block name.
        pfns: shape (n,) int64, page numbers within the block.
        contents: what ``data`` is made of; None for zero pages.
        named: the first record carried the block's name.
    """

    offset: int
    block: str
    pfns: NDArray[np.int64]
    contents: NDArray[np.uint8] | ScatteredPages | None
    named: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether the pages are zero."""
        return self.contents is None

    @property
    def data(self) -> NDArray[np.uint8] | None:
        """Page contents, shape (n, page size) uint8 and read-only, or None for zero pages.

        Row i is page ``pfns[i]``.  Usually a strided view into the reader's buffer; a copy, made
        at each access, where records of several kinds were put together.
        """
        if isinstance(self.contents, ScatteredPages):
            return self.contents.gather()
        return self.contents


@dataclass(frozen=True, slots=True)
class EndOfRecords:
    """The record that ends a part of the ram section; ``address`` is 0 in QEMU's streams."""

    offset: int
    address: int = 0


@dataclass(frozen=True, slots=True)
class MultifdFlush:
    """The record that marks a multifd synchronisation point."""

    offset: int
    address: int = 0


@dataclass(frozen=True, slots=True)
class DeviceSection:
    """A FULL section: the complete state of one device, header and footer included.

    Attributes:
        offset: of the type byte.
        name: section name.
        instance_id: tells sections of one name apart.
        version: version of the state description.
        section_id: as in the stream.
        body: the state's bytes.
        values: decoded state, when the reader was given a description; else None.
        entry: this section's entry in the stream's own description, where that was needed and
            there is one.
    """

    offset: int
    name: str
    instance_id: int
    version: int
    section_id: int
    body: bytes = field(repr=False)
    values: Values | None = None
    entry: Mapping[str, object] | None = field(default=None, repr=False)

    @property
    def body_offset(self) -> int:
        """Offset of the first byte of the body."""
        return (
            self.offset + SECTION_ID.size + 1 + len(encode_text(self.name)) + SECTION_NUMBERS.size
        )


@dataclass(frozen=True, slots=True)
class OpaquePart:
    """The body of a part of an iterable section other than ram, found by its footer.

    Comes between the section's begin and end (vfio, dirty-bitmap, ...).
    """

    offset: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Command:
    """A command between sections (spec stream.md section 7)."""

    offset: int
    number: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class EndMarker:
    """The byte behind the last section."""

    offset: int


@dataclass(frozen=True, slots=True)
class Description:
    """The description of the device sections at the end of a stream (spec stream.md section 6).

    Attributes:
        offset: of the type byte.
        raw: the JSON text; a receiver does not look into it.
    """

    offset: int
    raw: bytes = field(repr=False)

    def parsed(self) -> dict[str, object]:
        """Return the JSON object.

        Raises:
            StreamError: it is none.
        """
        value = parse_json(self.raw)
        if value is None:
            raise StreamError(self.offset + 5, "vmdesc", "a JSON object", "something else")
        return value


@dataclass(frozen=True, slots=True)
class Trailing:
    """Bytes behind the end of the stream; only a seekable source tells of them."""

    offset: int
    size_bytes: int


Item: TypeAlias = (
    Header
    | Configuration
    | SectionBegin
    | SectionEnd
    | RamBlocks
    | PageBatch
    | XbzrleBatch
    | EndOfRecords
    | MultifdFlush
    | DeviceSection
    | OpaquePart
    | Command
    | EndMarker
    | Description
    | Trailing
)


def parse_json(raw: bytes | memoryview) -> dict[str, object] | None:
    """Return the JSON object in ``raw``, or None if it is none."""
    try:
        value = json.loads(bytes(raw))
    except (ValueError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None
