"""Recorded streams, and a builder that knows the format on its own."""

from __future__ import annotations

import functools
import json
import lzma
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from migsim.vmstate.common import GLOBALSTATE, TIMER

STREAMS = Path(__file__).parents[2] / "data" / "streams"


@functools.cache
def load_sample(name: str) -> tuple[bytes, dict[str, Any]]:
    manifest = json.loads((STREAMS / "manifest.json").read_text())
    (entry,) = (sample for sample in manifest["samples"] if sample["name"] == name)
    return lzma.decompress((STREAMS / entry["file"]).read_bytes()), entry


@pytest.fixture
def sample():
    """Return bytes and manifest entry of a recorded stream by name."""
    return load_sample


@functools.cache
def load_recording(file: str) -> bytes:
    raw = (STREAMS / file).read_bytes()
    return lzma.decompress(raw) if file.endswith(".xz") else raw


@pytest.fixture
def recording():
    """Return the bytes of a file that belongs to a recorded stream."""
    return load_recording


@pytest.fixture
def describe():
    """Look up the sections that every machine has."""
    known = {("timer", 0): TIMER, ("globalstate", 0): GLOBALSTATE}
    return lambda name, instance_id: known.get((name, instance_id))


def str8(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


def word(address: int, flags: int) -> bytes:
    return struct.pack(">Q", address | flags)


@dataclass
class Parts:
    """A stream in pieces, any of which a test may replace."""

    header: bytes = b"QEVM\0\0\0\3"
    configuration: bytes = b"\x07" + struct.pack(">I", 4) + b"none"
    start: bytes = b"\x01" + struct.pack(">I", 1) + str8("ram") + struct.pack(">II", 0, 4)
    blocks: bytes = word(0x8000, 4) + str8("ram0") + struct.pack(">Q", 0x8000)
    setup_end: bytes = word(0, 0x10) + b"\x7e\0\0\0\1"
    part: bytes = b"\x02\0\0\0\1"
    pages: bytes = (
        word(0, 2)
        + str8("ram0")
        + b"\0"
        + word(0x1000, 0x28)
        + b"\x11" * 4096
        + word(0x2000, 0x28)
        + b"\x22" * 4096
        + word(0x3000, 0x22)
        + b"\0"
    )
    part_end: bytes = word(0, 0x10) + b"\x7e\0\0\0\1"
    last: bytes = b"\x03\0\0\0\1" + word(0, 0x10) + b"\x7e\0\0\0\1"
    devices: bytes = b""
    end: bytes = b"\0"
    description: bytes = field(default=b"")

    def join(self) -> bytes:
        return b"".join(getattr(self, name) for name in self.__dataclass_fields__)

    def offset_of(self, name: str) -> int:
        """Return where the piece ``name`` begins."""
        offset = 0
        for piece in self.__dataclass_fields__:
            if piece == name:
                return offset
            offset += len(getattr(self, piece))
        raise KeyError(name)


@pytest.fixture
def parts():
    """Return the class of a hand-made stream in pieces."""
    return Parts
