"""Tools for people who hold a state file: look into it, check, show, compare, convert it.

Everything here is a function of files to frozen values, or to new files that appear complete or
not at all; nothing is printed.  Reading and writing of streams themselves is ``migsim.stream``.
"""

from __future__ import annotations

from .check import CheckReport, Verdict, check_stream
from .files import Progress, StreamFiles
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
from .values import to_json

__all__ = [
    "BlockReport",
    "ChannelInfo",
    "CheckReport",
    "CommandInfo",
    "Fault",
    "Finding",
    "Progress",
    "SectionInfo",
    "Severity",
    "ShownField",
    "ShownSection",
    "ShownState",
    "ShownValue",
    "StreamFiles",
    "StreamForm",
    "StreamInfo",
    "Verdict",
    "WrapperInfo",
    "check_stream",
    "show_state",
    "stream_info",
    "to_json",
]
