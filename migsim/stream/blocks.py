"""The block list in the ram section's START, written and read (spec stream.md section 8.2).

What a block's entry holds depends on the capabilities of the migration, which the configuration
section tells.  Where that section is missing, the bytes do: a name begins with a length above 0 and
a record has flags, so neither can be taken for a multiple of the page size below 2^56.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError, StreamError
from ..units import PAGE_SIZE
from .items import BlockInfo
from .mapped_ram import read_region
from .names import encode_name, read_name
from .wire import (
    BLOCKS_MAX,
    MAPPED_HEADER,
    RAM_BYTES_MAX,
    RAM_SECTION,
    RECORD_HEADER_BYTES,
    U64,
    RamFlag,
)

if TYPE_CHECKING:
    from .source import ByteSource

_NUMBER_MAX = 1 << 56


@dataclass(slots=True)
class ListForm:
    """What is known of the block list's layout before it comes.

    Attributes:
        page_bytes: target page size.
        addresses: each block has its address (x-ignore-shared); None when unknown.
        mapped: each block has its place in the file (mapped-ram); None when unknown.
        host_pages_bytes: host page sizes in use, ORed, as POSTCOPY_ADVISE tells; 0 without it.
    """

    page_bytes: int = PAGE_SIZE
    addresses: bool | None = False
    mapped: bool | None = False
    host_pages_bytes: int = 0


def encode_block_head(block: BlockInfo) -> bytes:
    """Return name, length, and those of host page size and address that are set.

    Raises:
        ConfigError: the length is not a multiple of the page size, or the name cannot be written.
    """
    if block.used_bytes % block.page_bytes or block.used_bytes < 0:
        reason = f"its length is no multiple of {block.page_bytes}"
        raise ConfigError(f"RAM block {block.name}", reason)
    members = (block.used_bytes, block.host_page_bytes, block.address)
    return encode_name(block.name) + b"".join(U64.pack(n) for n in members if n is not None)


def encode_block_list(blocks: Sequence[BlockInfo]) -> bytes:
    """Return the list with its size record, without the record that ends the part.

    A block's optional members are written when they are set; a receiver expects the address of
    every block with x-ignore-shared and of none without.  Places in the file are not written:
    they belong to a mapped-ram writer.

    Raises:
        ConfigError: a length is not a multiple of the page size, or a name occurs twice.
    """
    return encode_total(blocks) + b"".join(encode_block_head(block) for block in blocks)


def encode_total(blocks: Sequence[BlockInfo]) -> bytes:
    """Return the size record that begins the list.

    Raises:
        ConfigError: two blocks have the same name.
    """
    for name, count in Counter(block.name for block in blocks).items():
        if count > 1:
            raise ConfigError(f"RAM block {name}", "another block has the same name")
    return U64.pack(sum(block.used_bytes for block in blocks) | RamFlag.MEM_SIZE)


def read_block_list(source: ByteSource, total_bytes: int, form: ListForm) -> tuple[BlockInfo, ...]:
    """Take the blocks behind the size record; their lengths must add up to ``total_bytes``.

    With mapped-ram the source is behind the last block's pages afterwards.

    Raises:
        StreamError: there is more RAM than a reader takes, lengths do not add up, are no whole
            pages, a name occurs twice, or a place in the file makes no sense.
    """
    if total_bytes > RAM_BYTES_MAX:
        offset = source.position - RECORD_HEADER_BYTES
        expected, found = f"RAM of at most {RAM_BYTES_MAX} bytes", str(total_bytes)
        raise StreamError(offset, RAM_SECTION, expected, found)
    blocks: dict[str, BlockInfo] = {}
    left = total_bytes
    while left:
        block = _read_block(source, left, form, blocks)
        blocks[block.name] = block
        left -= block.used_bytes
    return tuple(blocks.values())


def _read_block(
    source: ByteSource, left: int, form: ListForm, known: dict[str, BlockInfo]
) -> BlockInfo:
    offset = source.position
    name = read_name(source, RAM_SECTION, "a block name")
    if name in known or len(known) == BLOCKS_MAX:
        found = f"{name} again" if name in known else "more"
        raise StreamError(offset, RAM_SECTION, f"each block once, at most {BLOCKS_MAX}", found)
    offset = source.position
    (used,) = U64.unpack(source.take(U64.size, RAM_SECTION, f"the length of block {name}"))
    if used > left or used % form.page_bytes:
        expected = f"a multiple of {form.page_bytes} up to {left:#x} as length of block {name}"
        raise StreamError(offset, RAM_SECTION, expected, f"{used:#x}")
    host_page = _host_page(source, form)
    address = _address(source, form, name)
    mapped = None
    if _is_mapped(source, form):
        mapped = read_region(source, name, used, form.page_bytes)
    return BlockInfo(name, used, address, host_page, form.page_bytes, mapped)


def _host_page(source: ByteSource, form: ListForm) -> int | None:
    """Take the host page size if the block has it: a size in use that is not the target's."""
    size = _peek_number(source, form)
    if size is None or size == form.page_bytes or size & (size - 1):
        return None
    if not size & form.host_pages_bytes:
        return None
    if form.addresses and _peek_number(source, form, U64.size) is None:
        return None  # the only number is the address
    source.advance(U64.size)
    return size


def _address(source: ByteSource, form: ListForm, name: str) -> int | None:
    if form.addresses is None:
        form.addresses = not _is_mapped(source, form) and _peek_number(source, form) is not None
    if not form.addresses:
        return None
    raw = source.take(U64.size, RAM_SECTION, f"the address of block {name}")
    return int(U64.unpack(raw)[0])


def _is_mapped(source: ByteSource, form: ListForm) -> bool:
    if form.mapped is None:
        view = source.window(MAPPED_HEADER.size)
        form.mapped = len(view) >= MAPPED_HEADER.size and _looks_mapped(source, view, form)
    return form.mapped


def _looks_mapped(source: ByteSource, view: memoryview, form: ListForm) -> bool:
    _, page_bytes, bitmap_offset, _ = MAPPED_HEADER.unpack_from(view)
    behind = source.position + MAPPED_HEADER.size
    return bool(page_bytes == form.page_bytes and bitmap_offset == behind)


def _peek_number(source: ByteSource, form: ListForm, ahead: int = 0) -> int | None:
    """Return the next number that is neither a name nor a record, without moving."""
    view = source.window(ahead + U64.size)
    if len(view) < ahead + U64.size:
        return None
    number: int = U64.unpack_from(view, ahead)[0]
    return number if number < _NUMBER_MAX and number % form.page_bytes == 0 else None
