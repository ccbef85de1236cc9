"""The description at the end of a stream, checked and typed; its JSON is not trusted.

Layout: spec stream.md section 6, QEMU 10.0.  Whatever the JSON holds, the result is either a
``VMDescription`` of the right types and bounded depth, or a ``StreamError``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from migsim.errors import StreamError

from .fields import NAME_LIMIT

VMDESC_LIMIT_BYTES = 10 << 20
"""Longest description that is read: the bound of common tools (spec stream.md section 13)."""
DEPTH_LIMIT = 32
"""Deepest nesting of structures and subsections; real descriptions reach 6."""
_SECTION = "vmdesc"


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One field of a structure: what bytes it takes, and for a ``struct`` what is in them."""

    name: str
    type: str
    size: int
    """Bytes of one element."""
    array_len: int | None = None
    """Number of equal elements, None when the entry stands for one."""
    index: int | None = None
    """Place in an array whose elements have an entry each.

    QEMU 10.0 leaves it out of the last element's entry; it is filled in here.
    """
    struct: StructEntry | None = None


@dataclass(frozen=True, slots=True)
class StructEntry:
    """A device's state, a structure in it, or a subsection."""

    vmsd_name: str
    version: int
    fields: tuple[FieldEntry, ...]
    subsections: tuple[StructEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One FULL section."""

    name: str
    instance_id: int
    body: StructEntry


@dataclass(frozen=True, slots=True)
class VMDescription:
    """The whole description; ``devices`` are the FULL sections in stream order."""

    page_size: int
    configuration: StructEntry | None
    devices: tuple[DeviceEntry, ...]


def parse_vmdesc(text: bytes | memoryview, offset: int = 0) -> VMDescription:
    """Return the description held by the JSON ``text`` that begins at ``offset`` of the source.

    Raises:
        StreamError: no JSON, too long, too deep, or members that are missing or of a wrong type.
    """
    if len(text) > VMDESC_LIMIT_BYTES:
        expected = f"a description of at most {VMDESC_LIMIT_BYTES} bytes"
        raise StreamError(offset, _SECTION, expected, f"{len(text)} bytes")
    try:
        root: object = json.loads(str(text, "ascii"))
    except (ValueError, RecursionError) as error:  # no ASCII, no JSON, huge numbers, deep nesting
        raise StreamError(offset, _SECTION, "JSON in ASCII", str(error)) from None
    return _Parser(offset).description(root)


def parse_device(entry: object, offset: int = 0) -> DeviceEntry:
    """Return one member of ``devices``, given as parsed JSON.

    Raises:
        StreamError: as for ``parse_vmdesc``.
    """
    return _Parser(offset).device(entry, "devices[0]")


class _Parser:
    """Turns parsed JSON into entries; ``where`` names the place for errors."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def description(self, root: object) -> VMDescription:
        members = self._object(root, "the description")
        configuration = members.get("configuration")
        return VMDescription(
            page_size=self._number(members, "page_size", "the description"),
            configuration=None
            if configuration is None
            else self._struct(configuration, "configuration", 0),
            devices=tuple(
                self.device(entry, where)
                for where, entry in self._items(members, "devices", "the description")
            ),
        )

    def device(self, entry: object, where: str) -> DeviceEntry:
        members = self._object(entry, where)
        name = self._text(members, "name", where)
        instance_id = self._number(members, "instance_id", where, (1 << 32) - 1)
        # An old-style section has no description behind its fields, hence no name or version.
        known = members if "vmsd_name" in members else {**members, "vmsd_name": "", "version": 0}
        return DeviceEntry(name, instance_id, self._struct(known, where, 0))

    def _struct(self, entry: object, where: str, depth: int) -> StructEntry:
        if depth > DEPTH_LIMIT:
            raise self._error(where, f"at most {DEPTH_LIMIT} levels", "more")
        members = self._object(entry, where)
        fields: list[FieldEntry] = []
        for place, field in self._items(members, "fields", where):
            fields.append(_with_index(self._field(field, place, depth), fields[-1:]))
        return StructEntry(
            vmsd_name=self._text(members, "vmsd_name", where),
            version=self._number(members, "version", where, (1 << 31) - 1),
            fields=tuple(fields),
            subsections=tuple(
                self._struct(inner, place, depth + 1)
                for place, inner in self._items(members, "subsections", where, optional=True)
            ),
        )

    def _field(self, entry: object, where: str, depth: int) -> FieldEntry:
        members = self._object(entry, where)
        kind = self._text(members, "type", where)
        if (kind == "struct") != ("struct" in members):
            raise self._error(where, "a member struct in fields of type struct only", kind)
        optional = {
            key: self._number(members, key, where) if key in members else None
            for key in ("array_len", "index")
        }
        return FieldEntry(
            name=self._text(members, "name", where),
            type=kind,
            size=self._number(members, "size", where),
            array_len=optional["array_len"],
            index=optional["index"],
            struct=self._struct(members["struct"], where, depth + 1) if kind == "struct" else None,
        )

    def _error(self, where: str, expected: str, found: str) -> StreamError:
        return StreamError(self._offset, _SECTION, f"{where}: {expected}", found)

    def _object(self, value: object, where: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(where, "a JSON object", type(value).__name__)
        return value

    def _text(self, members: dict[str, object], key: str, where: str) -> str:
        value = members.get(key)
        if not isinstance(value, str) or len(value) > NAME_LIMIT or not value.isascii():
            expected = f"{key} as ASCII text of at most {NAME_LIMIT} characters"
            raise self._error(where, expected, repr(value)[:80])
        return value

    def _number(
        self, members: dict[str, object], key: str, where: str, limit: int = (1 << 63) - 1
    ) -> int:
        value = members.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
            raise self._error(where, f"{key} as a number from 0 to {limit}", repr(value)[:80])
        return value

    def _items(
        self, members: dict[str, object], key: str, where: str, optional: bool = False
    ) -> Iterator[tuple[str, object]]:
        value = members.get(key, [] if optional else None)
        if not isinstance(value, list):
            raise self._error(where, f"{key} as a list", type(value).__name__)
        for index, item in enumerate(value):
            yield f"{key}[{index}]", item


def _with_index(entry: FieldEntry, before: list[FieldEntry]) -> FieldEntry:
    """Return ``entry``, with its place if it is the last element of the array just before it."""
    for previous in before:
        same = (previous.name, previous.array_len) == (entry.name, entry.array_len)
        if entry.index is None and previous.index is not None and same:
            return replace(entry, index=previous.index + 1)
    return entry
