"""Where the bytes of a migration go to and come from."""

from __future__ import annotations

from .base import InputChannel, OutputChannel, RandomAccessChannel, SkippingChannel
from .counting import CountingOutput
from .file import FileInput, FileOutput
from .memory import MemoryInput, MemoryOutput

__all__ = [
    "CountingOutput",
    "FileInput",
    "FileOutput",
    "InputChannel",
    "MemoryInput",
    "MemoryOutput",
    "OutputChannel",
    "RandomAccessChannel",
    "SkippingChannel",
]
