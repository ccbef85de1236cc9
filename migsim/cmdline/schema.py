"""Checks of structured options (``-object``, ``-blockdev``, channels ...) by QMP's own schema.

A value comes as JSON, typed, or as text from ``key=value`` pairs, which is read as the schema
wants it.  The types are those of ``data/qapi.json`` (QEMU 10.0.2): objects with members, optional
ones marked by ``?``, and cases chosen by a tag; enums; lists; alternates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from ..errors import ParameterError
from .facts import load
from .text import parse_bytes, parse_integer, parse_switch, shorten

Value: TypeAlias = "str | int | float | bool | dict[str, Value] | list[Value] | None"
"""A checked value: numbers and switches have their Python types."""

_INT_RANGE: Final = range(-(1 << 63), 1 << 64)
_FROM_TEXT: Final[Mapping[str, Callable[[str, str], Value]]] = {
    "boolean": parse_switch,
    "int": parse_integer,
    "size": parse_bytes,
    "string": lambda name, text: text,
}
_JSON_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "boolean": (bool, "true or false"),
    "int": (int, "a whole number"),
    "size": (int, "a whole number of bytes"),
    "string": (str, "text"),
}


def check(kind: str, value: object, *, textual: bool = False, path: str = "") -> Value:
    """Return ``value`` checked against type ``kind``; with ``textual``, leaves come as text.

    Raises:
        ParameterError: a member is missing, unknown, or not of its type; named by its path.
    """
    if kind in _JSON_TYPES:
        return _leaf(kind, value, textual, path)
    if kind == "null" and value is None:
        return None
    row = load("qapi.json")["types"][kind]
    if "enum" in row:
        return _choice(row["enum"].split(), value, path)
    if "list" in row:
        return _list(row["list"], value, textual, path)
    if "any" in row:
        return _alternate(row["any"], value, textual, path)
    return _object(kind, value, textual, path)


def check_object(kind: str, value: object, *, textual: bool = False) -> dict[str, Value]:
    """Return the members of ``value`` checked against the object type ``kind``; see `check`."""
    checked = check(kind, value, textual=textual)
    if not isinstance(checked, dict):
        raise ParameterError(kind, value, "an object")
    return checked


def member_names(kind: str, tag_value: str | None = None) -> frozenset[str]:
    """Return the names of all members of ``kind``, in every case or in that of ``tag_value``."""
    return frozenset(name for name, _ in _all_members(kind, tag_value))


def _all_members(kind: str, tag_value: str | None) -> Iterator[tuple[str, str]]:
    row = load("qapi.json")["types"][kind]
    for name, type_name in row["members"].items():
        yield name.removesuffix("?"), type_name
    for case, inner in row.get("cases", {}).items():
        if tag_value in (None, case):
            yield from _all_members(inner, None)


def cases(kind: str) -> tuple[str, ...]:
    """Return the values that the tag of ``kind`` takes."""
    row = load("qapi.json")["types"][kind]
    tag_type = row["members"][row["tag"]]
    return tuple(load("qapi.json")["types"][tag_type]["enum"].split())


def _leaf(kind: str, value: object, textual: bool, path: str) -> Value:
    expected_type, words = _JSON_TYPES[kind]
    if textual:
        if not isinstance(value, str):
            raise ParameterError(path, _shown(value), words)
        return _FROM_TEXT[kind](path, value)
    if isinstance(value, bool) is not (expected_type is bool):
        raise ParameterError(path, _shown(value), words)
    if not isinstance(value, expected_type):
        raise ParameterError(path, _shown(value), words)
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT_RANGE:
        raise ParameterError(path, "a huge number", "a whole number of 64 bits")
    assert isinstance(value, bool | int | str)
    return value


def _choice(values: list[str], value: object, path: str) -> str:
    if not isinstance(value, str) or value not in values:
        raise ParameterError(path, _shown(value), f"one of {', '.join(values)}")
    return value


def _list(inner: str, value: object, textual: bool, path: str) -> Value:
    if not isinstance(value, list):
        raise ParameterError(path, _shown(value), "a list")
    return [check(inner, item, textual=textual, path=f"{path}.{i}") for i, item in enumerate(value)]


def _alternate(kinds: list[str], value: object, textual: bool, path: str) -> Value:
    """Return ``value`` as the alternative that its own type picks."""
    for kind in kinds:
        if _picks(kind, value, textual):
            return check(kind, value, textual=textual, path=path)
    raise ParameterError(path, _shown(value), f"one of {len(kinds)} forms")


def _picks(kind: str, value: object, textual: bool) -> bool:
    if kind == "null":
        return value is None
    if kind in _JSON_TYPES:
        # Text may stand for a number or switch; text itself comes last among alternatives.
        if textual and isinstance(value, str):
            return _reads(kind, value)
        wanted = _JSON_TYPES[kind][0]
        return isinstance(value, wanted) and isinstance(value, bool) is (wanted is bool)
    row = load("qapi.json")["types"][kind]
    if "enum" in row:
        return isinstance(value, str) and value in row["enum"].split()
    return isinstance(value, list if "list" in row else dict)


def _reads(kind: str, text: str) -> bool:
    try:
        _FROM_TEXT[kind]("", text)
    except ParameterError:
        return False
    return True


def _object(kind: str, value: object, textual: bool, path: str) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise ParameterError(path or kind, _shown(value), "an object")
    prefix = f"{path}." if path else ""
    members = _members_for(kind, value, prefix)
    checked: dict[str, Value] = {}
    for name, item in value.items():
        if name not in members:
            raise ParameterError(prefix + shorten(str(name)), _shown(item), "no such member")
        checked[name] = check(members[name], item, textual=textual, path=prefix + name)
    return checked


def _members_for(kind: str, value: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Return the types of the members that ``value`` may have, following its tags.

    Raises:
        ParameterError: a member that must be there is not, or a tag has no such value.
    """
    row = load("qapi.json")["types"][kind]
    members = {}
    for marked, type_name in row["members"].items():
        name = marked.removesuffix("?")
        if name == marked and name not in value:
            raise ParameterError(prefix + name, None, "a value; it is missing")
        members[name] = type_name
    tag = row.get("tag")
    if tag is not None and tag in value:
        choice = check(members[tag], value[tag], path=prefix + tag)
        inner = row["cases"].get(choice)
        if inner is not None:
            members |= _members_for(inner, value, prefix)
    return members


def _shown(value: object) -> object:
    """Return ``value`` if it is short, else what kind of thing it is."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    return value if not isinstance(value, int) or value in _INT_RANGE else "a huge number"
