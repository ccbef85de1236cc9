"""The workloads: idle, a sweep, uniform and hot/cold random writes, a recorded trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from migsim.clock import PS_PER_S
from migsim.errors import ConfigError
from migsim.rng import stream

from .page_counter import PageCounter
from .workload import ConstantRate, Workload, write_stamped_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from migsim.ram.block import RAMBlock

__all__ = ["HotCold", "Idle", "PageCounter", "SequentialSweep", "TraceReplay", "Uniform"]

_AHEAD = 8192
"""Random writes drawn at once; small takes are slices of them."""
_TRACE_LIMIT_PS = 9 * 10**18
"""Times of a trace are 64-bit numbers of picoseconds: a hundred days."""


class Idle(Workload):
    """A guest that writes nothing."""

    @property
    def rate_pages_per_s(self) -> float:
        """Page writes per second: 0."""
        return 0.0

    @property
    def last_pfn(self) -> int:
        """Highest page number that is written: none, -1."""
        return -1

    @property
    def position(self) -> int:
        """Number of writes taken: 0."""
        return 0

    def due(self, time_ps: int) -> int:
        """Return 0."""
        return 0

    def take(self, count: int) -> NDArray[np.int64]:
        """Return no page; any ``count`` but 0 is refused."""
        if count:
            raise ConfigError("workload", "an idle guest has no writes to take")
        return np.empty(0, np.int64)

    def seek(self, position: int) -> None:
        """Stay; any ``position`` but 0 is refused."""
        if position:
            raise ConfigError("workload", f"an idle guest has no write number {position}")


class SequentialSweep(ConstantRate):
    """Writes pages ``first`` to ``last`` (included) in ascending order, again and again."""

    def __init__(self, first: int, last: int, *, rate_pages_per_s: float) -> None:
        super().__init__(first, last, rate_pages_per_s)

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes."""
        start = self._position % self.pages
        self._position += count
        pfns = np.arange(start, start + count, dtype=np.int64)
        if start + count > self.pages:
            pfns %= self.pages
        pfns += self.first
        return pfns

    def write(self, block: RAMBlock, count: int) -> int:
        """Do the next ``count`` writes to ``block``, in whole ranges; return ``count``."""
        end = self._position + count
        # Of several rounds only the last one leaves a trace.
        begin = max(self._position, end - self.pages)
        while begin < end:
            low = begin % self.pages
            size = min(end - begin, self.pages - low)
            write_stamped_range(block, self.first + low, size, begin + 1)
            begin += size
        self._position = end
        return count


