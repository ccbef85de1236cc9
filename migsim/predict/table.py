"""Many configurations as columns of numbers: what the fluid model works on.

Guests are reduced to parts: groups of pages that are written alike and whose dirty log is cleared
at one time.  A part never crosses a border of the dirty log's chunks (1 GiB).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from ..units import PAGE_SIZE
from .inputs import Inputs, Pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .hostmodel import HostModel

    Floats = NDArray[np.float64]

RECORD_BYTES: Final = 4104
"""A page in a stream: eight bytes of header and the page (spec lifecycle.md section 5)."""
ZERO_RECORD_BYTES: Final = 9
FLUSH_PAGES: Final = 32
"""Pages that QEMU's output file gathers before it writes."""
ZERO_FLUSH_PAGES: Final = 3640
"""Zero pages whose records fill its buffer of 32768 bytes."""
PACKET_PAGES: Final = 128
PACKET_BYTES: Final = 128 * 4096 + 1344
CHUNK_PAGES: Final = 1 << 18
WINDOW_S: Final = 0.1
SLICE_S: Final = 0.05
SEGMENTS: Final = 7
"""Stretches of RAM at most: three non-zero ranges and the zero ones around them."""
PARTS: Final = 8
"""Parts of the working set at most; what lies in further chunks joins the last."""


_PART_COLUMNS: Final = ("parts", "rates", "first", "reach")


