"""Walking through a stream to see that it is well formed, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .items import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    DeviceSection,
    Header,
    Item,
    PageBatch,
    RamBlocks,
    SectionBegin,
    Trailing,
)
from .reader import StreamReader
from .wire import SectionType

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from .device_reader import Lookup


@dataclass(slots=True)
class StreamSummary:
    """What a walk through a stream found.

    Attributes:
        offset: first byte of the stream in its source.
        length_bytes: from there to the end of the description (or the end marker).
        trailing_bytes: bytes behind that, where they can be seen.
        machine: machine type name.
        capabilities: checked capabilities that are on.
        blocks: the RAM blocks, in announcement order.
        normal_pages: page records with content, per block.
        zero_pages: zero page records, per block.
        ram_parts: PART and END sections of ram.
        devices: name and instance id of each device section, in order.
        commands: numbers of the commands, in order.
        description_bytes: length of the description's text, None without one.
    """

    offset: int = 0
    length_bytes: int = 0
    trailing_bytes: int = 0
    machine: str = ""
    capabilities: tuple[str, ...] = ()
    blocks: tuple[BlockInfo, ...] = ()
    normal_pages: dict[str, int] = field(default_factory=dict)
    zero_pages: dict[str, int] = field(default_factory=dict)
    ram_parts: int = 0
    devices: list[tuple[str, int]] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    description_bytes: int | None = None


def check_stream(channel: InputChannel, describe: Lookup | None = None) -> StreamSummary:
    """Return what the stream in ``channel`` holds, after reading it to its end.

    Page contents are not looked at, only their records' headers; memory use does not grow with RAM.

    Raises:
        StreamError: the stream is malformed, or holds devices that cannot be measured (see
            ``StreamReader``).
        ChannelError: the input broke.
    """
    summary = StreamSummary()
    reader = StreamReader(channel, describe)
    for item in reader:
        _count(item, summary)
    summary.length_bytes = reader.position - summary.offset
    return summary


def _count(item: Item, summary: StreamSummary) -> None:
    match item:
        case PageBatch():
            counts = summary.zero_pages if item.is_zero else summary.normal_pages
            counts[item.block] = counts.get(item.block, 0) + item.pfns.size
        case SectionBegin(type=SectionType.PART | SectionType.END):
            summary.ram_parts += 1
        case DeviceSection():
            summary.devices.append((item.name, item.instance_id))
        case Command():
            summary.commands.append(item.number)
        case Header():
            summary.offset = item.offset
        case Configuration():
            summary.machine, summary.capabilities = item.machine, item.capabilities or ()
        case RamBlocks():
            summary.blocks = item.blocks
        case Description():
            summary.description_bytes = len(item.raw)
        case Trailing():
            summary.trailing_bytes = item.size_bytes
        case _:
            pass
