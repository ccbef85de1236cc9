"""The types of QMP: commands, events and all that is in them, as one release has them.

Names and types come from ``data/qmp.json`` (QEMU 10.0.2, taken by ``tools/qmp_facts.py``).  The
types of migration itself come from the tables of `migsim.qapi`, which know the releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..qapi.capabilities import CAPABILITIES
from ..qapi.enums import MultiFDCompression, ZeroPageDetection, modes_of, statuses_of
from ..qapi.parameters import parameters_of
from ..qapi.release import Release
from ..qapi.values import Boolean, Choice, TextList, Unsigned

_DATA = Path(__file__).with_name("data") / "qmp.json"
BUILTINS: Final[Mapping[str, str]] = {
    "str": "string",
    "int": "int",
    "bool": "boolean",
    "number": "number",
    "null": "null",
    "any": "value",
}
"""Types that have no parts, and what JSON calls them."""
EMPTY: Final = "Empty"
"""The object without members: what most commands take or return."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A type without parts."""

    name: str


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one type, named by ``element``."""

    element: str


@dataclass(frozen=True, slots=True)
class EnumType:
    """A closed set of words; ``marked`` has features (``deprecated`` ...) by word."""

    values: tuple[str, ...]
    marked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alternate:
    """A value of one of several types, told apart by its JSON type."""

    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: its type's name, and whether it may be left out."""

    type: str
    optional: bool


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object; with ``tag``, the value of that member adds the members of a case."""

    members: Mapping[str, Member]
    tag: str | None = None
    cases: Mapping[str, str] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    features: str = ""


Type: TypeAlias = Builtin | ListType | EnumType | Alternate | ObjectType


@dataclass(frozen=True, slots=True)
class Signature:
    """What a command takes and returns, by names of types.

    Attributes:
        takes, returns: names of types.
        oob: whether it may be given out of band.
        features: ``deprecated``, ``unstable`` ..., separated by spaces.
    """

    takes: str = EMPTY
    returns: str = EMPTY
    oob: bool = False
    features: str = ""


class Vocabulary:
    """Every command, event and type that one release knows."""

    def __init__(self, release: Release) -> None:
        facts = _facts()
        self.release = release
        self.commands: Mapping[str, Signature] = {
            name: Signature(**row) for name, row in facts["commands"].items()
        }
        self.events: Mapping[str, str] = facts["events"]
        self._rows: Mapping[str, Any] = facts["types"]
        self._types: dict[str, Type] = dict(_migration_types(release))

    def type(self, name: str) -> Type:
        """Return the type called ``name``; ``[name]`` is the list of them."""
        found = self._types.get(name)
        if found is None:
            found = self._types[name] = self._make(name)
        return found

    def _make(self, name: str) -> Type:
        if name.startswith("["):
            return ListType(name[1:-1])
        if name in BUILTINS:
            return Builtin(name)
        row = self._rows[name]
        marked = row.get("marked", {})
        if "enum" in row:
            return EnumType(tuple(row["enum"].split()), marked)
        if "any" in row:
            return Alternate(tuple(row["any"]))
        members = {
            marked_name.removesuffix("?"): Member(kind, marked_name.endswith("?"))
            for marked_name, kind in row["members"].items()
        }
        tag, cases = row.get("tag"), row.get("cases", {})
        return ObjectType(members, tag, cases, marked, row.get("features", ""))


@cache
def vocabulary(release: Release = Release.DEFAULT) -> Vocabulary:
    """Return the vocabulary of ``release``."""
    return Vocabulary(release)


def command_line_options() -> Mapping[str, str]:
    """Return the options of the command line with their keys, as ``key:type`` words."""
    options: Mapping[str, str] = _facts()["options"]
    return options


@cache
def _facts() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_DATA.read_text("ascii"))
    return content


def _migration_types(release: Release) -> Iterator[tuple[str, Type]]:
    """Return the types that the tables of migration describe."""
    yield EMPTY, ObjectType({})
    yield "MigMode", EnumType(tuple(mode.value for mode in modes_of(release)))
    yield "MigrationStatus", EnumType(tuple(one.value for one in statuses_of(release)))
    for kind in (MultiFDCompression, ZeroPageDetection):
        yield kind.__name__, EnumType(tuple(one.value for one in kind))
    rows = [row for row in CAPABILITIES if row.exists_in(release)]
    marked = {row.name: "unstable" for row in rows if row.unstable}
    marked |= {row.name: "deprecated" for row in rows if row.warns_in(release)}
    yield "MigrationCapability", EnumType(tuple(row.name for row in rows), marked)
    for name, tls in (("MigrateSetParameters", _TLS), ("MigrationParameters", "str")):
        yield name, _parameter_object(release, tls)


_TLS = "MigrateSetParameters.tls-creds"
_MAPPING = "[MigrateSetParameters.block-bitmap-mapping[]]"


def _parameter_object(release: Release, tls: str) -> ObjectType:
    rows = parameters_of(release)
    members = {}
    for row in rows:
        match row.type:
            case Boolean():
                kind = "bool"
            case Unsigned():
                kind = "int"
            case Choice():
                kind = row.type.enum.__name__
            case TextList():
                kind = "[str]"
            case _:
                kind = tls if row.name.startswith("tls-") else _MAPPING
        members[row.name] = Member(kind, optional=True)
    return ObjectType(members, marked={row.name: "unstable" for row in rows if row.unstable})
