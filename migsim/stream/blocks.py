"""The block list in the ram section's START, written and read (spec stream.md section 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError, StreamError
from ..units import PAGE_SIZE
from .items import BlockInfo
from .names import encode_name, read_name
from .wire import RAM_SECTION, U64, RamFlag

if TYPE_CHECKING:
    from .source import ByteSource


def encode_block_list(blocks: Sequence[BlockInfo]) -> bytes:
    """Return the list with its size record, without the record that ends the part.

    A block's optional members are written when they are set; a receiver expects the address of
    every block with x-ignore-shared and of none without.

    Raises:
        ConfigError: a length is not a multiple of the page size, or a name occurs twice.
    """
    total = sum(block.used_bytes for block in blocks)
    out = bytearray(U64.pack(total | RamFlag.MEM_SIZE))
    seen: set[str] = set()
    for block in blocks:
        if block.used_bytes % PAGE_SIZE or block.used_bytes < 0:
            raise ConfigError(f"RAM block {block.name}", "its length is no multiple of 4096")
        if block.name in seen:
            raise ConfigError(f"RAM block {block.name}", "another block has the same name")
        seen.add(block.name)
        out += encode_name(block.name) + U64.pack(block.used_bytes)
        if block.host_page_bytes is not None:
            out += U64.pack(block.host_page_bytes)
        if block.address is not None:
            out += U64.pack(block.address)
    return bytes(out)


def read_block_list(
    source: ByteSource, total_bytes: int, *, addresses: bool
) -> tuple[BlockInfo, ...]:
    """Take the blocks behind the size record; their lengths must add up to ``total_bytes``.

    ``addresses`` says whether each block has its address (x-ignore-shared).

    Raises:
        StreamError: lengths do not add up, are no whole pages, or a name occurs twice.
    """
    blocks: dict[str, BlockInfo] = {}
    left = total_bytes
    while left:
        offset = source.position
        name = read_name(source, RAM_SECTION, "a block name")
        if name in blocks:
            raise StreamError(offset, RAM_SECTION, "each block once", f"{name} again")
        offset = source.position
        (used,) = U64.unpack(source.take(8, RAM_SECTION, f"the length of block {name}"))
        if used > left or used % PAGE_SIZE:
            expected = f"a multiple of {PAGE_SIZE} up to {left:#x} as length of block {name}"
            raise StreamError(offset, RAM_SECTION, expected, f"{used:#x}")
        address = None
        if addresses:
            (address,) = U64.unpack(source.take(8, RAM_SECTION, f"the address of block {name}"))
        blocks[name] = BlockInfo(name, used, address)
        left -= used
    return tuple(blocks.values())
