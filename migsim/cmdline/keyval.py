"""``a.b=c,d.0=e`` as nested mappings and lists: the newer of QEMU's two option languages.

Used by ``-machine``, ``-smp``, ``-boot``, ``-blockdev``, ``-display``, ``-audiodev`` and the
channels of ``-incoming`` (checked on QEMU 10.0.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..errors import ConfigError
from .pairs import elements

Tree: TypeAlias = "str | dict[str, Tree] | list[Tree]"
"""A value: text, or members by name, or elements in order."""

FRAGMENT_LIMIT: Final = 127
"""Characters in one part of a key."""
DEPTH_LIMIT: Final = 64
"""Parts in one key; a limit of migsim's own, far above what any option needs."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_HELP = ("help", "?")


@dataclass(frozen=True, slots=True)
class KeyVal:
    """A parsed argument.

    Attributes:
        members: the values by name.
        help: whether help was asked for, by ``help`` or ``?`` as a bare word.
    """

    members: dict[str, Tree]
    help: bool = False


def parse_keyval(text: str, implied: str | None = None) -> KeyVal:
    """Return the members of ``text``; a bare first word is the value of key ``implied``.

    The last of several equal keys wins.

    Raises:
        ConfigError: a bare word, a malformed key, or keys that contradict each other
            (``a=1,a.b=2``, or ``a.0`` without ``a.1`` before ``a.2``).
    """
    root: dict[str, Tree] = {}
    asked = False
    for element in elements(text):
        if element.key is not None:
            _put(root, element.key, element.value)
        elif element.value in _HELP:
            asked = True
        elif element.first and implied is not None and element.value:
            _put(root, implied, element.value)
        else:
            _fragments(element.value)
            raise ConfigError(f"option {element.value}", "a key needs '=' and a value")
    return KeyVal(_finished(root), asked)


def nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Tree]:
    """Return flat pairs with dotted names as members inside members.

    Raises:
        ConfigError: as `parse_keyval`.
    """
    root: dict[str, Tree] = {}
    for key, value in pairs:
        _put(root, key, value)
    return _finished(root)


def merge(old: Mapping[str, Tree], new: Mapping[str, Tree], path: str = "") -> dict[str, Tree]:
    """Return ``old`` with ``new`` laid over it, mappings member by member.

    Raises:
        ConfigError: a name is plain text in one and has members in the other.
    """
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = merge(before, value, f"{path}{name}.")
        elif before is not None and type(before) is not type(value):
            raise ConfigError(f"option {path}{name}", "is given with members and without")
        else:
            merged[name] = value
    return merged


def _put(root: dict[str, Tree], key: str, value: str) -> None:
    *path, last = _fragments(key)
    node = root
    for fragment in path:
        inner = node.setdefault(fragment, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"option {key}", f"{fragment} is given with members and without")
        node = inner
    if isinstance(node.get(last), dict):
        raise ConfigError(f"option {key}", f"{last} is given with members and without")
    node[last] = value


def _finished(root: Mapping[str, Tree]) -> dict[str, Tree]:
    return {name: _listed(name, value) for name, value in root.items()}


def _fragments(key: str) -> list[str]:
    fragments = key.split(".", DEPTH_LIMIT)
    if len(fragments) > DEPTH_LIMIT:
        raise ConfigError("option", f"a key has more than {DEPTH_LIMIT} parts")
    for position, fragment in enumerate(fragments):
        if len(fragment) > FRAGMENT_LIMIT:
            raise ConfigError("option", f"a part of a key has over {FRAGMENT_LIMIT} characters")
        if not (_NAME.fullmatch(fragment) or (position and _INDEX.fullmatch(fragment))):
            raise ConfigError(f"option {key[:FRAGMENT_LIMIT]!r}", "is not a name")
    return fragments


def _listed(path: str, value: Tree) -> Tree:
    """Return ``value`` with every mapping whose names are all numbers made a list."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(f"{path}.{name}", v) for name, v in value.items()}
    numbers = [name for name in inner if _INDEX.fullmatch(name)]
    if not numbers:
        return dict(inner)
    if len(numbers) < len(inner):
        raise ConfigError(f"option {path}", "is given as a list and with named members")
    for index in range(len(inner)):
        if str(index) not in inner:
            raise ConfigError(f"option {path}.{index}", "is missing from the list")
    return [inner[str(index)] for index in range(len(inner))]
