"""Dirty-page curves: how many distinct pages a guest has written after some time.

A curve comes from ``calc-dirty-rate`` at several periods, or from the counters of a migration that
runs.  Models want something that can be evaluated at any time, so a curve is turned into a mixture
of page sets, each written at random at its own rate:

    distinct(t) = sum of W_i (1 - exp(-r_i t / W_i))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError


@dataclass(frozen=True, slots=True)
class DirtyCurve:
    """Distinct pages written after each of some times.

    Attributes:
        seconds: ascending times, seconds.
        pages: distinct pages written by then, ascending.
    """

    seconds: tuple[float, ...]
    pages: tuple[float, ...]

    def __post_init__(self) -> None:
        times, pages = np.asarray(self.seconds, float), np.asarray(self.pages, float)
        if times.size == 0 or times.size != pages.size:
            raise ParameterError("curve", len(self.seconds), "as many times as page counts")
        sound = np.all(np.isfinite(times)) and np.all(np.isfinite(pages))
        if not sound or times[0] <= 0 or np.any(np.diff(times) <= 0) or np.any(pages < 0):
            raise ParameterError("curve", self.seconds, "ascending times above 0, counts from 0")

    def mixture(self, ram_pages: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return (pages, writes/s) of a hot and a cold set that follow the curve best.

        Either may be empty.  The fit is least squares in relative error over a grid of hot-set
        sizes and rates; the cold set's rate is found for each of them.
        """
        times = np.asarray(self.seconds, float)
        seen = np.maximum.accumulate(np.minimum(np.asarray(self.pages, float), ram_pages))
        if seen[-1] < 1:
            return (0.0, 0.0), (0.0, 0.0)
        return _fit(times, seen, float(ram_pages))


def distinct(
    set_pages: float, writes_per_s: float, times: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the expected distinct pages of ``set_pages`` after ``times`` of random writes."""
    if set_pages <= 0 or writes_per_s <= 0:
        return np.zeros_like(times)
    return set_pages * -np.expm1(-writes_per_s * times / set_pages)


def _fit(
    times: np.ndarray[tuple[int], np.dtype[np.float64]],
    seen: np.ndarray[tuple[int], np.dtype[np.float64]],
    ram_pages: float,
) -> tuple[tuple[float, float], tuple[float, float]]:
    best, answer = np.inf, ((0.0, 0.0), (0.0, 0.0))
    top = float(seen[-1])
    slope = float(np.max(seen / times))
    hot_sizes = (0.0, *(top * f for f in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)))
    cold_sizes = np.unique(np.clip(top * np.geomspace(1.0, 64.0, 25), 1.0, ram_pages))
    for hot in hot_sizes:
        for hot_rate in slope * np.geomspace(0.05, 4.0, 15) if hot else (0.0,):
            rest = np.maximum(seen - distinct(hot, float(hot_rate), times), 0.0)
            for cold in cold_sizes:
                share = np.clip(rest / cold, 0.0, 0.999999)
                cold_rate = float(np.median(-np.log1p(-share) * cold / times))
                model = distinct(hot, float(hot_rate), times) + distinct(cold, cold_rate, times)
                miss = float(np.sum((model / np.maximum(seen, 1.0) - 1.0) ** 2))
                if miss < best - 1e-9:
                    best, answer = miss, ((hot, float(hot_rate)), (float(cold), cold_rate))
    return answer
