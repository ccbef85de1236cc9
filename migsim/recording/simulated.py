"""Recording the migration of a simulated machine in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ..channel.counting import CountingOutput
from ..errors import ConfigError, StateError
from .recording import Moment, Recording
from .sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..channel.base import OutputChannel
    from ..ram.block import RAMBlock
    from ..vm import VM

_ENDED: Final = ("completed", "failed", "cancelled")


def record_migration(
    vm: VM,
    target: str | OutputChannel | None = None,
    *,
    every_s: float = 0.1,
    limit_s: float = 3600.0,
    stretches: int = 0,
    during: Callable[[VM, float], None] | None = None,
) -> Recording:
    """Migrate ``vm`` and return what happened; virtual time passes, the wall clock hardly does.

    Args:
        vm: the machine; it runs under a virtual clock.
        target: a URI or a channel to send to; None counts the bytes and keeps none.
        every_s: virtual seconds between two looks.
        limit_s: give up watching after this long; the migration is then still under way.
        stretches: into how many parts RAM is divided to see which pages are dirty; 0 for none.
        during: called after each look with the machine and the seconds since the beginning, to
            change a parameter or to cancel on the way.

    Raises:
        ConfigError: ``every_s`` is not positive.
        StateError: a migration is running already.
        MigsimError: the migration cannot be started.
    """
    if not every_s > 0:
        raise ConfigError("every_s", "must be positive: virtual seconds between two looks")
    if vm.source.running:
        raise StateError("record_migration", str(vm.source.status.value), "no migration running")
    vm.migrate(CountingOutput() if target is None else target)
    began = vm.clock.now
    seen = len(vm.events)
    samples: list[Sample] = []
    heat: list[NDArray[np.int64]] = []
    while True:
        passed = vm.clock.now - began
        samples.append(_look(vm, passed))
        if stretches:
            heat.append(_dirty(vm, stretches))
        if samples[-1].status in _ENDED or passed >= limit_s:
            break
        if during is not None:
            during(vm, passed)
        _go_on(vm, every_s)
    events = tuple(
        Moment(max(0.0, one.time - began), one.name, dict(one.data)) for one in vm.events[seen:]
    )
    parameters = vm.parameters
    return Recording(
        tuple(samples),
        events,
        mode=str(parameters.get("mode")),
        ram_bytes=sum(block.used_bytes for block in vm.ram),
        bandwidth_bytes_per_s=int(str(parameters.get("max-bandwidth"))),
        downtime_limit_ms=int(str(parameters.get("downtime-limit"))),
        heat=np.stack(heat) if heat else None,
    )


def _go_on(vm: VM, seconds: float) -> None:
    """Let ``seconds`` pass, or less: until something is announced or a state changes."""
    end, before = vm.clock.now + seconds, _state(vm)
    try:
        vm.run_until(lambda: _state(vm) != before or vm.clock.now >= end, seconds)
    except StateError:  # nothing more happens by itself, or the time is over
        if _state(vm) == before and vm.clock.now < end:
            vm.advance(end - vm.clock.now)


def _state(vm: VM) -> tuple[object, ...]:
    return len(vm.events), vm.source.status.value, vm.query_status()["status"]


def _look(vm: VM, passed_s: float) -> Sample:
    return Sample.of(passed_s, vm.query_migrate(), vm.query_status())


def _dirty(vm: VM, stretches: int) -> NDArray[np.int64]:
    """Return how many pages of each stretch of RAM have to be sent yet, shape (stretches,)."""
    return _counted([block for block in vm.ram if block.migratable], vm, stretches)


def _counted(blocks: Sequence[RAMBlock], vm: VM, stretches: int) -> NDArray[np.int64]:
    run = vm.source.run
    transfer = None if run is None else run.transfer
    if transfer is None:
        return np.zeros(stretches, np.int64)
    pages = sum(block.pages for block in blocks)
    edges = np.linspace(0, pages, stretches + 1).astype(np.int64)
    counts, first = np.zeros(stretches, np.int64), 0
    for block in blocks:
        dirty = transfer.sender.pending(block)
        if dirty is not None:
            low = np.clip(edges[:-1] - first, 0, block.pages)
            high = np.clip(edges[1:] - first, 0, block.pages)
            counts += [
                dirty.count_range(int(lo), int(hi)) for lo, hi in zip(low, high, strict=True)
            ]
        first += block.pages
    return counts
