"""The migration stream: what goes over the wire, byte for byte (spec stream.md)."""

from __future__ import annotations

from .flush import FlushState, PagePlan, plan_pages
from .outfile import OutFile
from .ram_records import EOS_RECORD, PAGE_RECORD_BYTES, encode_pages, records_bytes

__all__ = [
    "EOS_RECORD",
    "PAGE_RECORD_BYTES",
    "FlushState",
    "OutFile",
    "PagePlan",
    "encode_pages",
    "plan_pages",
    "records_bytes",
]
