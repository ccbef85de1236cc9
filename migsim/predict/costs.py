"""Seconds for pieces of simulated work on one host, with a buffer in front of a slow wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..migration.work import Phase, Work
from ..units import PAGE_SIZE

if TYPE_CHECKING:
    from .hostmodel import HostModel
    from .inputs import Inputs


class Costs:
    """What a driver asks: how long a piece of work takes, and how many pages fit into a slice.

    A wire slower than the host is a queue: the sender waits only while more than the buffer holds
    is under way.
    """

    def __init__(self, inputs: Inputs, host: HostModel, now: Callable[[], float]) -> None:
        self._host = host
        self._now = now
        self._page_s = host.page_s(inputs)
        self._zero_s = host.zero_s(inputs)
        self._wire = host.wire_bytes_per_s(inputs)
        self._drained_s = 0.0
        self.guest_stopped = False
        """Set when migration has stopped the guest: pages then cost `HostModel.stopped_page_s`."""

    def seconds(self, work: Work) -> float:
        """Return how long ``work`` keeps the migration thread busy."""
        page_s = self._page_s
        if self.guest_stopped:
            page_s = max(page_s, self._host.stopped_page_s)
        busy = (
            work.normal_pages * page_s
            + work.zero_pages * self._zero_s
            + work.synced_pages * self._host.sync_page_s
        )
        return self._fixed(work.phase) + max(busy, self._blocked(work.bytes_out))

    def pages_in(self, seconds: float) -> int:
        """Return how many pages with content go out within ``seconds``; at least one."""
        pages = seconds / self._page_s
        if self._wire:
            room = self._host.wire_buffer_bytes
            pages = min(pages, (seconds * self._wire + room) / (PAGE_SIZE + 8))
        return max(1, int(pages))

    def _blocked(self, bytes_out: int) -> float:
        """Return how long the wire holds up a sender of so many bytes."""
        if not self._wire or not bytes_out:
            return 0.0
        now = self._now()
        self._drained_s = max(self._drained_s, now) + bytes_out / self._wire
        return self._drained_s - self._host.wire_buffer_bytes / self._wire - now

    def _fixed(self, phase: Phase | None) -> float:
        host = self._host
        costs = {Phase.SETUP: host.setup_s, Phase.STOP: host.stop_s, Phase.DEVICE: host.device_s}
        return costs.get(phase, 0.0) if phase else 0.0
