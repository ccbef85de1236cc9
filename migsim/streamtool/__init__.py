"""Tools for people who hold a state file: look into it, check, show, compare, convert it.

Everything here is a function of files to frozen values, or to new files that appear complete or
not at all; nothing is printed.  Reading and writing of streams themselves is ``migsim.stream``.
"""

from __future__ import annotations

from .atomic import AtomicFile
from .check import CheckReport, Verdict, check_stream
from .compare import compare_streams
from .compare_ram import PageRanges
from .compare_state import FieldDifference, Side
from .convert import WrittenStream, convert, replace_ram
from .difference import BlockDifference, FactDifference, SectionDifference, StreamDifference
from .extract import ExtractedBlock, extract_ram
from .files import Progress, StreamFiles, begins_stream
from .findings import Finding, Severity
from .info import stream_info
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
from .show import ShownField, ShownSection, ShownState, ShownValue, show_state
from .transcode import ZeroPages
from .values import to_json

__all__ = [
    "AtomicFile",
    "BlockDifference",
    "BlockReport",
    "ChannelInfo",
    "CheckReport",
    "CommandInfo",
    "ExtractedBlock",
    "FactDifference",
    "Fault",
    "FieldDifference",
    "Finding",
    "PageRanges",
    "Progress",
    "SectionDifference",
    "SectionInfo",
    "Severity",
    "ShownField",
    "ShownSection",
    "ShownState",
    "ShownValue",
    "Side",
    "StreamDifference",
    "StreamFiles",
    "StreamForm",
    "StreamInfo",
    "Verdict",
    "WrapperInfo",
    "WrittenStream",
    "ZeroPages",
    "begins_stream",
    "check_stream",
    "compare_streams",
    "convert",
    "extract_ram",
    "replace_ram",
    "show_state",
    "stream_info",
    "to_json",
]
