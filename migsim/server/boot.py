"""What the guest of a command line is: known boot images become synthetic guests.

The image of the outside migration client is recognised by its hash, others that count in pages
by the constants in their code; the guest behaves as the program in it would (spec frontend.md
section 6).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..guest.boot_program import SECTOR_BYTES, read_program
from ..guest.page_counter import FIRST_PFN, PAGES, PageCounter
from ..units import PAGE_SIZE

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
    from ..cmdline.parts import BlockNode
    from ..guest.workload import Workload

_SUSPENDS = {
    "2a443498d52a12a7061579f888be3207e07bb7a0243f7591b284e28c602bf827": False,
    "e293bf1608b023083e3f52b6c44be9dc8b2eee3c92c1e8ae09a8cfcdd7822f1e": True,
}
"""SHA-256 of the boot images that are known, and whether that guest suspends itself."""
_SUSPEND_AT = 190
"""Offset of the byte that says whether the guest suspends itself."""
_FIRST_ADDR = FIRST_PFN * PAGE_SIZE
_SHAPE = (
    b"\xf8\x03",  # the port of the serial line
    b"\xb0A",
    b"\xb0B",  # what is printed there: instructions that load a letter
    *(addr.to_bytes(4, "little") for addr in (_FIRST_ADDR, _FIRST_ADDR + PAGES * PAGE_SIZE)),
    PAGE_SIZE.to_bytes(4, "little"),
)
"""What is in the code of every boot sector that counts in these pages."""
RATE_PAGES_PER_S = 8e6
"""How fast the page counter counts: five times ``B`` a second or so."""
SLEEPY_RATE_PAGES_PER_S = 1e6
"""The same for one that falls asleep at the first ``B``: a client has to be there to hear of it."""


def guest_of(line: CommandLine, memory_bytes: int) -> Workload | None:
    """Return the guest that boots from a drive of ``line``, or None for an idle one."""
    if memory_bytes < (FIRST_PFN + PAGES) * PAGE_SIZE:
        return None
    for drive in line.drives:
        sector = _boot_sector(drive.node)
        suspends = _suspends(sector)
        if suspends is not None:
            rate = SLEEPY_RATE_PAGES_PER_S if suspends else RATE_PAGES_PER_S
            program = read_program(sector)
            return PageCounter(rate_pages_per_s=rate, suspends=suspends, program=program)
    return None


def _suspends(sector: bytes) -> bool | None:
    """Return whether the guest of a boot sector suspends itself; None if it is unknown."""
    known = _SUSPENDS.get(hashlib.sha256(sector).hexdigest())
    if known is not None:
        return known
    bootable = len(sector) == SECTOR_BYTES and sector.endswith(b"\x55\xaa")
    if not bootable or not all(piece in sector for piece in _SHAPE):
        return None
    return sector[_SUSPEND_AT] == 1


def _boot_sector(node: BlockNode | None) -> bytes:
    while node is not None and node.filename is None:
        below = node.children.get("file")
        node = None if isinstance(below, str) else below
    if node is not None and node.filename is not None:
        with contextlib.suppress(OSError), open(node.filename, "rb") as image:
            return image.read(SECTOR_BYTES)
    return b""


class SerialPort:
    """The first serial port: what the guest prints goes to a file, or nowhere.

    Raises:
        ConfigError: the file cannot be made.
    """

    def __init__(self, line: CommandLine) -> None:
        self._fd = -1
        name = line.serials[0] if line.serials else None
        chardev = line.chardev(name) if name is not None else None
        if chardev is None or chardev.backend != "file":
            return
        path = str(chardev.properties["path"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        flags |= os.O_APPEND if chardev.properties.get("append") is True else os.O_TRUNC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"chardev {chardev.id}", f"{path}: {error.strerror}") from error

    def write(self, text: bytes) -> None:
        """Print ``text``; a full disk loses it."""
        if text and self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, text)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
