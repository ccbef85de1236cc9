"""The disk images of a command line that block migration, backing files included."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from .applied import AppliedFeature
from .block_nodes import DEPTH_LIMIT, from_filename
from .parts import BlockNode
from .probe import RAW, ProbedImage, probe_file

if TYPE_CHECKING:
    from .model import CommandLine

Look = Callable[[str], ProbedImage | None]
"""Looks at the image at a path; None when it cannot be looked at here."""

_FILES: Final = ("file", "host_device", "host_cdrom")
_BLOCKING_FORMATS: Final = ("vmdk", "vdi", "vpc", "vhdx", "qcow", "parallels")


def image_features(line: CommandLine, look: Look) -> Iterator[AppliedFeature]:
    """Yield the features of all images in the order in which QEMU opens them.

    Raises:
        ConfigError: an image cannot be opened, or is not of the format that its option says.
    """
    named: dict[str, BlockNode] = {}
    for node in line.blockdevs:
        yield from _Opener(node, "-blockdev", node.name or "", look, named).open()
    for drive in line.drives:
        if drive.node is not None:
            yield from _Opener(drive.node, drive.option, drive.id, look, named).open()


class _Opener:
    """Opens one tree of block nodes as QEMU does: what is below first, then the backing chain."""

    def __init__(
        self, node: BlockNode, option: str, owner: str, look: Look, named: dict[str, BlockNode]
    ) -> None:
        self._root = node
        self._option = option
        self._owner = owner
        self._look = look
        self._named = named
        self._seen: dict[str, ProbedImage | None] = {}

    def open(self) -> Iterator[AppliedFeature]:
        """Yield the features of the tree in the order of opening."""
        yield from self._node(self._root)

    def _image(self, path: str | None) -> ProbedImage | None:
        """Return what is at ``path``, looking once."""
        if path is None:
            return None
        if path not in self._seen:
            self._seen[path] = self._look(path)
        return self._seen[path]

    def _feature(self, feature: str, node: BlockNode) -> AppliedFeature:
        return AppliedFeature(feature, node.name or self._owner, self._option, self._owner)

    def _node(self, node: BlockNode) -> Iterator[AppliedFeature]:
        for role, child in node.children.items():
            if isinstance(child, BlockNode) and role != "backing":
                yield from self._node(child)
        if node.driver in _FILES:
            self._image(node.filename)  # it has to be there
        else:
            path = self._image_path(node)
            image = self._image(path)
            driver = self._checked(node.driver, image, path)
            yield from self._opened(node, driver, image, path)
        if node.name is not None:
            self._named[node.name] = node

    def _checked(self, driver: str | None, image: ProbedImage | None, path: str | None) -> str:
        if driver is None:
            return RAW if image is None else image.driver
        if image is not None and not image.opens_as(driver):
            raise ConfigError(f"image {path}", f"is not of format {driver}, but {image.driver}")
        return driver

    def _opened(
        self, node: BlockNode, driver: str, image: ProbedImage | None, path: str | None
    ) -> Iterator[AppliedFeature]:
        if driver in _BLOCKING_FORMATS:
            yield self._feature(driver, node)
        if driver == "vvfat":
            self._check_directory(node)
            if not node.read_only:
                yield self._feature("qcow", node)  # the hidden overlay comes first
                yield self._feature("vvfat", node)
        below = node.children.get("backing")
        if isinstance(below, BlockNode):
            yield from self._node(below)
        elif below is None and image is not None and path is not None and driver != RAW:
            yield from self._backing_chain(image, path)

    def _check_directory(self, node: BlockNode) -> None:
        known_missing = self._look is probe_file and not os.path.isdir(node.filename or "")
        if known_missing:
            raise ConfigError(f"image fat:{node.filename}", "is not a directory")

    def _backing_chain(self, image: ProbedImage, path: str) -> Iterator[AppliedFeature]:
        for _ in range(DEPTH_LIMIT):
            if image.backing is None:
                return
            node = from_filename(image.backing)
            if node.driver != "file" or node.filename is None:
                yield from self._node(node)
                return
            path = os.path.join(os.path.dirname(path), node.filename)
            below = self._image(path)
            driver = self._checked(image.backing_driver, below, path)
            if driver in _BLOCKING_FORMATS:
                yield AppliedFeature(driver, self._owner, self._option, self._owner)
            if below is None:
                return
            image = below
        raise ConfigError(f"image {path}", f"more than {DEPTH_LIMIT} images below each other")

    def _image_path(self, node: BlockNode) -> str | None:
        """Return the file below a format, or None for something that is no file."""
        child = node.children.get("file")
        if isinstance(child, str):
            child = self._named.get(child)
        if child is None or child.driver not in _FILES:
            return None
        return child.filename


def try_probe(path: str) -> ProbedImage | None:
    """Return what the image at ``path`` is, or None when it cannot be read here."""
    try:
        return probe_file(path)
    except ConfigError:
        return None
