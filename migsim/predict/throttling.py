"""How much of its work a throttled guest still does.

A throttle of p per cent makes every vCPU sleep ``10 p / (100 - p)`` ms after each 10 ms of running
(spec lifecycle.md section 6).  A program that only computes then does (100 - p) % of its work; one
driven by timers makes good what it missed, as far back as it looks.
"""

from __future__ import annotations

SLICE_MS = 10.0
"""How long a throttled vCPU runs between two sleeps, in milliseconds."""


def effective_share(percentage: float, catch_up_ms: float) -> float:
    """Return the share of its writes that a guest under ``percentage`` throttle does, 0 to 1.

    ``catch_up_ms`` is how much missed work it makes good after each sleep.
    """
    if percentage <= 0:
        return 1.0
    asleep_ms = SLICE_MS * percentage / (100.0 - percentage)
    return (SLICE_MS + min(asleep_ms, catch_up_ms)) / (SLICE_MS + asleep_ms)