@dataclass(slots=True)
class Table:
    """One row per configuration.

    Attributes:
        segments: shape (n, SEGMENTS): pages of each stretch of RAM, non-zero ones negative.
        parts: shape (n, PARTS): pages of each part of the working set.
        rates: shape (n, PARTS): writes per second into each part.
        first: shape (n, PARTS): first page of each part.
        reach: shape (n, PARTS): page number at which a scan first touches the part's chunk.
        sweep: whether the writes go round in order.
        phase: writes of a sweep before the migration begins.
        cap_pages: pages of one full rate window, infinity when unlimited.
        budget_pages, flush_pages: the budget itself, and the pages that are counted at once.
        page_s, zero_s, stopped_page_s: seconds per page, the wire included.
        page_bytes, zero_bytes: what is counted per page.
        limit_s: downtime-limit in seconds.
        late_s, setup_s, stop_s, device_s: fixed costs.
        catch_up_ms, throttle: for auto-converge: (initial, increment, max, trigger) or zeros.
        fixed_bytes: everything that is not RAM pages.
        stops_first: the mode stops the guest first.
        time_limit_s: how long one waits.
    """

    segments: Floats
    parts: Floats
    rates: Floats
    first: Floats
    reach: Floats
    sweep: NDArray[np.bool_]
    phase: Floats
    cap_pages: Floats
    budget_pages: Floats
    flush_pages: Floats
    page_s: Floats
    zero_s: Floats
    stopped_page_s: Floats
    page_bytes: Floats
    zero_bytes: Floats
    limit_s: Floats
    late_s: Floats
    setup_s: Floats
    stop_s: Floats
    device_s: Floats
    catch_up_ms: Floats
    throttle: Floats
    fixed_bytes: Floats
    stops_first: NDArray[np.bool_]
    time_limit_s: Floats

    def __len__(self) -> int:
        return int(self.cap_pages.shape[0])

    def take(self, rows: NDArray[np.int64] | slice) -> Table:
        """Return the table of some rows."""
        return Table(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def trimmed(self) -> Table:
        """Return the table without part columns that no row uses."""
        used = max(1, int((self.parts > 0).sum(axis=1).max(initial=0)))
        cut = {name: getattr(self, name)[:, :used] for name in _PART_COLUMNS}
        return Table(**{item.name: getattr(self, item.name) for item in fields(self)} | cut)

    def repeated(self, times: int) -> Table:
        """Return every row ``times`` times, copies next to each other."""
        return Table(
            **{item.name: np.repeat(getattr(self, item.name), times, 0) for item in fields(self)}
        )


def table_of(many: Sequence[Inputs], host: HostModel) -> Table:
    """Return the table of ``many`` configurations on one host."""
    rows = [_row(inputs, host) for inputs in many]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Table(**columns)


def _row(inputs: Inputs, host: HostModel) -> dict[str, object]:
    normal, zero = inputs.own_pages
    page_s, zero_s = host.page_s(inputs), host.zero_s(inputs)
    stopped_s = page_s if inputs.stops_first else max(page_s, host.stopped_page_s)
    wire = host.wire_bytes_per_s(inputs)
    setup_s = host.setup_s
    if wire:
        if RECORD_BYTES / wire > page_s:  # what the buffer takes is not waited for
            setup_s -= host.wire_buffer_bytes / wire
        page_s, stopped_s = max(page_s, RECORD_BYTES / wire), max(stopped_s, RECORD_BYTES / wire)
    parts, rates, first, reach = _parts(inputs)
    bitmap = inputs.pages / 8 if inputs.mapped_ram else 0.0
    page_bytes, zero_bytes = _page_bytes(inputs)
    return {
        "segments": _segments(inputs),
        "parts": parts,
        "rates": rates,
        "first": first,
        "reach": reach,
        "sweep": inputs.curve is None and inputs.pattern is Pattern.SEQUENTIAL,
        "phase": float(int(inputs.rate_pages_per_s * inputs.settle_s)),
        "cap_pages": window_pages(inputs),
        "budget_pages": (inputs.max_bandwidth // 10 or np.inf) / page_bytes,
        "flush_pages": _flush_pages(inputs),
        "page_s": page_s,
        "zero_s": zero_s,
        "stopped_page_s": stopped_s,
        "page_bytes": page_bytes,
        "zero_bytes": zero_bytes,
        "limit_s": inputs.downtime_limit_ms / 1000,
        "late_s": host.wake_late_s,
        "setup_s": setup_s,
        "stop_s": host.stop_s,
        "device_s": host.device_s,
        "catch_up_ms": inputs.catch_up_ms,
        "throttle": _throttle(inputs),
        "fixed_bytes": inputs.device_state_bytes
        + bitmap
        + normal * RECORD_BYTES
        + zero * ZERO_RECORD_BYTES,
        "stops_first": inputs.stops_first,
        "time_limit_s": inputs.time_limit_s,
    }


def window_pages(inputs: Inputs) -> float:
    """Return how many pages one full rate window carries: overshoot by a fixed quantum included."""
    budget = inputs.max_bandwidth // 10
    if not budget:
        return np.inf
    if inputs.multifd_channels:
        return (budget // PACKET_BYTES + 1 + inputs.multifd_channels) * float(PACKET_PAGES)
    if inputs.mapped_ram:
        return float(budget // PAGE_SIZE + 1)
    return (budget // (FLUSH_PAGES * RECORD_BYTES) + 1) * float(FLUSH_PAGES)


def _flush_pages(inputs: Inputs) -> float:
    """Return how many pages with content are counted as sent at once."""
    if inputs.multifd_channels:
        return float(PACKET_PAGES)
    return 1.0 if inputs.mapped_ram else float(FLUSH_PAGES)


def _page_bytes(inputs: Inputs) -> tuple[float, float]:
    if inputs.multifd_channels:
        header = (PACKET_BYTES - PACKET_PAGES * PAGE_SIZE) / PACKET_PAGES
        return PAGE_SIZE + header, header
    if inputs.mapped_ram:
        return float(PAGE_SIZE), 0.0
    return float(RECORD_BYTES), float(ZERO_RECORD_BYTES)


def _throttle(inputs: Inputs) -> tuple[float, float, float, float]:
    if not inputs.auto_converge:
        return 0.0, 0.0, 0.0, 0.0
    get = inputs.parameters.get
    return (
        float(get("cpu-throttle-initial", 20)),
        float(get("cpu-throttle-increment", 10)),
        float(get("max-cpu-throttle", 99)),
        float(get("throttle-trigger-threshold", 50)),
    )


def _segments(inputs: Inputs) -> list[float]:
    """Return the stretches of RAM in order; those that are not zero as negative numbers."""
    ranges = inputs.ranges()
    while len(ranges) > (SEGMENTS - 1) // 2:  # join the two that lie closest
        gaps = [ranges[i + 1][0] - sum(ranges[i]) for i in range(len(ranges) - 1)]
        at = int(np.argmin(gaps))
        ranges[at : at + 2] = [(ranges[at][0] + gaps[at], ranges[at][1] + ranges[at + 1][1])]
    out: list[float] = []
    end = 0
    for first, count in ranges:
        out += [float(first - end), -float(count)]
        end = first + count
    out.append(float(inputs.pages - end))
    return out + [0.0] * (SEGMENTS - len(out))


def _parts(inputs: Inputs) -> list[list[float]]:
    """Return pages, writes per second, first page and first touch of each part."""
    sizes, rates, lows, reach = [], [], [], []
    for first, count, rate in _classes(inputs):
        cuts = [first]
        while (
            len(cuts) < PARTS // 2 and (cuts[-1] // CHUNK_PAGES + 1) * CHUNK_PAGES < first + count
        ):
            cuts.append((cuts[-1] // CHUNK_PAGES + 1) * CHUNK_PAGES)
        for low, high in zip(cuts, [*cuts[1:], first + count], strict=True):
            sizes.append(float(high - low))
            rates.append(rate * (high - low) / count)
            lows.append(float(low))
            reach.append(float(low // CHUNK_PAGES * CHUNK_PAGES))
    rest = [0.0] * (PARTS - len(sizes))
    return [column + rest for column in (sizes, rates, lows, reach)]


def _classes(inputs: Inputs) -> list[tuple[int, int, float]]:
    """Return (first page, pages, writes per second) of sets that are written evenly."""
    first, pages = inputs.working_set
    if inputs.curve is not None:
        (hot, hot_rate), (cold, cold_rate) = inputs.curve.mixture(inputs.pages)
        sets = [(round(hot), hot_rate), (round(cold), cold_rate)]
        first = min(first, max(0, inputs.pages - sum(count for count, _ in sets)))
    elif inputs.pattern is Pattern.HOT_COLD and 0 < int(inputs.hot_fraction * pages) < pages:
        hot_pages = int(inputs.hot_fraction * pages)
        rate = inputs.rate_pages_per_s
        sets = [
            (hot_pages, rate * inputs.hot_share),
            (pages - hot_pages, rate * (1 - inputs.hot_share)),
        ]
    else:
        sets = [(pages, inputs.rate_pages_per_s)]
    out = []
    for count, rate in sets:
        if count and rate:
            out.append((first, count, rate))
        first += count
    return out
