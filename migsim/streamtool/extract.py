"""``extract-ram``: the content of a RAM block as a file, whatever the encoding."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError, ParameterError, StreamError
from ..stream.apply import FileStore, apply_item, taking_memory_for
from ..stream.items import Configuration, Header, PageBatch, RamBlocks
from ..stream.xbzrle_records import XbzrleBatch
from .atomic import AtomicFile
from .files import leaves_blocks_out, walk
from .info import BlockTally
from .report import Fault

if TYPE_CHECKING:
    from ..stream.items import BlockInfo
    from .files import PathLike, Progress, StreamFiles


@dataclass(frozen=True, slots=True)
class ExtractedBlock:
    """A RAM block that was written to a file.

    Attributes:
        path: the file.
        block: name of the block.
        size_bytes: length of block and file.
        content_pages: pages that came with content.
        zero_pages: pages that are zero, or not stored with mapped-ram.
        absent_pages: pages of which the stream says nothing; they are zero in the file.
        disk_bytes: room that the file takes.
        fault: where and why reading had to stop, with ``partial``; else None.
    """

    path: str
    block: str
    size_bytes: int
    content_pages: int
    zero_pages: int
    absent_pages: int
    disk_bytes: int
    fault: Fault | None


def extract_ram(
    files: StreamFiles,
    target: PathLike,
    block: str | None = None,
    *,
    partial: bool = False,
    progress: Progress | None = None,
) -> ExtractedBlock:
    """Write the content of a RAM block, as a receiver would have it, to a file.

    The file has exactly the block's length, holes where it is zero, and appears complete or not at
    all (`AtomicFile`).

    Args:
        files: the stream.
        target: the new file.
        block: name of the block; None where there is only one.
        partial: of a stream that is malformed or cut off, write what came before.
        progress: is told how far the stream was read.

    Raises:
        ParameterError: no such block, or several and none is named.
        ConfigError: the block is announced, but left out of the stream (x-ignore-shared).
        StreamError: the stream is malformed or cut off, without ``partial``; or a delta has no page
            to start from.
        ChannelError: a file cannot be read, or the new one cannot be written.
    """
    with files.open() as stream, AtomicFile(target, files.all_paths) as out:
        store = FileStore({})
        tally: BlockTally | None = None
        fault: Fault | None = None
        capabilities: tuple[str, ...] = ()
        began = False
        try:
            for item in walk(stream, progress):
                match item:
                    case RamBlocks():
                        info = _wanted(item.blocks, block)
                        with taking_memory_for(item):
                            tally = BlockTally(info)
                        store = FileStore({info.name: out.channel})
                        store.announce(item)
                    case PageBatch() | XbzrleBatch() if tally and item.block == tally.info.name:
                        apply_item(item, store)
                        tally.take(item)
                    case Configuration():
                        capabilities = item.capabilities or ()
                    case Header():
                        began = True
                    case _:
                        pass
        except StreamError as error:
            # Where there is no list of blocks, nothing can be made of what came before.
            if not (partial and began and tally is not None):
                raise
            fault = Fault.of(error)
        if tally is None:
            raise ParameterError("block", block, "a stream with RAM; this one has none")
        ignoring = leaves_blocks_out(capabilities, (tally.info,))
        report = tally.report(finished=fault is None, ignoring=ignoring)
        if not report.in_stream:
            reason = "is not in the stream (x-ignore-shared): it lies in a file of its own"
            raise ConfigError(f"RAM block {report.name}", reason)
    return ExtractedBlock(
        os.fspath(target),
        report.name,
        report.size_bytes,
        report.content_pages,
        report.zero_pages,
        report.absent_pages,
        os.stat(target).st_blocks * 512,
        fault,
    )


def _wanted(blocks: tuple[BlockInfo, ...], name: str | None) -> BlockInfo:
    known = ", ".join(block.name for block in blocks) or "none"
    if name is None and len(blocks) == 1:
        return blocks[0]
    for block in blocks:
        if block.name == name:
            return block
    raise ParameterError("block", name, f"the name of a RAM block: {known}")
