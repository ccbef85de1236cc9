"""Trees of block nodes: from file names with their prefixes, and from nested options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from ..errors import ConfigError
from .jsonform import parse_object
from .parts import BlockNode
from .schema import cases
from .text import shorten, words

KIND: Final = "blockdev"
CHILD_ROLES: Final = ("file", "backing", "data-file", "image", "raw", "log", "test", "target")
"""Members of a node that name another node when they are text."""
PROTOCOLS: Final = frozenset(
    words(
        "blkdebug blklogwrites blkverify"
        " file ftp ftps gluster host_cdrom host_device http https iscsi"
        " iser nbd nfs null-aio null-co nvme quorum rbd replication ssh vvfat"
    )
)
"""Drivers that need no node below them."""
NAME_LIMIT: Final = 31
DEPTH_LIMIT: Final = 32
"""Nodes below each other; a limit of migsim's own."""

_PREFIX = re.compile(r"([^/:]*):")
_PREFIXES: Final[Mapping[str, str]] = {"fat": "vvfat", "gluster+tcp": "gluster", "nbd+unix": "nbd"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def drivers() -> tuple[str, ...]:
    """Return the names of all block drivers of QEMU 10.0."""
    return cases(KIND)


def from_filename(name: str) -> BlockNode:
    """Return the node that a file name stands for, prefixes such as ``fat:`` and ``json:`` heeded.

    Raises:
        ConfigError: an unknown protocol, malformed JSON, or an empty name.
    """
    match = _PREFIX.match(name)
    if match is None:
        return BlockNode("file", name)
    prefix, rest = match[1], name[match.end() :]
    if prefix == "json":
        return from_members(parse_object(rest, "file=json:"))
    driver = _PREFIXES.get(prefix, prefix)
    if driver == "vvfat":
        return _fat(rest)
    if driver not in PROTOCOLS:
        raise ConfigError(f"image {shorten(name)}", f"there is no protocol {prefix[:60]!r}")
    return BlockNode(driver, rest if driver == "file" else name)


def _fat(rest: str) -> BlockNode:
    """Return the node of ``fat:[floppy:][12:|16:|32:][rw:]DIRECTORY``."""
    words, _, directory = f":{rest}".rpartition(":")
    writable = "rw" in words.split(":")
    return BlockNode("vvfat", directory, options={"rw": writable}, read_only=not writable)


def from_members(members: Mapping[str, object], depth: int = 0) -> BlockNode:
    """Return the node that nested options describe: mappings with a driver are nodes below it.

    Raises:
        ConfigError: more than `DEPTH_LIMIT` nodes below each other, or a malformed node name.
    """
    if depth > DEPTH_LIMIT:
        raise ConfigError("block node", f"more than {DEPTH_LIMIT} nodes below each other")
    children: dict[str, BlockNode | str] = {}
    options: dict[str, object] = {}
    for name, value in members.items():
        if isinstance(value, dict) and (name in CHILD_ROLES or "driver" in value):
            children[name] = from_members(value, depth + 1)
        elif isinstance(value, list) and name == "children":
            children |= _listed_children(value, depth)
        elif name in CHILD_ROLES and isinstance(value, str):
            children[name] = value
        elif name not in ("driver", "node-name", "filename", "dir"):
            options[name] = value
    driver, filename = members.get("driver"), members.get("filename", members.get("dir"))
    return BlockNode(
        driver if isinstance(driver, str) else None,
        filename if isinstance(filename, str) else None,
        checked_name(members.get("node-name")),
        children,
        options,
        _is_on(members.get("read-only")) or (driver == "vvfat" and not _is_on(members.get("rw"))),
    )


def _listed_children(values: list[object], depth: int) -> dict[str, BlockNode | str]:
    children: dict[str, BlockNode | str] = {}
    for index, value in enumerate(values):
        if isinstance(value, dict):
            children[f"children.{index}"] = from_members(value, depth + 1)
        elif isinstance(value, str):
            children[f"children.{index}"] = value
    return children


def _is_on(value: object) -> bool:
    return value is True or value in ("on", "yes", "true", "y")


def checked_name(name: object) -> str | None:
    """Return a node name, or None for None; raises ConfigError when it is malformed."""
    if name is None:
        return None
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        rule = f"a node name is an id of at most {NAME_LIMIT} characters"
        raise ConfigError("block node", f"{shorten(str(name))!r}: {rule}")
    return name


def walk(node: BlockNode) -> Iterator[BlockNode]:
    """Yield ``node`` and all nodes below it, those below first."""
    for child in node.children.values():
        if isinstance(child, BlockNode):
            yield from walk(child)
    yield node


def references(node: BlockNode) -> Iterator[str]:
    """Yield the names of other nodes that ``node``, or one below it, is put on top of."""
    for one in walk(node):
        yield from (child for child in one.children.values() if isinstance(child, str) and child)
