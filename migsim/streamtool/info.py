"""``info``: one walk through a stream that gathers what is in it; the ground of ``check`` too."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ..errors import IncompatibleError, StreamError
from ..ram.bitmap import DirtyBitmap
from ..stream.apply import taking_memory_for
from ..stream.items import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    DeviceSection,
    EndMarker,
    Header,
    Item,
    MultifdFlush,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
    Trailing,
)
from ..stream.wire import SECTION_ID, CommandKind, SectionType
from ..stream.xbzrle_records import XbzrleBatch
from ..vmstate.codec import decode
from ..vmstate.common import GLOBALSTATE, read_globalstate
from .files import leaves_blocks_out, walk
from .report import (
    BlockReport,
    ChannelInfo,
    CommandInfo,
    Fault,
    SectionInfo,
    StreamForm,
    StreamInfo,
    WrapperInfo,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..stream.open import StreamFile
    from .files import Progress, StreamFiles

_POSTCOPY: Final = frozenset({CommandKind.POSTCOPY_LISTEN, CommandKind.PACKAGED})


def stream_info(files: StreamFiles, progress: Progress | None = None) -> StreamInfo:
    """Return what is in the stream, read from its beginning to its end or first fault.

    Page contents are not looked at; memory use is two bits a page and what the devices' list
    takes.

    Raises:
        StreamError: it does not even begin like a stream.
        ChannelError: a file cannot be read.
    """
    with files.open() as stream:
        found = Survey(files, stream)
        fault: Fault | None = None
        try:
            for item in walk(stream, progress):
                found.take(item)
        except StreamError as error:
            if not found.began:
                raise
            fault = Fault.of(error)
        return found.result(fault)


class BlockTally:
    """What was seen of one RAM block.

    Attributes:
        info: its entry in the block list.
        content: pages whose last record has content.
        zero: pages whose last record says zero.
    """

    def __init__(self, info: BlockInfo) -> None:
        self.info = info
        self.content = DirtyBitmap(info.pages)
        self.zero = DirtyBitmap(info.pages)
        self.normal_records = self.zero_records = self.delta_records = self.payload_bytes = 0

    def take(self, batch: PageBatch | XbzrleBatch) -> None:
        """Count a batch of records."""
        if isinstance(batch, XbzrleBatch):
            self._deltas(batch)
        else:
            self._pages(batch)

    def _pages(self, batch: PageBatch) -> None:
        count = batch.pfns.size
        if batch.is_zero:
            self.zero_records += count
            self._mark(batch.pfns, self.zero, self.content)
        else:
            self.normal_records += count
            self.payload_bytes += count * self.info.page_bytes
            self._mark(batch.pfns, self.content, self.zero)

    def _deltas(self, batch: XbzrleBatch) -> None:
        self.delta_records += batch.pfns.size
        self.payload_bytes += batch.deltas.data.size
        self._mark(batch.pfns, self.content, self.zero)

    @staticmethod
    def _mark(pfns: NDArray[np.int64], into: DirtyBitmap, out_of: DirtyBitmap) -> None:
        into.set_pfns(pfns)
        out_of.clear_pfns(pfns)

    def report(self, *, finished: bool, ignoring: bool) -> BlockReport:
        """Return the counts.

        Args:
            finished: the last part of ram was read.
            ignoring: the capability x-ignore-shared is on.
        """
        info = self.info
        content, zero = self.content.count(), self.zero.count()
        records = self.normal_records + self.zero_records + self.delta_records
        if info.mapped is not None:
            zero = info.pages - content
        in_stream = records > 0 or not ignoring or not info.pages
        return BlockReport(
            name=info.name,
            size_bytes=info.used_bytes,
            page_bytes=info.page_bytes,
            pages=info.pages,
            content_pages=content,
            zero_pages=zero,
            absent_pages=info.pages - content - zero,
            normal_records=self.normal_records,
            zero_records=self.zero_records,
            delta_records=self.delta_records,
            payload_bytes=self.payload_bytes,
            in_stream=in_stream,
            complete=finished and (not in_stream or content + zero == info.pages),
            address=info.address,
            host_page_bytes=info.host_page_bytes,
            mapped=info.mapped,
        )


@dataclass(slots=True)
class _Section:
    """A section that was begun."""

    info: SectionInfo
    part_offset: int


class Survey:
    """Takes the items of a stream, one by one, and keeps what they tell."""

    def __init__(self, files: StreamFiles, stream: StreamFile) -> None:
        self._files = files
        self._stream = stream
        self._configuration: Configuration | None = None
        self._sections: dict[int, SectionInfo] = {}
        self._open: _Section | None = None
        self._blocks: dict[str, BlockTally] = {}
        self._commands: dict[str, CommandInfo] = {}
        self._flushes = 0
        self._description: Description | None = None
        self._trailing_bytes = 0
        self._run_state: tuple[str | None, bool] = None, False
        self._end: int | None = None
        self.began = self.ended = self._postcopy = False

    def take(self, item: Item) -> None:
        """Keep what ``item`` tells."""
        match item:
            case PageBatch() | XbzrleBatch():
                self._blocks[item.block].take(item)
            case SectionBegin():
                self._begin(item)
            case SectionEnd():
                self._finish(item.offset)
            case DeviceSection():
                self._device(item)
            case RamBlocks():
                with taking_memory_for(item):
                    self._blocks = {block.name: BlockTally(block) for block in item.blocks}
            case _:
                self._rare(item)

    def _rare(self, item: Item) -> None:
        match item:
            case Header():
                self.began = True
            case Configuration():
                self._configuration = item
            case Command():
                self._command(item)
            case MultifdFlush():
                self._flushes += 1
            case EndMarker():
                self.ended = True
                self._end = item.offset + 1
            case Description():
                self._description = item
                self._end = item.offset + SECTION_ID.size + len(item.raw)
            case Trailing():
                self._trailing_bytes = item.size_bytes
            case _:
                pass

    def _begin(self, item: SectionBegin) -> None:
        known = self._sections.get(item.section_id)
        info = known or SectionInfo(
            item.name,
            item.instance_id,
            item.version,
            item.section_id,
            item.offset,
            size_bytes=0,
            parts=0,
            iterable=True,
            complete=False,
        )
        complete = item.type in (SectionType.END, SectionType.FULL)
        info = replace(info, parts=info.parts + 1, complete=info.complete or complete)
        self._open = _Section(info, item.offset)

    def _finish(self, offset: int) -> None:
        assert self._open is not None  # a section that ends has begun
        info, began = self._open.info, self._open.part_offset
        size_bytes = info.size_bytes + max(self._stream.position, offset) - began
        self._sections[info.section_id] = replace(info, size_bytes=size_bytes)
        self._open = None

    def _device(self, item: DeviceSection) -> None:
        # Ids of devices may repeat; a key of its own keeps them all.
        key = -1 - item.offset
        self._sections[key] = SectionInfo(
            item.name,
            item.instance_id,
            item.version,
            item.section_id,
            item.offset,
            self._stream.position - item.offset,
            described=item.entry is not None,
        )
        if item.name == GLOBALSTATE.name:
            self._run_state = stored_run_state(item)

    def _command(self, item: Command) -> None:
        name = CommandKind(item.number).name
        first = self._commands.get(name) or CommandInfo(name, item.offset, 0)
        self._commands[name] = replace(first, count=first.count + 1)
        self._postcopy = self._postcopy or item.number in _POSTCOPY

    # The result

    def result(self, fault: Fault | None = None) -> StreamInfo:
        """Return everything as one value; ``fault`` is what ended the walk, if anything did."""
        stream, configuration = self._stream, self._configuration
        capabilities = (configuration.capabilities or ()) if configuration is not None else ()
        raw_uuid = configuration.uuid if configuration is not None else None
        end = stream.position if self._end is None else self._end
        sections = list(self._sections.values())
        if self._open is not None:
            sections = self._with_open(sections)
        return StreamInfo(
            path=str(self._files.path),
            file_bytes=stream.size_bytes,
            wrapper=self._wrapper(),
            offset=stream.offset,
            length_bytes=end - stream.offset,
            trailing_bytes=self._trailing_bytes,
            form=self._form(),
            machine=configuration.machine if configuration is not None else None,
            capabilities=capabilities,
            uuid=str(uuid.UUID(bytes=raw_uuid)) if raw_uuid is not None else None,
            page_bytes=1 << stream.found.page_bits,
            footers=stream.found.footers,
            run_state=self._run_state[0],
            was_suspended=self._run_state[1],
            sections=tuple(sorted(sections, key=lambda section: section.offset)),
            blocks=self._reports(capabilities),
            commands=tuple(self._commands.values()),
            flushes=self._flushes,
            channels=self._channels(),
            early_pages=stream.multifd.early_pages if stream.multifd is not None else 0,
            description_offset=self._description.offset if self._description else None,
            description_bytes=len(self._description.raw) if self._description else None,
            ended=self.ended,
            fault=fault,
        )

    def _with_open(self, sections: list[SectionInfo]) -> list[SectionInfo]:
        """Put the section in whose middle reading stopped in place of its earlier parts."""
        assert self._open is not None
        info = replace(self._open.info, complete=False)
        size_bytes = info.size_bytes + max(0, self._stream.position - self._open.part_offset)
        others = [s for s in sections if not s.iterable or s.section_id != info.section_id]
        return [*others, replace(info, size_bytes=size_bytes)]

    def _reports(self, capabilities: tuple[str, ...]) -> tuple[BlockReport, ...]:
        infos = [tally.info for tally in self._blocks.values()]
        ignoring = leaves_blocks_out(capabilities, infos)
        # A receiver takes a stream without an END part; the end marker says as much.
        finished = self.ended or any(
            section.name == "ram" and section.complete for section in self._sections.values()
        )
        return tuple(
            tally.report(finished=finished, ignoring=ignoring) for tally in self._blocks.values()
        )

    def _form(self) -> StreamForm:
        if any(tally.info.mapped is not None for tally in self._blocks.values()):
            return StreamForm.MAPPED_RAM
        if self._stream.multifd is not None or self._flushes:
            return StreamForm.MULTIFD
        return StreamForm.POSTCOPY if self._postcopy else StreamForm.PLAIN

    def _channels(self) -> tuple[ChannelInfo, ...]:
        joined = self._stream.multifd
        if joined is None:
            return ()
        return tuple(
            ChannelInfo(
                str(path),
                channel.number,
                channel.packets,
                channel.normal_pages,
                channel.zero_pages,
                None if channel.compression is None else channel.compression.value,
            )
            for path, channel in zip(self._files.channels, joined.channels, strict=True)
        )

    def _wrapper(self) -> WrapperInfo | None:
        wrapper = self._stream.wrapper
        if wrapper is None:
            return None
        size_bytes = wrapper.stream_offset - wrapper.offset
        return WrapperInfo(
            wrapper.offset, size_bytes, wrapper.complete, wrapper.was_running, len(wrapper.xml)
        )


def stored_run_state(item: DeviceSection) -> tuple[str | None, bool]:
    """Return run state and whether the guest was suspended, from the section ``globalstate``.

    None in place of a name that cannot be read.
    """
    try:
        values, _ = decode(GLOBALSTATE, item.body, 0, item.version, item.name)
        return read_globalstate(values, item.body_offset)
    except (StreamError, IncompatibleError):
        return None, False
