"""What one step of an engine did, for a driver to turn into time."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.Enum):
    """Parts of a migration whose cost does not depend on the amount of RAM."""

    SETUP = "setup"
    STOP = "stop"
    DEVICE = "device"
    CLEANUP = "cleanup"
    START = "start"


@dataclass(slots=True)
class Work:
    """The countable effort of one step.

    Attributes:
        bytes_out: bytes handed to the channel.
        normal_pages: pages sent with content.
        zero_pages: pages found to be zero.
        side_bytes: those of ``bytes_out`` that went over channels of multifd.
        compact_pages: pages sent as deltas, or not at all as they did not change.
        synced_pages: pages whose dirty log was fetched.
        loaded_bytes: bytes of a stream read and applied.
        phase: the fixed part that this step was, if any.
        wake_at: the step did nothing, and nothing will happen before this time (seconds).
        idle: the engine waits for a command; time may pass freely.
    """

    bytes_out: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    side_bytes: int = 0
    compact_pages: int = 0
    synced_pages: int = 0
    loaded_bytes: int = 0
    phase: Phase | None = None
    wake_at: float | None = None
    idle: bool = False
