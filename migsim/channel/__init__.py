"""Where the bytes of a migration go to and come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import homes

if TYPE_CHECKING:
    from .base import (
        InputChannel,
        OutputChannel,
        RandomAccessChannel,
        SeekableInput,
        SkippingChannel,
    )
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

if not TYPE_CHECKING:  # a checker would take it as leave to accept any name
    __getattr__ = homes(
        __name__,
        {
            "base": (
                "InputChannel",
                "OutputChannel",
                "RandomAccessChannel",
                "SeekableInput",
                "SkippingChannel",
            ),
            "counting": ("CountingOutput",),
            "faults": (
                "Fault",
                "FaultKind",
                "FaultyInput",
                "FaultyOutput",
            ),
            "file": (
                "FileInput",
                "FileOutput",
            ),
            "memory": (
                "MemoryInput",
                "MemoryOutput",
            ),
            "uri": (
                "ChannelAddress",
                "Scheme",
                "parse_uri",
            ),
        },
    )
