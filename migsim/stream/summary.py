"""What is in a stream, counted while it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .items import (
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
    Trailing,
)
from .options import QEMU_DEFAULTS, StreamOptions
from .wire import CommandKind, SectionType
from .xbzrle_records import XbzrleBatch


@dataclass(slots=True)
class StreamSummary:
    """What a walk through a stream found.

    Attributes:
        offset: first byte of the stream in its source.
        length_bytes: from there to the end of the description (or the end marker).
        trailing_bytes: bytes behind that, where they can be seen.
        machine: machine type name, empty where the stream does not say.
        capabilities: checked capabilities that are on.
        options: what the stream was put together with.
        blocks: the RAM blocks, in announcement order.
        normal_pages: pages sent with content, per block, those of multifd channels included.
        zero_pages: pages sent as zero, per block.
        delta_pages: pages sent as XBZRLE deltas, per block.
        ram_parts: PART and END sections of ram.
        multifd_flushes: synchronisation records of multifd.
        devices: name and instance id of each device section, in order.
        commands: numbers of the commands, in order.
        description_bytes: length of the description's text, None without one.
        complete: the end marker was reached.
    """

    offset: int = 0
    length_bytes: int = 0
    trailing_bytes: int = 0
    machine: str = ""
    capabilities: tuple[str, ...] = ()
    options: StreamOptions = QEMU_DEFAULTS
    blocks: tuple[BlockInfo, ...] = ()
    normal_pages: dict[str, int] = field(default_factory=dict)
    zero_pages: dict[str, int] = field(default_factory=dict)
    delta_pages: dict[str, int] = field(default_factory=dict)
    ram_parts: int = 0
    multifd_flushes: int = 0
    devices: list[tuple[str, int]] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    description_bytes: int | None = None
    complete: bool = False

    @property
    def mapped(self) -> bool:
        """Whether RAM lies at fixed places of the file (mapped-ram)."""
        return any(block.mapped is not None for block in self.blocks)

    @property
    def postcopy(self) -> bool:
        """Whether the migration was switched to postcopy."""
        return CommandKind.POSTCOPY_LISTEN in self.commands


def counted(items: Iterable[Item], summary: StreamSummary) -> Iterator[Item]:
    """Yield ``items`` and count them in ``summary``, which is right up to the last one."""
    for item in items:
        count(item, summary)
        yield item


def count(item: Item, summary: StreamSummary) -> None:
    """Count one item."""
    match item:
        case PageBatch():
            _add(summary.zero_pages if item.is_zero else summary.normal_pages, item)
        case XbzrleBatch():
            _add(summary.delta_pages, item)
        case SectionBegin(name="ram", type=SectionType.PART | SectionType.END):
            summary.ram_parts += 1
        case MultifdFlush():
            summary.multifd_flushes += 1
        case DeviceSection():
            summary.devices.append((item.name, item.instance_id))
        case Command():
            summary.commands.append(item.number)
        case RamBlocks():
            summary.blocks = item.blocks
        case _:
            _count_frame(item, summary)


def _count_frame(item: Item, summary: StreamSummary) -> None:
    match item:
        case Header():
            summary.offset = item.offset
        case Configuration():
            summary.machine, summary.capabilities = item.machine, item.capabilities or ()
        case EndMarker():
            summary.complete = True
        case Description():
            summary.description_bytes = len(item.raw)
        case Trailing():
            summary.trailing_bytes = item.size_bytes
        case _:
            pass


def _add(counts: dict[str, int], batch: PageBatch | XbzrleBatch) -> None:
    counts[batch.block] = counts.get(batch.block, 0) + batch.pfns.size
