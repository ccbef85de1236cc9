"""Recorded streams as files, and hand-made ones; for tests of the tools."""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

from migsim.stream.apply import MemoryStore, apply_items
from migsim.streamtool import StreamFiles

STREAMS = Path(__file__).parent / "data" / "streams"
MANIFEST: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((STREAMS / "manifest.json").read_text())["samples"]
}
WHOLE = [name for name, entry in MANIFEST.items() if not entry.get("malformed")]
SHARING = [name for name in WHOLE if "ignore-shared" in name]
"""Samples that have x-ignore-shared."""
FORMS = {
    "mapped-ram": [name for name in WHOLE if "mapped-ram" in name],
    "multifd": [name for name in WHOLE if MANIFEST[name].get("channels")],
    "postcopy": [name for name in WHOLE if "postcopy" in name],
}
FORMS["plain"] = [name for name in WHOLE if not any(name in some for some in FORMS.values())]

_DIRECTORY = tempfile.TemporaryDirectory(prefix="migsim-samples-")


@functools.cache
def unpacked(file: str) -> Path:
    """Return a recording as a file that tests must not change."""
    path = Path(_DIRECTORY.name) / file.removesuffix(".xz")
    raw = (STREAMS / file).read_bytes()
    path.write_bytes(lzma.decompress(raw) if file.endswith(".xz") else raw)
    path.chmod(0o444)
    return path


def sample_files(name: str) -> StreamFiles:
    """Return the files of a recorded stream."""
    entry = MANIFEST[name]
    channels = [unpacked(channel["file"]) for channel in entry.get("channels", [])]
    return StreamFiles.at(unpacked(entry["file"]), entry["offset"], channels)


def form_of(name: str) -> str:
    return next(form for form, names in FORMS.items() if name in names)


def ram_hashes(files: StreamFiles, names: list[str]) -> dict[str, str]:
    """Return the hashes of RAM blocks: what all pages of the stream add up to."""
    store = MemoryStore()
    with files.open() as opened:
        apply_items(opened.items(), store)
    return {name: hashlib.sha256(store.blocks[name]).hexdigest() for name in names}


def data_bytes(path: Path) -> int:
    """Return how many bytes of a file are no hole."""
    total = at = 0
    with path.open("rb") as file:
        while True:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return total
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            total += at - begin


def blocks_in(name: str) -> dict[str, str]:
    """Return the hashes of the blocks whose pages are in a recorded stream."""
    return {
        block: facts["sha256"]
        for block, facts in MANIFEST[name]["blocks"].items()
        if facts.get("in_stream", True)
    }


# Hand-made streams of machine none with one block of eight pages

PAGE = 4096


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def str8(text: bytes | str) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return bytes((len(raw),)) + raw


def word(address: int, flags: int) -> bytes:
    return struct.pack(">Q", address | flags)


def page_of(byte: int) -> bytes:
    return bytes((byte,)) * PAGE


EOS = word(0, 0x10)
HEADER = b"QEVM\0\0\0\3"
FOOTER = b"\x7e" + u32(1)
SETUP = b"\x01" + u32(1) + str8("ram") + u32(0) + u32(4)
LAST = b"\x03" + u32(1) + EOS + FOOTER
RETURN_PATH = b"\x08\0\1\0\0"
PING = b"\x08\0\2\0\4" + u32(1)


def configuration(machine: bytes = b"none", *capabilities: str) -> bytes:
    raw = b"\x07" + u32(len(machine)) + machine
    if capabilities:
        names = b"".join(str8(name) for name in capabilities)
        raw += (
            b"\x05" + str8("configuration/capabilities") + u32(1) + u32(len(capabilities)) + names
        )
    return raw


def block_list(*names: bytes | str, pages: int = 8) -> bytes:
    size = pages * PAGE
    entries = b"".join(str8(name) + struct.pack(">Q", size) for name in names)
    return word(size * len(names), 4) + entries


def part(records: bytes) -> bytes:
    return b"\x02" + u32(1) + records + EOS + FOOTER


def pages(first: int, contents: list[int], block: bytes | str = "ram0") -> bytes:
    """Return page records, of pages whose bytes are all the same; 0 is a zero record."""
    out = b""
    for at, byte in enumerate(contents):
        name = str8(block) if at == 0 else b""
        more = 0 if at == 0 else 0x20
        flag = 8 if byte else 2
        out += word((first + at) * PAGE, flag | more) + name + (page_of(byte) if byte else b"\0")
    return out


def globalstate(name: bytes = b"running", suspended: int = 0) -> bytes:
    body = u32(len(name) + 1) + name.ljust(32, b"\0") + bytes((1, suspended)) + bytes(66)
    return device("globalstate", body, section_id=9)


def device(name: str, body: bytes, *, section_id: int = 5, version: int = 1) -> bytes:
    head = b"\x04" + u32(section_id) + str8(name) + u32(0) + u32(version)
    return head + body + b"\x7e" + u32(section_id)


def stream(
    *between: bytes,
    setup: bytes | None = None,
    records: bytes | None = None,
    head: bytes | None = None,
    devices: bytes | None = None,
    end: bytes = b"\0",
) -> bytes:
    """Return a stream; ``between`` comes in front of ram."""
    return b"".join(
        (
            HEADER + configuration() if head is None else head,
            *between,
            SETUP + (block_list("ram0") if setup is None else setup) + EOS + FOOTER,
            part(pages(0, [1, 0, 3, 4, 0, 0, 7, 8]) if records is None else records),
            LAST,
            globalstate() if devices is None else devices,
            end,
        )
    )


def written(path: Path, raw: bytes) -> StreamFiles:
    """Put a hand-made stream into a file."""
    path.write_bytes(raw)
    return StreamFiles.at(path)