class _Random(ConstantRate):
    """Random writes: drawn ahead in batches, one 64-bit draw a write from every stream.

    A fixed number of draws a write makes the list independent of how it is cut, and lets
    ``seek`` jump: the generators are advanced by the position.
    """

    _CONCERNS: ClassVar[tuple[str, ...]] = ()
    _streams: list[np.random.Generator]
    _ahead: NDArray[np.int64]
    _used: int

    def __init__(self, first: int, last: int, rate_pages_per_s: float, seed: int) -> None:
        super().__init__(first, last, rate_pages_per_s)
        self.seed = seed
        self.seek(0)

    def _draw(self, count: int) -> NDArray[np.int64]:
        raise NotImplementedError

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes."""
        self._position += count
        begin, end = self._used, self._used + count
        if end <= len(self._ahead):
            self._used = end
            return self._ahead[begin:end]
        rest = self._ahead[begin:]
        missing = count - len(rest)
        drawn = self._draw(missing + _AHEAD)
        self._ahead, self._used = drawn[missing:], 0
        return np.concatenate((rest, drawn[:missing])) if len(rest) else drawn[:missing]

    def seek(self, position: int) -> None:
        """Go to the write number ``position``."""
        super().seek(position)
        self._streams = [_at(self.seed, concern, position) for concern in self._CONCERNS]
        self._ahead = np.empty(0, np.int64)
        self._used = 0


class Uniform(_Random):
    """Writes random pages of ``first`` to ``last`` (included), all equally likely."""

    _CONCERNS = ("page",)

    def __init__(self, first: int, last: int, *, rate_pages_per_s: float, seed: int = 0) -> None:
        super().__init__(first, last, rate_pages_per_s, seed)

    def _draw(self, count: int) -> NDArray[np.int64]:
        pages = self._streams[0].random(count)
        pages *= self.pages
        pfns = pages.astype(np.int64)
        pfns += self.first
        return pfns


class HotCold(_Random):
    """Writes to a hot set with probability ``hot_share``, else to the cold rest.

    The hot set is the first ``hot_pages`` pages of the range; inside each set all pages are
    equally likely.

    Raises:
        ConfigError: no page is hot or none is cold, or the share is no probability.
    """

    _CONCERNS = ("choice", "page")

    def __init__(
        self,
        first: int,
        last: int,
        *,
        hot_pages: int,
        hot_share: float,
        rate_pages_per_s: float,
        seed: int = 0,
    ) -> None:
        if not 0 < hot_pages < last - first + 1:
            raise ConfigError("workload", f"{hot_pages} hot pages leave no hot or no cold set")
        if not 0 <= hot_share <= 1:
            raise ConfigError("workload", f"hot share {hot_share} is no probability")
        self.hot_pages = hot_pages
        self.hot_share = hot_share
        super().__init__(first, last, rate_pages_per_s, seed)

    def _draw(self, count: int) -> NDArray[np.int64]:
        hot = self._streams[0].random(count) < self.hot_share
        pages = self._streams[1].random(count)
        pages *= np.where(hot, self.hot_pages, self.pages - self.hot_pages)
        pfns = pages.astype(np.int64)
        pfns += np.where(hot, self.first, self.first + self.hot_pages)
        return pfns


class TraceReplay(Workload):
    """Writes ``pfns[i]`` at guest time ``times[i]``; silent after the last one, or periodic.

    ``times`` are seconds, ascending; they are rounded to picoseconds.  With ``period_s`` the
    trace begins anew every that many seconds.

    Raises:
        ConfigError: lengths differ, times go back or are negative, or a period that is too short.
    """

    def __init__(
        self,
        times: Sequence[float] | NDArray[np.float64],
        pfns: Sequence[int] | NDArray[np.int64],
        *,
        period_s: float | None = None,
    ) -> None:
        seconds = np.asarray(times, np.float64)
        self._pfns = np.asarray(pfns, np.int64)
        self._position = 0
        if seconds.ndim != 1 or seconds.shape != self._pfns.shape:
            raise ConfigError("trace", "it needs one time for every page")
        limit = _TRACE_LIMIT_PS / PS_PER_S
        if not np.all((seconds >= 0) & (seconds < limit)) or not 0 < (period_s or 1) < limit:
            raise ConfigError("trace", f"times must be 0 or more, and below {limit:.0f} s")
        self._times_ps = np.rint(seconds * PS_PER_S).astype(np.int64)
        self._period_ps = None if period_s is None else round(period_s * PS_PER_S)
        self._validate()

    def _validate(self) -> None:
        if np.any(np.diff(self._times_ps) < 0):
            raise ConfigError("trace", "times must not go back")
        if np.any(self._pfns < 0):
            raise ConfigError("trace", "page numbers must not be negative")
        last = int(self._times_ps[-1]) if len(self._pfns) else 0
        if self._period_ps is not None and (not len(self._pfns) or self._period_ps <= last):
            raise ConfigError("trace", "the period must reach beyond the last write")

    @property
    def rate_pages_per_s(self) -> float:
        """Mean page writes per second, over the period or up to the last write."""
        if not len(self._pfns):
            return 0.0
        span_ps = self._period_ps or int(self._times_ps[-1]) or PS_PER_S
        return len(self._pfns) * PS_PER_S / span_ps

    @property
    def last_pfn(self) -> int:
        """Highest page number that is written, -1 when none is."""
        return int(self._pfns.max(initial=-1))

    @property
    def position(self) -> int:
        """Number of writes taken since the guest booted."""
        return self._position

    def due(self, time_ps: int) -> int:
        """Return how many writes have happened by ``time_ps``, those at that moment included."""
        rounds = 0
        if self._period_ps is not None:
            rounds, time_ps = divmod(time_ps, self._period_ps)
        within = int(np.searchsorted(self._times_ps, min(time_ps, _TRACE_LIMIT_PS), side="right"))
        return rounds * len(self._pfns) + within

    def take(self, count: int) -> NDArray[np.int64]:
        """Return the page numbers of the next ``count`` writes."""
        start, self._position = self._position, self._position + count
        if self._period_ps is None:
            if self._position > len(self._pfns):
                raise ConfigError("trace", f"it has only {len(self._pfns)} writes")
            return self._pfns[start : self._position]
        index = np.arange(start, self._position, dtype=np.int64)
        return self._pfns[index % len(self._pfns)]

    def seek(self, position: int) -> None:
        """Go to the write number ``position``."""
        if position < 0 or (self._period_ps is None and position > len(self._pfns)):
            raise ConfigError("trace", f"there is no write number {position}")
        self._position = position


def _at(seed: int, concern: str, position: int) -> np.random.Generator:
    """Return the generator of ``concern`` after ``position`` draws."""
    generator = stream(seed, "workload", concern)
    bits = generator.bit_generator
    assert isinstance(bits, np.random.PCG64)  # what migsim.rng promises
    bits.advance(position)
    return generator
