"""How many threads bulk work may use: copies, scans and writes that let go of the interpreter.

Threads change how long something takes, never what comes out of it.
"""

from __future__ import annotations

import os

_MOST = 2
"""More than two are of no use: writing a file is one thread's work, scanning RAM another's."""
_BUSY = 2.0
_limit = 0


def thread_count() -> int:
    """Return how many threads a piece of bulk work may use, the caller's included: 1 or 2.

    One where processors have queues: two threads then wait for each other's turns, and take longer
    than one (docs/performance.md).
    """
    if _limit:
        return _limit
    processors = len(os.sched_getaffinity(0))
    if os.getloadavg()[0] > _BUSY * processors:
        return 1
    return min(_MOST, processors)


def limit_threads(count: int) -> None:
    """Use at most ``count`` threads from now on; 0 for as many as there are processors for.

    Raises:
        ValueError: ``count`` is negative.
    """
    global _limit  # noqa: PLW0603
    if count < 0:
        raise ValueError(f"{count} threads")
    _limit = min(count, _MOST)
