"""How much of its work a throttled guest still does.

A throttle of p per cent makes every vCPU sleep ``10 p / (100 - p)`` ms after each 10 ms of running
(spec lifecycle.md section 6).  A program that only computes then does (100 - p) % of its work; one
driven by timers makes good what it missed, as far back as it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def effective_shares(
    percentages: NDArray[np.float64], catch_up_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return `effective_share` of each pair."""
    asleep_ms = SLICE_MS * percentages / (100.0 - percentages)
    return (SLICE_MS + np.minimum(asleep_ms, catch_up_ms)) / (SLICE_MS + asleep_ms)
