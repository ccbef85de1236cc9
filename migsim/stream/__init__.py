"""The migration stream: what goes over the wire, byte for byte (spec stream.md)."""

from __future__ import annotations

from .check import StreamSummary, check_stream
from .flush import FlushState, PagePlan, plan_pages
from .items import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    DeviceSection,
    EndMarker,
    EndOfRecords,
    Header,
    Item,
    MultifdFlush,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
    Trailing,
)
from .outfile import OutFile
from .ram_records import EOS_RECORD, PAGE_RECORD_BYTES, encode_pages, records_bytes
from .reader import StreamReader
from .rewrite import rewrite, write_item
from .writer import StreamWriter

__all__ = [
    "EOS_RECORD",
    "PAGE_RECORD_BYTES",
    "BlockInfo",
    "Command",
    "Configuration",
    "Description",
    "DeviceSection",
    "EndMarker",
    "EndOfRecords",
    "FlushState",
    "Header",
    "Item",
    "MultifdFlush",
    "OutFile",
    "PageBatch",
    "PagePlan",
    "RamBlocks",
    "SectionBegin",
    "SectionEnd",
    "StreamReader",
    "StreamSummary",
    "StreamWriter",
    "Trailing",
    "check_stream",
    "encode_pages",
    "plan_pages",
    "records_bytes",
    "rewrite",
    "write_item",
]
