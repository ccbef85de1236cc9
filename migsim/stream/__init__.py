"""The migration stream: what goes over the wire, byte for byte (spec stream.md)."""

from __future__ import annotations

from .apply import FileStore, MemoryStore, PageStore, apply_item, apply_items
from .check import check_stream
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
    MappedRegion,
    MultifdFlush,
    OpaquePart,
    PageBatch,
    RamBlocks,
    SectionBegin,
    SectionEnd,
    Trailing,
)
from .open import StreamFile, open_stream
from .options import DETECT, QEMU_DEFAULTS, StreamOptions
from .outfile import OutFile
from .ram_records import EOS_RECORD, PAGE_RECORD_BYTES, encode_pages, records_bytes
from .reader import StreamReader
from .rewrite import rewrite, write_item
from .summary import StreamSummary, counted
from .writer import StreamWriter
from .xbzrle_records import XbzrleBatch

__all__ = [
    "DETECT",
    "EOS_RECORD",
    "PAGE_RECORD_BYTES",
    "QEMU_DEFAULTS",
    "BlockInfo",
    "Command",
    "Configuration",
    "Description",
    "DeviceSection",
    "EndMarker",
    "EndOfRecords",
    "FileStore",
    "FlushState",
    "Header",
    "Item",
    "MappedRegion",
    "MemoryStore",
    "MultifdFlush",
    "OpaquePart",
    "OutFile",
    "PageBatch",
    "PagePlan",
    "PageStore",
    "RamBlocks",
    "SectionBegin",
    "SectionEnd",
    "StreamFile",
    "StreamOptions",
    "StreamReader",
    "StreamSummary",
    "StreamWriter",
    "Trailing",
    "XbzrleBatch",
    "apply_item",
    "apply_items",
    "check_stream",
    "counted",
    "encode_pages",
    "open_stream",
    "plan_pages",
    "records_bytes",
    "rewrite",
    "write_item",
]
