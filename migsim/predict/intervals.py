"""Intervals: how far off a prediction may be, from what is not known about host and guest.

The fluid model answers the same question many times with constants drawn from the spread that a
host shows from run to run; the range of its answers is put around the prediction.  Two factors per
quantity, found by cross-validation on measured runs, make the ranges hold what they state
(docs/fidelity.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ..rng import stream
from .fluid import FluidResult, solve
from .inputs import Transport
from .result import Interval, Prediction
from .table import Table, table_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .hostmodel import HostModel
    from .inputs import Inputs

MEMBERS: Final = 64
"""Answers of the fluid model that make one range."""
LEVEL: Final = 0.9


@dataclass(frozen=True, slots=True)
class Widening:
    """How a range of answers becomes an interval.

    Attributes:
        factor: by which the distances from the prediction are stretched.
        share: added on both sides, as a share of the prediction.
        least: added on both sides, in the unit of the quantity.
    """

    factor: float
    share: float
    least: float


WIDENINGS: Final[dict[str, Widening]] = {
    "total_time_ms": Widening(1.0, 0.004, 6.0),
    "downtime_ms": Widening(0.8, 0.05, 1.0),
    "transferred_bytes": Widening(1.25, 0.001, 20_000.0),
}
"""By quantity; the result of the cross-validation in docs/fidelity.md."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How much hosts and guests vary from run to run (standard deviations of logarithms).

    Attributes:
        page, zero, late: costs of pages, of zero pages, of waking up.
        slow_share, slow_page_s: how often a destination's memory is slow, and what a page costs
            then.
        wire: the speed of a wire.
        rate: the guest's writes.
        catch_up: how much a held-up guest makes good.
    """

    page: float = 0.2
    zero: float = 0.25
    late: float = 0.6
    slow_share: float = 0.25
    slow_page_s: float = 12e-6
    wire: float = 0.03
    rate: float = 0.01
    catch_up: float = 0.3


def ranges(
    inputs: Inputs, host: HostModel, *, seed: int, spread: Spread | None = None
) -> dict[str, tuple[float, float]]:
    """Return for each quantity the 5 % and 95 % quantile, as shares of the fluid's own answer."""
    table = table_of([inputs], host).repeated(MEMBERS + 1)
    _vary(table, inputs, stream(seed, "interval"), spread or Spread())
    result = solve(table)
    return {
        "total_time_ms": _shares(result, result.total_s),
        "downtime_ms": _shares(result, result.downtime_s),
        "transferred_bytes": _shares(result, result.transferred_bytes),
    }


def with_intervals(
    prediction: Prediction,
    inputs: Inputs,
    host: HostModel,
    *,
    seed: int = 1,
    widenings: dict[str, Widening] | None = None,
) -> Prediction:
    """Return ``prediction`` with an interval for each quantity that has a value."""
    if inputs.copies_ram:
        shares = ranges(inputs, host, seed=seed)
    else:
        shares = dict.fromkeys(WIDENINGS, (1.0, 1.0))
    intervals = {}
    for name, widening in (widenings or WIDENINGS).items():
        value = getattr(prediction, name)
        if value is not None:
            intervals[name] = widen(float(value), shares[name], widening)
    return replace(prediction, intervals=intervals, level=LEVEL)


def widen(value: float, shares: tuple[float, float], widening: Widening) -> Interval:
    """Return the interval around ``value`` that a range of shares and a widening give."""
    more = value * widening.share + widening.least
    low = value - widening.factor * value * max(0.0, 1.0 - shares[0]) - more
    high = value + widening.factor * value * max(0.0, shares[1] - 1.0) + more
    return Interval(max(0.0, low), high)


def _vary(table: Table, inputs: Inputs, draw: np.random.Generator, spread: Spread) -> None:
    """Vary the constants of all rows but the first."""
    n = len(table) - 1

    def factors(sigma: float) -> NDArray[np.float64]:
        return np.exp(sigma * draw.standard_normal(n))

    wire = inputs.link_bytes_per_s
    slow = draw.random(n) < (0.0 if inputs.transport is Transport.FILE else spread.slow_share)
    page, zero, late, rate = (
        factors(sigma) for sigma in (spread.page, spread.zero, spread.late, spread.rate)
    )
    for column in (table.page_s, table.stopped_page_s):
        varied = column[1:] * (page if not wire else factors(spread.wire))
        column[1:] = np.where(slow, np.maximum(varied, spread.slow_page_s), varied)
    table.zero_s[1:] *= zero
    table.late_s[1:] *= late
    table.stop_s[1:] *= factors(0.5)
    table.device_s[1:] *= factors(0.5)
    table.rates[1:] *= rate[:, None]
    table.catch_up_ms[1:] *= factors(spread.catch_up)


def _shares(result: FluidResult, values: NDArray[np.float64]) -> tuple[float, float]:
    """Return 5 % and 95 % quantile of the members over the first row, which is unvaried."""
    if not np.isfinite(values[0]) or values[0] <= 0:
        return 1.0, 1.0
    members = values[1:][result.converged[1:]] if result.converged[0] else values[1:]
    if not members.size:
        return 1.0, 1.0
    low, high = np.quantile(members / values[0], (0.05, 0.95))
    return float(low), float(high)
