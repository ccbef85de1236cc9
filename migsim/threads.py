"""How many threads bulk work may use: copies, scans and writes that let go of the interpreter.

Threads change how long something takes, never what comes out of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
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


def in_halves(
    work: Callable[[slice], _Result], size: int, worth: int, unit: int = 1
) -> list[_Result]:
    """Return what ``work`` makes of ``size`` things: of all at once, or of each half by a thread.

    ``work`` is given slices that do not overlap, cut at a multiple of ``unit``, and has to be
    safe to run twice at a time; results are in order.  Fewer than ``worth`` things are not shared.

    Raises:
        Whatever ``work`` raises.
    """
    if size < worth or thread_count() < 2:
        return [work(slice(0, size))]
    middle = size // 2 // unit * unit
    found: list[_Result] = []
    problems: list[BaseException] = []

    def second() -> None:
        try:
            found.append(work(slice(middle, size)))
        except BaseException as problem:  # told below
            problems.append(problem)

    other = threading.Thread(target=second, name="second-half")
    other.start()
    try:
        first = work(slice(0, middle))
    finally:
        other.join()
    if problems:
        raise problems[0]
    return [first, *found]
