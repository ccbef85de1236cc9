"""Writing a stream again in another form: one walk through the items, with RAM lifted out of them.

What is not RAM (configuration, sections, the end) goes through in its order.  Pages go where the
new form wants them.  A source whose pages need what came before them (XBZRLE), or come behind the
devices (postcopy), is first added up in a scratch file and then walked through a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import ConfigError
from ..ram.bitmap import DirtyBitmap
from ..ram.pages import zero_page_mask
from ..stream.apply import taking_memory_for
from ..stream.items import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    EndMarker,
    EndOfRecords,
    Item,
    MultifdFlush,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
)
from ..stream.rewrite import write_item
from ..stream.wire import RAM_SECTION, CommandKind, SectionType
from ..stream.xbzrle_records import XbzrleBatch
from .files import leaves_blocks_out
from .image import pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream.writer import StreamWriter
    from .image import RamImage
    from .replacement import Replacement

_PARTS: Final = (SectionType.PART, SectionType.END)
_FIRST: Final = (SectionType.START, SectionType.FULL)
_ZERO_BYTES: Final = 2 << 20
_SOCKET_ONLY: Final = frozenset(
    {
        CommandKind.OPEN_RETURN_PATH,
        CommandKind.PING,
        CommandKind.POSTCOPY_ADVISE,
        CommandKind.POSTCOPY_LISTEN,
        CommandKind.POSTCOPY_RUN,
        CommandKind.POSTCOPY_RAM_DISCARD,
        CommandKind.PACKAGED,
        CommandKind.POSTCOPY_RESUME,
        CommandKind.RECV_BITMAP,
    }
)
"""Commands that mean nothing in a file, or are not allowed there (spec stream.md section 7)."""


class ZeroPages(StrEnum):
    """What becomes of pages that are zero."""

    OMIT = "omit"
    """They are left out, which is right for fresh RAM only."""
    MARK = "mark"
    """They are told, so that a receiver makes them zero whatever was there."""


class ImageNeededError(Exception):
    """The source cannot be written page by page as it comes: add it up first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the new stream differs from the old one.

    Attributes:
        mapped: pages go to fixed places of the file.
        zero_pages: what becomes of pages that are zero.
        drop_description: leave out the description at the end.
        keep_deltas: XBZRLE deltas may go through as they are.
        replacements: new content of blocks, by block name.
    """

    mapped: bool
    zero_pages: ZeroPages
    drop_description: bool = False
    keep_deltas: bool = False
    replacements: Mapping[str, Replacement] = field(default_factory=dict)


class Transcoder:
    """Takes the items of one walk and writes the new stream.

    Args:
        writer: takes the new stream; of the form that ``plan`` names.
        plan: what is to be different.
        image: the RAM of the source, added up; None to take the pages as they come.

    Attributes:
        dropped: what was left out, in words.

    Raises:
        ImageNeededError: while taking, without an image: the walk has to be done again with one.
        ConfigError: the source cannot have the new form.
        ChannelError: the new file cannot be written.
    """

    def __init__(self, writer: StreamWriter, plan: Plan, image: RamImage | None = None) -> None:
        self._writer = writer
        self._plan = plan
        self._image = image
        self._ram: SectionBegin | None = None
        self._part: SectionBegin | None = None
        self._capabilities: tuple[str, ...] = ()
        self._blocks: dict[str, BlockInfo] = {}
        self._content: dict[str, DirtyBitmap] = {}
        self._zero: dict[str, DirtyBitmap] = {}
        self._source_mapped = self._ignoring = False
        self._skipping = self._placed_all = self._ended = False
        self.dropped: list[str] = []

    @property
    def content_pages(self) -> int:
        """Pages that have content in the new stream."""
        return sum(pages.count() for pages in self._content.values())

    @property
    def zero_pages(self) -> int:
        """Pages that the new stream says are zero."""
        return sum(pages.count() for pages in self._zero.values())

    @property
    def pages(self) -> int:
        """Pages of all blocks."""
        return sum(block.pages for block in self._blocks.values())

    def take(self, item: Item) -> None:
        """Write what ``item`` becomes."""
        match item:
            case PageBatch() | XbzrleBatch():
                self._pages(item)
            case SectionBegin():
                self._begin(item)
            case SectionEnd():
                self._end_section(item)
            case EndOfRecords():
                self._end_records(item)
            case RamBlocks():
                self._block_list(item)
            case MultifdFlush():
                self._drop("multifd sync points")
            case Command():
                self._command(item)
            case _:
                self._rest(item)

    def _rest(self, item: Item) -> None:
        match item:
            case Configuration():
                self._note_configuration(item)
                write_item(item, self._writer)
            case Description() if self._plan.drop_description:
                self._drop("description")
            case EndMarker():
                self._before_the_end()
                write_item(item, self._writer)
            case _:
                write_item(item, self._writer)

    def _drop(self, what: str) -> None:
        if what not in self.dropped:
            self.dropped.append(what)

    # What surrounds RAM

    def _note_configuration(self, item: Configuration) -> None:
        self._capabilities = item.capabilities or ()

    def _command(self, item: Command) -> None:
        if item.number == CommandKind.ENABLE_COLO:
            raise ConfigError("convert", "the checkpoints of COLO cannot be converted")
        if item.number == CommandKind.PACKAGED:
            self._package()
        if item.number in _SOCKET_ONLY:
            self._drop(f"command {CommandKind(item.number).name}")
            return
        write_item(item, self._writer)

    def _package(self) -> None:
        """Put everything of RAM in front of the devices that come now."""
        if self._plan.mapped:
            return
        if self._image is None:
            raise ImageNeededError
        self._write_image()
        self._write_part(SectionType.END, lambda: None)
        self._ended = True

    def _before_the_end(self) -> None:
        if self._image is not None:
            self._write_image()
        for name, new in self._plan.replacements.items():
            if name not in self._blocks:
                raise _no_block(name, self._blocks)
            if self._ignoring and not new.seen:
                reason = "is not in the stream (x-ignore-shared): replace the file that it lies in"
                raise ConfigError(f"RAM block {name}", reason)

    # Sections of RAM

    def _begin(self, item: SectionBegin) -> None:
        self._part = item
        if item.name == RAM_SECTION:
            if item.type in _FIRST:
                self._ram = item
            self._skipping = self._is_skipped(item)
            if item.type in _PARTS and self._image is not None:
                self._write_image()
        if not self._skipping:
            write_item(item, self._writer)

    def _is_skipped(self, item: SectionBegin) -> bool:
        """Return whether nothing is left of this part once its pages are elsewhere."""
        if item.type is SectionType.END:
            return self._ended
        lifted = self._image is not None or (self._plan.mapped != self._source_mapped)
        return item.type is SectionType.PART and lifted

    def _end_records(self, item: EndOfRecords) -> None:
        if self._source_mapped and self._part is not None and self._part.type in _FIRST:
            self._tell_zeros()
        if not self._skipping:
            write_item(item, self._writer)

    def _end_section(self, item: SectionEnd) -> None:
        if not self._skipping:
            write_item(item, self._writer)
        part, self._part, self._skipping = self._part, None, False
        begun = part is not None and part.name == RAM_SECTION and part.type in _FIRST
        if begun and self._plan.replacements and not self._source_mapped and not self._image:
            self._write_part(SectionType.PART, self._write_replacements)

    def _write_part(self, kind: SectionType, write: Callable[[], None]) -> None:
        """Write a part of ram that the source does not have."""
        assert self._ram is not None  # the reader wants START before everything else of ram
        self._writer.begin_part(self._ram.section_id, kind)
        write()
        self._writer.end_ram_part(self._ram.section_id)

    def _block_list(self, item: RamBlocks) -> None:
        blocks = tuple(replace(block, host_page_bytes=None) for block in item.blocks)
        self._blocks = {block.name: block for block in blocks}
        with taking_memory_for(item):
            self._content = {block.name: DirtyBitmap(block.pages) for block in blocks}
            self._zero = {block.name: DirtyBitmap(block.pages) for block in blocks}
        self._source_mapped = any(block.mapped is not None for block in blocks)
        self._ignoring = leaves_blocks_out(self._capabilities, blocks)
        if self._plan.mapped and self._ignoring:
            reason = "QEMU loads no stream that has x-ignore-shared as well; keep it plain"
            raise ConfigError("mapped-ram", reason)
        for name, new in self._plan.replacements.items():
            if name not in self._blocks:
                raise _no_block(name, self._blocks)
            new.check(self._blocks[name])
        with taking_memory_for(item):
            write_item(RamBlocks(item.offset, blocks), self._writer)
        if not self._source_mapped:
            return
        if not self._plan.mapped:
            # The pages lie in START; a plain stream has them in the parts behind it.
            assert self._ram is not None
            self._writer.end_ram_part(self._ram.section_id)
            self._writer.begin_part(self._ram.section_id)
        self._write_replacements()

    # Pages

    def _pages(self, item: PageBatch | XbzrleBatch) -> None:
        if self._image is not None or item.block in self._plan.replacements:
            if item.block in self._plan.replacements:
                self._plan.replacements[item.block].seen = True
            return
        if isinstance(item, XbzrleBatch):
            self._deltas(item)
            return
        if item.named:
            self._writer.forget_block()
        data = item.data
        if data is None:
            self._write_zeros(item.block, item.pfns)
        else:
            self._write_content(item.block, item.pfns, data)

    def _deltas(self, item: XbzrleBatch) -> None:
        if not self._plan.mapped and not self._plan.keep_deltas:
            raise ImageNeededError
        self._has_content(item.block, item.pfns)
        write_item(item, self._writer)

    def _has_content(self, block: str, pfns: NDArray[np.int64]) -> None:
        self._content[block].set_pfns(pfns)
        self._zero[block].clear_pfns(pfns)

    def _write_content(self, block: str, pfns: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self._has_content(block, pfns)
        self._writer.pages(block, pfns, data, np.zeros(pfns.size, np.bool_))

    def _write_zeros(self, block: str, pfns: NDArray[np.int64]) -> None:
        content = self._content[block]
        if self._plan.zero_pages is ZeroPages.OMIT:
            pfns = pfns[content.test(pfns)]  # what had content before has to lose it
        if not pfns.size:
            return
        content.clear_pfns(pfns)
        if not self._plan.mapped or self._plan.zero_pages is ZeroPages.MARK:
            self._zero[block].set_pfns(pfns)
        if self._plan.mapped and self._plan.zero_pages is ZeroPages.MARK:
            self._mark_stored(block, pfns)
            return
        no_bytes = np.empty((pfns.size, 0), np.uint8)
        self._writer.pages(block, pfns, no_bytes, np.ones(pfns.size, np.bool_))

    def _mark_stored(self, block: str, pfns: NDArray[np.int64]) -> None:
        """Store zero pages as pages: a set bit over what stays a hole."""
        page_bytes = self._blocks[block].page_bytes
        most = max(1, _ZERO_BYTES // page_bytes)
        for first in range(0, pfns.size, most):
            some = pfns[first : first + most]
            rows = np.zeros((some.size, page_bytes), np.uint8)
            self._writer.pages(block, some, rows, np.zeros(some.size, np.bool_))

    def _tell_zeros(self) -> None:
        """Tell the pages that a mapped-ram source does not store, where that is wanted."""
        if self._plan.zero_pages is ZeroPages.OMIT:
            return
        for name, content in self._content.items():
            rest = DirtyBitmap(content.pages)
            rest.set_all()
            rest.subtract(content)
            for pfns in pieces(rest, self._blocks[name].page_bytes):
                self._write_zeros(name, pfns)

    def _write_replacements(self) -> None:
        for name, new in self._plan.replacements.items():
            block = self._blocks[name]
            for pfns, data in new.pages(block):
                zero = zero_page_mask(data)
                self._write_content(name, pfns[~zero], data[~zero])
                self._write_zeros(name, pfns[zero])

    def _write_image(self) -> None:
        """Write the whole RAM as one part, where the first part of the source was."""
        if self._placed_all or not self._blocks:
            return
        self._placed_all = True
        self._write_part(SectionType.PART, self._write_image_pages)

    def _write_image_pages(self) -> None:
        assert self._image is not None
        self._write_replacements()
        for name in self._blocks:
            if name in self._plan.replacements:
                continue
            for pfns, data in self._image.content(name):
                self._write_content(name, pfns, data)
            for pfns in self._image.zeros(name):
                self._write_zeros(name, pfns)


def _no_block(name: str, blocks: Mapping[str, BlockInfo]) -> ConfigError:
    known = ", ".join(blocks) or "none"
    return ConfigError(f"RAM block {name}", f"is not in the stream; there are: {known}")
