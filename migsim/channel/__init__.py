"""Where the bytes of a migration go to and come from."""

from __future__ import annotations

from .base import InputChannel, OutputChannel, RandomAccessChannel, SeekableInput, SkippingChannel
from .counting import CountingOutput
from .faults import Fault, FaultKind, FaultyInput, FaultyOutput
from .file import FileInput, FileOutput
from .memory import MemoryInput, MemoryOutput
from .uri import ChannelAddress, Scheme, parse_uri

__all__ = [
    "ChannelAddress",
    "CountingOutput",
    "Fault",
    "FaultKind",
    "FaultyInput",
    "FaultyOutput",
    "FileInput",
    "FileOutput",
    "InputChannel",
    "MemoryInput",
    "MemoryOutput",
    "OutputChannel",
    "RandomAccessChannel",
    "Scheme",
    "SeekableInput",
    "SkippingChannel",
    "parse_uri",
]
