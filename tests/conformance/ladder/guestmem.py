"""What the outside client asks of guest memory: the marker, and the sweep over all pages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .image import END_ADDR, FIRST_ADDR, PAGE_BYTES
from .wire import check, poll

if TYPE_CHECKING:
    from .program import Instance

MARKER = 0xFEED12345678CAFE
WATCHED_ADDR = FIRST_ADDR + 3 * 1024 * 1024
MARKER_ADDR = WATCHED_ADDR + 1024
"""A word that the guest never touches."""
_BURST = 512


def write_marker(source: Instance) -> None:
    """Put the marker into the source, before the migration."""
    source.qtest.writeq(MARKER_ADDR, MARKER)


def wait_for_dirty_memory(source: Instance, target: Instance) -> None:
    """Wait until the marker is on the target, and the guest writes near it once more."""
    poll(lambda: target.qtest.readq(MARKER_ADDR) == MARKER, "the marker on the target")
    before = source.qtest.readb(WATCHED_ADDR)
    poll(lambda: source.qtest.readb(WATCHED_ADDR) != before, "a byte that changes on the source")


def check_memory(target: Instance, *, sequential: bool) -> None:
    """Stop a running target, and check the first byte of all pages.

    ``sequential`` waits for each reply before the next request, as the outside client does.
    """
    first = target.qtest.read_byte(FIRST_ADDR)
    poll(lambda: target.qtest.read_byte(FIRST_ADDR) != first, "a byte that changes on the target")
    target.qmp.ok("stop")
    first = target.qtest.read_byte(FIRST_ADDR)
    time.sleep(0.2 if sequential else 0.02)
    check(target.qtest.read_byte(FIRST_ADDR) == first, "the guest runs on after stop")
    values = sweep(target, sequential=sequential)
    torn = [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    good = not torn or (len(torn) == 1 and values[-1] == (values[0] - 1) % 256)
    check(
        good,
        f"memory is torn at {len(torn)} pages: {[(i, values[i - 1 : i + 1]) for i in torn[:5]]}",
    )


def sweep(target: Instance, *, sequential: bool) -> list[int]:
    """Return the first byte of all pages, in ascending order."""
    addresses = range(FIRST_ADDR, END_ADDR, PAGE_BYTES)
    if sequential:
        return [target.qtest.read_byte(addr) for addr in addresses]
    replies: list[str] = []
    for start in range(0, len(addresses), _BURST):
        requests = [f"read {addr:#x} 0x1" for addr in addresses[start : start + _BURST]]
        replies += target.qtest.ask_many(requests)
    return [int(reply, 16) for reply in replies]
