"""Formats of disk images by what their first bytes say, and what lies below them.

The signatures are facts of the formats, checked with images that QEMU 10.0.2 made; the order of
the rows is free, because no two can fit at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError
from .text import shorten

HEAD_BYTES: Final = 2048
"""How much of an image is looked at."""
RAW: Final = "raw"
NAME_LIMIT: Final = 1023
"""Bytes in the name of a backing file."""
_FOOTER_BYTES: Final = 512
_FORMAT_EXTENSION: Final = 0xE2792ACA


@dataclass(frozen=True, slots=True)
class Signature:
    """How a format shows.

    Attributes:
        driver: name of the block driver.
        magic: bytes that have to be there.
        offset: where, in bytes.
        fits: a further test of the head of the image, or None.
    """

    driver: str
    magic: bytes
    offset: int = 0
    fits: Callable[[bytes], bool] | None = None

    def matches(self, head: bytes) -> bool:
        """Return whether the head of an image is of this format."""
        if not head.startswith(self.magic, self.offset):
            return False
        return self.fits is None or self.fits(head)


def _big(head: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(head[offset : offset + size], "big")


def _little(head: bytes, offset: int, size: int = 4) -> int:
    return int.from_bytes(head[offset : offset + size], "little")


_QCOW: Final = b"QFI\xfb"
SIGNATURES: Final = (
    Signature("qcow", _QCOW, fits=lambda head: _big(head, 4) == 1),
    Signature("qcow2", _QCOW, fits=lambda head: _big(head, 4) in (2, 3)),
    Signature("qed", b"QED\0"),
    Signature("vmdk", b"KDMV"),
    Signature("vmdk", b"COWD"),
    Signature("vmdk", b"# Disk DescriptorFile"),
    Signature("vdi", bytes.fromhex("7f10dabe"), 0x40),
    Signature("vpc", b"conectix"),
    Signature("vhdx", b"vhdxfile"),
    Signature("parallels", b"WithoutFreeSpace", fits=lambda head: _little(head, 16) == 2),
    Signature("parallels", b"WithouFreSpacExt", fits=lambda head: _little(head, 16) == 2),
    Signature("luks", b"LUKS\xba\xbe", fits=lambda head: _big(head, 6, 2) == 1),
    Signature("bochs", b"Bochs Virtual HD Image"),
    Signature("cloop", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
)
"""Every format that shows in the first bytes of an image."""

PROBED: Final = frozenset(signature.driver for signature in SIGNATURES)
"""Drivers of which an image can be recognised."""


@dataclass(frozen=True, slots=True)
class ProbedImage:
    """What a look at an image found.

    Attributes:
        driver: its format; ``raw`` if it is none that shows.
        backing: name of the image below it, relative to its own folder, or None.
        backing_driver: format of that image, as far as it is recorded.
        fixed_vpc: it ends like a fixed-size VHD, which does not show in its head.
    """

    driver: str
    backing: str | None = None
    backing_driver: str | None = None
    fixed_vpc: bool = False

    def opens_as(self, driver: str) -> bool:
        """Return whether ``driver`` could open the image, as far as the look tells."""
        if driver == "vpc" and self.fixed_vpc:
            return True
        return driver not in PROBED or driver == self.driver


def probe_format(head: bytes) -> str:
    """Return the format of an image that begins with ``head``; ``raw`` if it is none of these."""
    return next((s.driver for s in SIGNATURES if s.matches(head)), RAW)


def probe_file(path: str) -> ProbedImage:
    """Return what the image at ``path`` is.

    Raises:
        ConfigError: it cannot be opened and read, or is neither a file nor a device.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        return _probe(fd, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(fd)


def _probe(fd: int, path: str) -> ProbedImage:
    state = os.fstat(fd)
    device = stat.S_ISCHR(state.st_mode) or stat.S_ISBLK(state.st_mode)
    if not (stat.S_ISREG(state.st_mode) or device):
        raise ConfigError(f"image {shorten(path)}", "is neither a file nor a device")
    if stat.S_ISCHR(state.st_mode):
        return ProbedImage(RAW)
    head = os.pread(fd, HEAD_BYTES, 0)
    driver = probe_format(head)
    name, name_driver = _backing(driver, head, lambda size, at: os.pread(fd, size, at))
    end = max(state.st_size - _FOOTER_BYTES, 0)
    fixed = state.st_size > 0 and os.pread(fd, 8, end) == b"conectix"
    return ProbedImage(driver, name, name_driver, fixed)


def _unreadable(path: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(f"image {shorten(path)}", f"cannot be read: {reason}")


def _backing(
    driver: str, head: bytes, read: Callable[[int, int], bytes]
) -> tuple[str | None, str | None]:
    """Return name and format of the image below one; None for what is not recorded."""
    if driver in ("qcow", "qcow2"):
        offset, size = _big(head, 8, 8), _big(head, 16)
    elif driver == "qed" and _little(head, 16, 8) & 1:
        offset, size = _little(head, 56), _little(head, 60)
    else:
        return None, None
    if not offset or not 0 < size <= NAME_LIMIT or offset >= 1 << 62:
        return None, None
    name = os.fsdecode(read(size, offset))
    if driver == "qed":
        return name, RAW if _little(head, 16, 8) & 4 else None
    return name, _recorded_format(head) if driver == "qcow2" else None


def _recorded_format(head: bytes) -> str | None:
    """Return the format that the header extensions of a qcow2 image record for its backing."""
    position = _big(head, 100) if _big(head, 4) >= 3 else 72
    while position + 8 <= len(head):
        kind, size = _big(head, position), _big(head, position + 4)
        if kind == 0:
            return None
        if kind == _FORMAT_EXTENSION:
            return head[position + 8 : position + 8 + size].decode("ascii", "replace")
        position += 8 + (size + 7) // 8 * 8
    return None
