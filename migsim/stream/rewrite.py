"""Writing out again what a reader yields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .items import (
    Command,
    Configuration,
    Description,
    DeviceSection,
    EndMarker,
    EndOfRecords,
    Header,
    Item,
    MultifdFlush,
    OpaquePart,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
)
from .wire import SectionType
from .xbzrle_records import XbzrleBatch

if TYPE_CHECKING:
    from .writer import StreamWriter


def rewrite(items: Iterable[Item], writer: StreamWriter) -> None:
    """Write ``items`` with ``writer`` and flush.

    With the items of a reader that keeps the order and a writer of the same form and options, the
    bytes come out as they went in, as long as subsections of the configuration lie in QEMU's order;
    with mapped-ram, what lies under clear bits is not copied.  Another form of writer converts.
    Leaving out, changing or adding items on the way makes another stream; page batches name their
    block where the original did and where it changes.  Bytes behind the stream are dropped.

    Raises:
        ChannelError: the writer's channel cannot take the bytes.
        StreamError: from the reader behind ``items``.
    """
    for item in items:
        write_item(item, writer)
    writer.out.flush()


def write_item(item: Item, writer: StreamWriter) -> None:
    """Write one item."""
    match item:
        case Header():
            writer.header()
        case Configuration():
            writer.configuration_like(item)
        case SectionBegin():
            _write_begin(item, writer)
        case SectionEnd(section_id=section_id):
            writer.footer(section_id)
        case DeviceSection():
            _write_device(item, writer)
        case Command(number=number, data=data):
            writer.command(number, data)
        case EndMarker():
            writer.end_marker()
        case Description(raw=raw):
            writer.description_like(raw)
        case OpaquePart(body=body):
            writer.opaque_part(body)
        case _:
            _write_ram_item(item, writer)


def _write_ram_item(item: Item, writer: StreamWriter) -> None:
    match item:
        case PageBatch():
            _write_pages(item, writer)
        case RamBlocks(blocks=blocks):
            writer.block_list(blocks)
        case XbzrleBatch():
            if item.named:
                writer.forget_block()
            writer.deltas(item)
        case EndOfRecords(address=address):
            writer.end_records(address)
        case MultifdFlush(address=address):
            writer.synchronise(address)


def _write_begin(item: SectionBegin, writer: StreamWriter) -> None:
    if item.type in (SectionType.START, SectionType.FULL):
        writer.begin_named(item.type, item.section_id, item.name, item.instance_id, item.version)
    else:
        writer.begin_part(item.section_id, item.type)


def _write_pages(batch: PageBatch, writer: StreamWriter) -> None:
    if batch.named:
        writer.forget_block()
    zero_mask = np.full(batch.pfns.size, batch.is_zero)
    data = batch.data
    if data is None:
        data = np.empty((batch.pfns.size, 0), np.uint8)
    writer.pages(batch.block, batch.pfns, data, zero_mask)


def _write_device(item: DeviceSection, writer: StreamWriter) -> None:
    writer.opaque_device(
        item.section_id, item.name, item.instance_id, item.version, item.body, entry=item.entry
    )
