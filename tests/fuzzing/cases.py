"""A stream with its channels, and changes to it that can be written down."""

from __future__ import annotations

import base64
import functools
import json
import lzma
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from state_files import MANIFEST, STREAMS

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream import open_stream

_WRAPPED = ("none-1m", "none-2m-mapped-ram", "q35-8m-devices")
"""Samples that are tried in a wrapper of libvirt as well."""


@dataclass(frozen=True)
class Base:
    """A recorded stream.

    ``parts`` are the main channel, the further channels, and the return path last if there is one;
    ``places`` are, for each part, offsets where its structure is.
    """

    name: str
    parts: tuple[bytes, ...]
    offset: int
    channels: int
    places: tuple[np.ndarray, ...] = field(repr=False)

    @property
    def has_return_path(self) -> bool:
        return len(self.parts) > 1 + self.channels


@dataclass(frozen=True)
class Edit:
    """``remove`` bytes at ``at`` of a part give way to ``insert``."""

    part: int
    at: int
    remove: int
    insert: bytes


@dataclass(frozen=True)
class Case:
    """A recorded stream and what is changed in it, edit by edit."""

    base: str
    edits: tuple[Edit, ...]

    def parts(self) -> list[bytes]:
        """Return the bytes of all parts, changed."""
        parts: list[bytes | bytearray] = list(load(self.base).parts)
        for edit in self.edits:
            data = parts[edit.part]
            if isinstance(data, bytes):
                data = parts[edit.part] = bytearray(data)
            data[edit.at : edit.at + edit.remove] = edit.insert
        return [bytes(part) for part in parts]

    def to_json(self) -> dict[str, object]:
        edits = [
            [e.part, e.at, e.remove, base64.b85encode(lzma.compress(e.insert)).decode()]
            if len(e.insert) > 256
            else [e.part, e.at, e.remove, "hex:" + e.insert.hex()]
            for e in self.edits
        ]
        return {"base": self.base, "edits": edits}

    @classmethod
    def from_json(cls, value: dict) -> Case:
        return cls(value["base"], tuple(_edit(*edit) for edit in value["edits"]))


def _edit(part: int, at: int, remove: int, insert: str) -> Edit:
    if insert.startswith("hex:"):
        return Edit(part, at, remove, bytes.fromhex(insert[4:]))
    return Edit(part, at, remove, lzma.decompress(base64.b85decode(insert)))


def findings() -> Iterator[tuple[Case, str]]:
    """Yield every case that was answered wrongly once, and what was done with it then."""
    folder = STREAMS.parent / "findings"
    for entry in json.loads((folder / "manifest.json").read_text())["findings"]:
        case = Case.from_json(json.loads((folder / entry["file"]).read_text()))
        for use in entry["uses"]:
            yield case, use


def names() -> list[str]:
    """Return the names of all bases."""
    return [*MANIFEST, *(f"{name}+libvirt" for name in _WRAPPED)]


@functools.lru_cache(maxsize=8)
def load(name: str) -> Base:
    """Return a base by name; few are kept, as workers have little memory."""
    plain, _, wrapped = name.partition("+")
    entry = MANIFEST[plain]
    main = _recording(entry["file"])
    channels = [_recording(channel["file"]) for channel in entry.get("channels", ())]
    back = [_recording(entry["return_path"]["file"])] if "return_path" in entry else []
    offset = entry["offset"]
    if wrapped:
        # Offsets of mapped-ram count from the beginning of the file: only an aligned head keeps
        # the rest true, and it is as good as any other here.
        main = _wrapper() + main[offset:]
        offset = 0
    places = _places(main, offset, channels)
    more = [_edges(len(part)) for part in back]
    return Base(name, (main, *channels, *back), offset, len(channels), (*places, *more))


def _recording(file: str) -> bytes:
    raw = (STREAMS / file).read_bytes()
    return lzma.decompress(raw) if file.endswith(".xz") else raw


def _wrapper() -> bytes:
    data = b"<domain type='kvm'><name>guest</name></domain>\0<cookie/>\0"
    numbers = (2, len(data), 1, 0, data.index(b"\0") + 1)
    return struct.pack("<16s5I56x", b"LibvirtQemudSave", *numbers) + data


def _places(main: bytes, offset: int, channels: list[bytes]) -> list[np.ndarray]:
    """Return the offsets of the items of the main channel, and of the packets of the others."""
    found: list[set[int]] = [set() for _ in range(1 + len(channels))]
    stream = open_stream(
        MemoryInput(main, offset=offset), channels=[MemoryInput(channel) for channel in channels]
    )
    try:
        for item in stream.items():
            found[0].add(item.offset)
            body = getattr(item, "body_offset", None)
            if body is not None:
                found[0].add(body)
    except StreamError as error:
        found[0].add(error.offset)
    edges = [_edges(len(part)) for part in (main, *channels)]
    for channel, places in zip(channels, found[1:], strict=True):
        places.update(_packets(channel))
    return [
        np.unique(np.concatenate([np.fromiter((p for p in some if p < len(raw)), np.int64), edge]))
        for some, edge, raw in zip(found, edges, (main, *channels), strict=True)
    ]


def _packets(channel: bytes) -> Iterable[int]:
    mark = struct.pack(">I", 0x11223344)
    at = channel.find(mark)
    while at >= 0:
        yield at
        at = channel.find(mark, at + 1)


def _edges(size: int) -> np.ndarray:
    return np.array([0, min(64, size), max(0, size - 1)], np.int64)


def sized(names_of: Iterable[str]) -> np.ndarray:
    """Return how often each base is to be taken: small ones more often, as they cost less."""
    sizes = np.array([sum(map(len, load(name).parts)) for name in names_of], float)
    weights = 1 / np.sqrt(sizes + 20_000)
    return weights / weights.sum()


def dumps(value: object) -> str:
    """Return JSON as the committed files have it."""
    return json.dumps(value, indent=1) + "\n"
