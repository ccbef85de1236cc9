"""Judges a stream strictly: sections one behind the other, every size as the description says.

It reads with nothing but the description at the end of the stream, as an outside analysis does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .image import PAGE_BYTES
from .wire import check

_EOF, _START, _PART, _END, _FULL, _SUBSECTION, _DESCRIPTION, _CONFIGURATION, _COMMAND = range(9)
_FOOTER = 0x7E
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
_FLAGS = PAGE_BYTES - 1


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.block = ""

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        check(len(piece) == count, f"the stream ends at {self.at} with {count} bytes missing")
        self.at += count
        return piece

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def name(self) -> str:
        return self.take(self.number(1)).decode("ascii")


def analyse(stream: bytes) -> dict[str, int]:
    """Return the number of pages sent by RAM block; fail unless the stream parses to its end."""
    reader = _Reader(stream)
    devices = {(d["name"], d["instance_id"]): d for d in _description(stream)["devices"]}
    check(reader.take(8) == b"QEVM\0\0\0\3", "no magic number")
    sections: dict[int, tuple[str, int]] = {}
    pages: dict[str, int] = {}
    ignores_shared = False
    while (kind := reader.number(1)) != _EOF:
        if kind == _CONFIGURATION:
            ignores_shared = "x-ignore-shared" in _configuration(reader)
            continue
        if kind == _COMMAND:
            reader.take(2)
            reader.take(reader.number(2))
            continue
        check(kind in (_START, _PART, _END, _FULL), f"type {kind} at {reader.at - 1}")
        number = reader.number(4)
        if kind in (_START, _FULL):
            sections[number] = reader.name(), reader.number(4)
            reader.take(4)
        check(number in sections, f"section {number} was not announced")
        if sections[number][0] == "ram":
            _ram(reader, pages, addresses=ignores_shared)
        else:
            check(sections[number] in devices, f"{sections[number]} is not described")
            _fields(reader, devices[sections[number]])
        check(reader.number(1) == _FOOTER, f"{sections[number]}: no footer at {reader.at - 1}")
        check(reader.number(4) == number, f"{sections[number]}: the footer of another section")
    check(reader.number(1) == _DESCRIPTION, "no description behind the end")
    reader.take(reader.number(4))
    check(reader.at == len(stream), f"{len(stream) - reader.at} bytes behind the description")
    check(set(sections.values()) - {("ram", 0)} <= set(devices), "sections without description")
    return pages


def _description(stream: bytes) -> Mapping[str, Any]:
    """Return the description, which is found from the end: its length says where it begins."""
    begin = stream.rfind(b"\x00\x06")
    while begin >= 0:
        length = int.from_bytes(stream[begin + 2 : begin + 6], "big")
        if begin + 6 + length == len(stream):
            found = json.loads(stream[begin + 6 :])
            check(found.get("page_size") == PAGE_BYTES, "the description has no page size")
            assert isinstance(found, dict)
            return found
        begin = stream.rfind(b"\x00\x06", 0, begin)
    check(False, "no description at the end")
    raise AssertionError


def _configuration(reader: _Reader) -> Sequence[str]:
    reader.take(reader.number(4))
    names: list[str] = []
    while reader.data[reader.at] == _SUBSECTION:
        reader.take(1)
        name = reader.name()
        reader.take(4)
        if name == "configuration/capabilities":
            names = [reader.name() for _ in range(reader.number(4))]
        elif name == "configuration/uuid":
            reader.take(16)
        else:
            check(name == "configuration/target-page-bits", f"part {name} of the configuration")
            reader.take(4)
    return names


def _fields(reader: _Reader, described: Mapping[str, Any]) -> None:
    for field in described.get("fields", ()):
        size = field["size"] * field.get("array_len", 1)
        if "struct" in field and "array_len" not in field:
            begin = reader.at
            _fields(reader, field["struct"])
            check(reader.at - begin == size, f"{field['name']}: {reader.at - begin}, not {size}")
        else:
            reader.take(size)
    for part in described.get("subsections", ()):
        check(reader.number(1) == _SUBSECTION, f"no part {part['vmsd_name']} at {reader.at - 1}")
        check(reader.name() == part["vmsd_name"], f"another part than {part['vmsd_name']}")
        check(reader.number(4) == part["version"], f"the version of {part['vmsd_name']}")
        _fields(reader, part)


def _ram(reader: _Reader, pages: dict[str, int], *, addresses: bool) -> None:
    while True:
        word = reader.number(8)
        addr, flags = word & ~_FLAGS, word & _FLAGS
        if flags == _EOS:
            return
        if flags & _MEM_SIZE:
            end = addr
            while end > 0:
                pages.setdefault(reader.name(), 0)
                end -= reader.number(8)
                reader.take(8 * addresses)
            check(end == 0, "the blocks are larger than they are together")
            continue
        if not flags & _CONTINUE:
            reader.block = reader.name()  # remembered over sections
        check(reader.block in pages, f"block {reader.block!r} was not announced")
        check(flags & ~_CONTINUE in (_ZERO, _PAGE), f"flags {flags:#x} at {reader.at}")
        reader.take(1 if flags & _ZERO else PAGE_BYTES)
        pages[reader.block] += 1
