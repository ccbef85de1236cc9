"""``query-qmp-schema``: the vocabulary in the form in which QEMU describes its own.

Types other than the builtin ones are masked by numbers; a list is called by its element in
brackets (spec monitor.md section 2, QEMU 10.0).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from .vocabulary import (
    BUILTINS,
    EMPTY,
    Alternate,
    Builtin,
    EnumType,
    ListType,
    ObjectType,
    Vocabulary,
    vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..qapi.release import Release

Entity = dict[str, object]


@lru_cache(maxsize=8)
def describe(release: Release, commands: frozenset[str]) -> list[Entity]:
    """Return the entities of ``commands``, of all events, and of all types in them."""
    return _Describer(vocabulary(release)).describe(commands)


class _Describer:
    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        self._numbers = {EMPTY: "0"}
        self._count = 0
        self._todo = deque([EMPTY])

    def describe(self, commands: Collection[str]) -> list[Entity]:
        entities = [self._command(name) for name in self._words.commands if name in commands]
        for name, kind in self._words.events.items():
            entities.append({"name": name, "meta-type": "event", "arg-type": self._mask(kind)})
        while self._todo:
            entities.append(self._type(self._todo.popleft()))
        return entities

    def _command(self, name: str) -> Entity:
        row = self._words.commands[name]
        entity: Entity = {
            "name": name,
            "meta-type": "command",
            "arg-type": self._mask(row.takes),
            "ret-type": self._mask(row.returns),
        }
        if row.oob:
            entity["allow-oob"] = True
        return _with_features(entity, row.features)

    def _mask(self, kind: str) -> str:
        """Return the name under which a type is shown; it will be described."""
        if kind not in self._numbers:
            if kind.startswith("["):
                shown = f"[{self._mask(kind[1:-1])}]"
            elif kind in BUILTINS:
                shown = kind
            else:
                self._count += 1
                shown = str(self._count)
            self._numbers[kind] = shown
            self._todo.append(kind)
        return self._numbers[kind]

    def _type(self, kind: str) -> Entity:
        row = self._words.type(kind)
        name = self._numbers[kind]
        match row:
            case Builtin():
                return {"name": name, "meta-type": "builtin", "json-type": BUILTINS[kind]}
            case ListType(element):
                return {
                    "name": name,
                    "meta-type": "array",
                    "element-type": self._mask(element),
                }
            case EnumType(values, marked):
                return {
                    "name": name,
                    "meta-type": "enum",
                    "members": [_marked({"name": one}, one, marked) for one in values],
                    "values": list(values),
                }
            case Alternate(kinds):
                members = [{"type": self._mask(one)} for one in kinds]
                return {"name": name, "meta-type": "alternate", "members": members}
            case ObjectType():
                return self._object(name, row)

    def _object(self, name: str, row: ObjectType) -> Entity:
        entity: Entity = {"name": name, "meta-type": "object", "members": self._members(row)}
        if row.tag is not None:
            tag = self._words.type(row.members[row.tag].type)
            assert isinstance(tag, EnumType)
            entity["tag"] = row.tag
            entity["variants"] = [
                {"case": one, "type": self._mask(row.cases.get(one, EMPTY))} for one in tag.values
            ]
        return _with_features(entity, row.features)

    def _members(self, row: ObjectType) -> list[Entity]:
        members = []
        for name, member in row.members.items():
            entity: Entity = {"name": name, "type": self._mask(member.type)}
            if member.optional:
                entity["default"] = None
            members.append(_marked(entity, name, row.marked))
        return members


def _marked(entity: Entity, name: str, marked: Mapping[str, str]) -> Entity:
    return _with_features(entity, marked.get(name, ""))


def _with_features(entity: Entity, features: str) -> Entity:
    if features:
        entity["features"] = features.split()
    return entity
