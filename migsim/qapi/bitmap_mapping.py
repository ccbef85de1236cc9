"""Value of ``block-bitmap-mapping``: what the target calls nodes and dirty bitmaps.

Source: spec parameters.md section 3; every limit tried on QEMU 10.0.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ParameterError

NAME = "block-bitmap-mapping"
ALIAS_LIMIT_BYTES = 255
BITMAP_NAME_LIMIT_BYTES = 1023
_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class BitmapAlias:
    """One bitmap: its name here, its alias in the stream, and what becomes of it.

    ``transform`` tells whether the description had that member, ``persistent`` what it said
    about persistence on the target (None: as on the source).
    """

    name: str
    alias: str
    transform: bool = False
    persistent: bool | None = None

    def to_json(self) -> dict[str, object]:
        """Return the bitmap as QMP writes it."""
        json: dict[str, object] = {"name": self.name, "alias": self.alias}
        if self.transform:
            json["transform"] = {} if self.persistent is None else {"persistent": self.persistent}
        return json


@dataclass(frozen=True, slots=True)
class NodeAlias:
    """One block node: its name here, its alias in the stream, and the bitmaps that migrate."""

    node_name: str
    alias: str
    bitmaps: tuple[BitmapAlias, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the node as QMP writes it."""
        bitmaps = [bitmap.to_json() for bitmap in self.bitmaps]
        return {"node-name": self.node_name, "alias": self.alias, "bitmaps": bitmaps}


BitmapMapping = tuple[NodeAlias, ...]
"""All nodes with an alias.  The empty mapping migrates nothing; no mapping is the identity."""


def from_json(value: object) -> BitmapMapping:
    """Return the mapping that a QMP value describes; types only, see ``why_invalid``.

    Raises:
        ParameterError: a member is missing, unknown or of the wrong type.
    """
    return tuple(_node(f"{NAME}[{i}]", item) for i, item in enumerate(_list(NAME, value)))


def why_invalid(mapping: BitmapMapping) -> str | None:
    """Return what is wrong with a mapping of the right type, or None if it is fine."""
    names: set[str] = set()
    aliases: set[str] = set()
    for node in mapping:
        problem = _why_invalid_node(node, names, aliases)
        if problem is not None:
            return problem
        names.add(node.node_name)
        aliases.add(node.alias)
    return None


def _why_invalid_node(node: NodeAlias, names: set[str], aliases: set[str]) -> str | None:
    if _WELL_FORMED.fullmatch(node.alias) is None:
        return f"node alias {node.alias!r} is no id (a letter, then letters, digits, '-', '.', '_')"
    if _bytes(node.alias) > ALIAS_LIMIT_BYTES:
        return f"node alias of more than {ALIAS_LIMIT_BYTES} bytes"
    if node.node_name in names:
        return f"node {node.node_name!r} appears twice"
    if node.alias in aliases:
        return f"node alias {node.alias!r} appears twice"
    return _why_invalid_bitmaps(node)


def _why_invalid_bitmaps(node: NodeAlias) -> str | None:
    for bitmap in node.bitmaps:
        if _bytes(bitmap.name) > BITMAP_NAME_LIMIT_BYTES:
            return f"bitmap name of more than {BITMAP_NAME_LIMIT_BYTES} bytes"
        if _bytes(bitmap.alias) > ALIAS_LIMIT_BYTES:
            return f"bitmap alias of more than {ALIAS_LIMIT_BYTES} bytes"
    for what, values in (
        ("bitmap", [bitmap.name for bitmap in node.bitmaps]),
        ("bitmap alias", [bitmap.alias for bitmap in node.bitmaps]),
    ):
        if len(set(values)) < len(values):
            return f"a {what} of node {node.node_name!r} appears twice"
    return None


def _bytes(text: str) -> int:
    return len(text.encode())


def _node(where: str, value: object) -> NodeAlias:
    node = _members(where, value, ("node-name", "alias", "bitmaps"))
    items = enumerate(_list(f"{where}.bitmaps", node["bitmaps"]))
    return NodeAlias(
        _text(f"{where}.node-name", node["node-name"]),
        _text(f"{where}.alias", node["alias"]),
        tuple(_bitmap(f"{where}.bitmaps[{i}]", item) for i, item in items),
    )


def _bitmap(where: str, value: object) -> BitmapAlias:
    bitmap = _members(where, value, ("name", "alias"), ("transform",))
    name = _text(f"{where}.name", bitmap["name"])
    alias = _text(f"{where}.alias", bitmap["alias"])
    if "transform" not in bitmap:
        return BitmapAlias(name, alias)
    where = f"{where}.transform"
    persistent = _members(where, bitmap["transform"], (), ("persistent",)).get("persistent")
    if persistent is not None and not isinstance(persistent, bool):
        raise ParameterError(f"{where}.persistent", persistent, "true or false")
    return BitmapAlias(name, alias, True, persistent)


def _members(
    where: str, value: object, required: Iterable[str], optional: Iterable[str] = ()
) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ParameterError(where, value, "an object")
    for name in required:
        if name not in value:
            raise ParameterError(f"{where}.{name}", None, "a value, it is mandatory")
    known = {*required, *optional}
    for name in value:
        if name not in known:
            raise ParameterError(f"{where}.{name}", value[name], "no such member")
    return value


def _list(where: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise ParameterError(where, value, "a list")
    return value


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise ParameterError(where, value, "text")
    return value
