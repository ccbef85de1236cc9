"""Ask a running QEMU what a prediction needs: memory, settings, and how fast its guest dirties."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import StateError
from ..units import MIB, PAGE_SIZE
from .curve import DirtyCurve
from .defaults import DEFAULT_NONZERO
from .inputs import Inputs, Transport

if TYPE_CHECKING:
    from .qmpclient import ReadOnlyQmp

PERIODS_MS: Final = (100, 300, 800, 2000)
"""Periods over which dirty pages are counted."""
SAMPLES_PER_GIB: Final = 16384
"""Pages sampled in each GiB of RAM, the most that QEMU takes."""
PROCESS_BYTES: Final = 16 * MIB
"""Memory of a QEMU process that is not guest RAM."""
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Probe:
    """What a running QEMU said.

    Attributes:
        version: of QEMU.
        ram_bytes: size of guest RAM.
        running: whether the guest runs.
        parameters: of migration, by QMP name.
        capabilities: those that are on.
        curve: distinct dirty pages by period, or None when nothing was dirtied.
        nonzero_fraction: share of RAM that may have content; None when it cannot be known.
    """

    version: str
    ram_bytes: int
    running: bool
    parameters: dict[str, Any]
    capabilities: frozenset[str]
    curve: DirtyCurve | None
    nonzero_fraction: float | None


def probe(
    qmp: ReadOnlyQmp,
    *,
    periods_ms: tuple[int, ...] = PERIODS_MS,
    sleep: Callable[[float], None] = time.sleep,
) -> Probe:
    """Return what the QEMU behind ``qmp`` says; nothing is changed on it.

    Raises:
        StateError: a migration runs, or a dirty-rate measurement of somebody else.
        ChannelError: it stopped answering.
    """
    version = qmp.ask("query-version")["qemu"]
    ram = int(qmp.ask("query-memory-size-summary")["base-memory"])
    capabilities = qmp.ask("query-migrate-capabilities")
    if qmp.ask("query-migrate").get("status") in ("setup", "active", "device", "pre-switchover"):
        raise StateError("probe", "migrating", hint="a migration runs; its counters tell more")
    points = [(period / 1000, _dirty_pages(qmp, period, sleep)) for period in periods_ms]
    dirty = [pages for _, pages in points]
    curve = None
    if max(dirty, default=0) > 0:
        highest = [max(dirty[: i + 1]) for i in range(len(dirty))]
        curve = DirtyCurve(tuple(t for t, _ in points), tuple(highest))
    return Probe(
        version=f"{version['major']}.{version['minor']}.{version['micro']}",
        ram_bytes=ram,
        running=bool(qmp.ask("query-status")["running"]),
        parameters=dict(qmp.ask("query-migrate-parameters")),
        capabilities=frozenset(c["capability"] for c in capabilities if c["state"]),
        curve=curve,
        nonzero_fraction=_resident_fraction(qmp.peer_pid(), ram),
    )


def inputs_of_probe(
    seen: Probe, *, nonzero_fraction: float | None = None, time_limit_s: float = 3600.0
) -> Inputs:
    """Return the inputs for migrating the probed guest over a socket with its own settings."""
    pages = seen.ram_bytes // PAGE_SIZE
    share = seen.nonzero_fraction if nonzero_fraction is None else nonzero_fraction
    assumed = [("transport", "socket to a live destination"), ("wire", "faster than the host")]
    if share is None:
        share = DEFAULT_NONZERO
        assumed.append(("nonzero fraction", f"{share:g}"))
    elif nonzero_fraction is None:
        assumed.append(("nonzero fraction", f"{share:.3f}, from the process's resident memory"))
    known = {"auto-converge", "multifd", "mapped-ram", "return-path"}
    parameters: dict[str, Any] = {
        name: seen.parameters[name]
        for name in (
            *("cpu-throttle-initial", "cpu-throttle-increment", "max-cpu-throttle"),
            *("throttle-trigger-threshold", "multifd-channels"),
        )
        if name in seen.parameters
    }
    return Inputs(
        ram_bytes=seen.ram_bytes,
        nonzero_ranges=((0, int(share * pages)),),
        working_set=(0, 0),
        curve=seen.curve if seen.running else None,
        max_bandwidth=int(seen.parameters.get("max-bandwidth", 128 * MIB)),
        downtime_limit_ms=int(seen.parameters.get("downtime-limit", 300)),
        mode=str(seen.parameters.get("mode", "normal")),
        transport=Transport.SOCKET,
        capabilities=seen.capabilities & known,
        parameters=parameters,
        time_limit_s=time_limit_s,
        assumed=tuple(assumed),
    )


def _dirty_pages(qmp: ReadOnlyQmp, period_ms: int, sleep: Callable[[float], None]) -> float:
    """Return how many distinct pages the guest wrote within ``period_ms``."""
    if qmp.ask("query-dirty-rate")["status"] == "measuring":
        raise StateError("calc-dirty-rate", "measuring", hint="somebody else measures just now")
    qmp.ask(
        "calc-dirty-rate",
        calc_time=period_ms,
        calc_time_unit="millisecond",
        sample_pages=SAMPLES_PER_GIB,
    )
    sleep(period_ms / 1000)
    for _ in range(500):
        answer = qmp.ask("query-dirty-rate", calc_time_unit="millisecond")
        if answer["status"] == "measured":
            rate = int(answer.get("dirty-rate", 0))
            return rate * MIB / PAGE_SIZE * period_ms / 1000
        sleep(POLL_S)
    raise StateError("calc-dirty-rate", "measuring", hint="no result after ten seconds")


def _resident_fraction(pid: int | None, ram_bytes: int) -> float | None:
    """Return the share of RAM that the process holds, or None when that cannot be read."""
    if pid is None:
        return None
    held = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon", "RssShmem", "RssFile")):
                name, size = line.split()[:2]
                held += 0 if name == "RssFile:" else int(size) * 1024
    except (OSError, ValueError):
        return None
    return min(1.0, max(0.0, (held - PROCESS_BYTES) / ram_bytes))
