"""Saving and loading a guest while watching: times, pages, and what is left to be sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..clock import VirtualClock
from ..qapi.enums import Capability, MigMode, MigrationStatus
from ..units import PAGE_SIZE
from ..vm import VM
from .result import Sample, Save, Voice
from .scenario import RAM_ID, Scenario
from .transcript import Transcript, Window

SURE_S = 24 * 3600.0
"""What is sure to end, a load or a save of a stopped guest, ends in this time (virtual seconds)."""


@dataclass(slots=True)
class Meter:
    """Watches one save from beginning to end.

    Attributes:
        vm: the machine that is saved.
        started_s: when ``migrate`` was given.
        ended_s: when the save was over.
        samples: what was left, whenever that changed.
    """

    vm: VM
    started_s: float
    ended_s: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    _sent: int = 0

    def look(self) -> None:
        """Take a sample if the machine has sent something or found more to send."""
        self.ended_s = self.vm.clock.now
        run = self.vm.source.run
        if run is None or run.transfer is None or not run.counters.dirty_sync_count:
            return
        remaining = run.transfer.sender.dirty_pages * PAGE_SIZE
        sent, self._sent = self._sent, run.counters.pages_sent
        due = remaining + (self._sent - sent) * PAGE_SIZE
        last = self.samples[-1] if self.samples else None
        if last is None or due != last.remaining_bytes or remaining != last.remaining_bytes:
            self.samples.append(Sample(self.ended_s - self.started_s, due, remaining))

    def result(self, file: Path) -> Save:
        """Return the save as a value; nothing about a load is in it yet."""
        vm, run = self.vm, self.vm.source.run
        assert run is not None
        completed = vm.source.status.value is MigrationStatus.COMPLETED
        stopped_s = run.stopped_s
        block = vm.ram[RAM_ID]
        return Save(
            mode=run.policy.mode,
            in_place=block.ignorable and Capability.X_IGNORE_SHARED in vm.capabilities,
            status=vm.source.status.value,
            stop_s=self.ended_s - stopped_s if completed and stopped_s is not None else None,
            total_s=self.ended_s - self.started_s,
            load_s=None,
            stopped_at_s=None if stopped_s is None else stopped_s - self.started_s,
            file_bytes=file.stat().st_size,
            passes=run.counters.dirty_sync_count,
            normal_pages=run.counters.normal,
            zero_pages=run.counters.duplicate,
            blocked_reasons=vm.blockers.reasons(run.policy.mode),
            equal=None,
            samples=tuple(self.samples),
        )


def choose_mode(window: Window, mode: MigMode, *, ignore_shared: bool) -> None:
    """Type the settings that both windows need before a migration."""
    if ignore_shared:
        window.type(f"migrate_set_capability {Capability.X_IGNORE_SHARED} on")
    window.type(f"migrate_set_parameter mode {mode}")


def save(window: Window, file: Path, limit_s: float = SURE_S) -> Meter:
    """Save the guest of ``window`` to ``file``; cancel when it takes longer than ``limit_s``.

    Raises:
        MigsimError: the save was refused, or failed.
    """
    source = window.vm.source
    meter = Meter(window.vm, window.vm.clock.now)
    window.type(f"migrate -d {quoted(f'file:{file}')}")
    if not window.wait(lambda: not source.running, limit_s, meter.look):
        window.type("migrate_cancel")
        window.wait(lambda: not source.running, limit_s, meter.look)
    if source.error is not None:
        raise source.error
    return meter


def load(window: Window, file: Path) -> float:
    """Load the guest of ``window`` from ``file``; return how long that took, in seconds.

    Raises:
        MigsimError: the load was refused, or failed.
    """
    incoming, start_s = window.vm.incoming, window.vm.clock.now
    window.type(f"migrate_incoming {quoted(f'file:{file}')}")
    window.wait(lambda: not incoming.running, SURE_S)
    if incoming.error is not None:
        raise incoming.error
    return window.vm.clock.now - start_s


def save_aside(scenario: Scenario, mode: MigMode, file: Path) -> Save:
    """Return how the guest of ``scenario`` is saved and loaded in ``mode`` with all RAM copied.

    It is the same guest up to the save: same seed, same writes, in time of its own.
    """
    clock = VirtualClock()
    transcript = Transcript(clock, file.parent)
    memory = scenario.private_memory()
    with (
        VM(scenario.config(memory), clock=clock) as vm,
        VM(scenario.config(memory, incoming=True), clock=clock) as other,
    ):
        window = Window(vm, Voice.WINDOW_1, transcript, [])
        window.advance(scenario.boot_s)
        choose_mode(window, mode, ignore_shared=False)
        meter = save(window, file, scenario.limit_s if mode is MigMode.NORMAL else SURE_S)
        result = meter.result(file)
        if not result.completed:
            return result
        second = Window(other, Voice.WINDOW_2, transcript, [])
        choose_mode(second, mode, ignore_shared=False)
        load_s = load(second, file)
        return replace(result, load_s=load_s, equal=same_guest(vm, other))


def same_guest(vm: VM, other: VM) -> bool:
    """Return whether two machines have the same RAM, and guests that stand at the same point."""
    same_clock = vm.guest.time_ps == other.guest.time_ps and vm.guest.writes == other.guest.writes
    return same_clock and np.array_equal(vm.ram[RAM_ID].view(), other.ram[RAM_ID].view())


def quoted(text: str) -> str:
    """Return ``text`` as one word of the human monitor."""
    if not any(letter.isspace() or letter in "\"'\\" for letter in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
