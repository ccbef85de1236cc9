"""Whether a value that came as JSON is of a type of the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from .errors import QmpError
from .vocabulary import Alternate, Builtin, EnumType, ListType, ObjectType

if TYPE_CHECKING:
    from .vocabulary import Type, Vocabulary

_INTEGERS: Final = range(-(1 << 63), 1 << 64)
_WORDS: Final = {
    "str": "a string",
    "int": "a whole number of 64 bits",
    "bool": "true or false",
    "number": "a number",
    "null": "null",
}
_PATH_LIMIT: Final = 200
_Todo: TypeAlias = "Iterator[tuple[str, object, str]]"


def check(vocabulary: Vocabulary, kind: str, value: object, path: str, *, more: bool) -> None:
    """Do nothing if ``value`` is of the type called ``kind``; ``more`` allows unknown members.

    Values may be nested as deeply as they like: nothing here calls itself.

    Raises:
        QmpError: something in it is missing, unknown or of another type; named by its path.
    """
    todo: list[tuple[str, object, str]] = [(kind, value, path)]
    top = more
    while todo:
        kind, value, path = todo.pop()
        if len(path) > _PATH_LIMIT:
            path = f"...{path[-_PATH_LIMIT // 2 :]}"
        todo.extend(_parts(vocabulary, vocabulary.type(kind), value, path, top))
        top = False


def _parts(vocabulary: Vocabulary, kind: Type, value: object, path: str, more: bool) -> _Todo:
    """Check one value; return what is inside of it with the types that are wanted there."""
    match kind:
        case Builtin(name):
            if not _is(name, value):
                raise _wrong(path, f"has to be {_WORDS[name]}")
        case EnumType(values):
            if value not in values or not isinstance(value, str):
                raise _wrong(path, f"has to be one of {', '.join(values[:40])}")
        case ListType(element):
            if not isinstance(value, list):
                raise _wrong(path, "has to be a list")
            return ((element, item, f"{path}[{i}]") for i, item in enumerate(value))
        case Alternate(kinds):
            for name in kinds:
                if _fits(vocabulary.type(name), value):
                    return iter([(name, value, path)])
            raise _wrong(path, "has a wrong type")
        case ObjectType():
            return _members(vocabulary, kind, value, path, more)
    return iter(())


def _members(
    vocabulary: Vocabulary, kind: ObjectType, value: object, path: str, more: bool
) -> _Todo:
    if not isinstance(value, dict):
        raise _wrong(path, "has to be an object")
    inside: list[tuple[str, object, str]] = []
    known = set()
    current: ObjectType | None = kind
    while current is not None:
        for name, member in current.members.items():
            known.add(name)
            if name in value:
                inside.append((member.type, value[name], f"{path}.{name}"))
            elif not member.optional:
                raise _wrong(f"{path}.{name}", "is missing")
        current = _case(vocabulary, current, value, path)
    if not more:
        for name in value:
            if name not in known:
                raise _wrong(f"{path}.{str(name)[:60]}", "is not expected here")
    return iter(inside)


def _case(
    vocabulary: Vocabulary, kind: ObjectType, value: dict[str, object], path: str
) -> ObjectType | None:
    """Return the object of further members that the tag of ``kind`` chooses, or None."""
    if kind.tag is None:
        return None
    chosen = value.get(kind.tag)
    tag = vocabulary.type(kind.members[kind.tag].type)
    assert isinstance(tag, EnumType)
    if chosen is None and kind.tag not in value:
        return None
    if chosen not in tag.values or not isinstance(chosen, str):
        raise _wrong(f"{path}.{kind.tag}", f"has to be one of {', '.join(tag.values[:40])}")
    name = kind.cases.get(chosen)
    if name is None:
        return None
    found = vocabulary.type(name)
    assert isinstance(found, ObjectType)
    return found


def _is(name: str, value: object) -> bool:
    match name:
        case "str":
            return isinstance(value, str)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case "null":
            return value is None
    return True  # any


def _fits(kind: Type, value: object) -> bool:
    """Whether the JSON type of ``value`` chooses ``kind`` among others."""
    match kind:
        case Builtin(name):
            return _is(name, value)
        case EnumType():
            return isinstance(value, str)
        case ListType():
            return isinstance(value, list)
    return isinstance(value, dict)


def _wrong(path: str, text: str) -> QmpError:
    return QmpError(f"{path.replace('.', ': ', 1)} {text}")
