"""What must hold for every migration, whatever happened before it: each promise written once.

Each function checks one promise and raises `Violation`, an ``AssertionError`` whose text says what
was seen.  `Witness` watches one machine from its beginning and checks, whenever it is asked, all
that concerns one machine alone.  They need nothing but the library.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Final

from ..qapi.enums import Capability, MigMode, MigrationStatus, RunState
from ..qapi.transitions import (
    RUNNING_STATUSES,
    incoming_allows,
    live_states,
    outgoing_allows,
    runstate_allows,
)
from ..ram.backends import PhantomBackend

if TYPE_CHECKING:
    from ..migration.status import StatusVariable
    from ..qapi.release import Release
    from ..ram.block import RAMBlock
    from ..vm import VM

    _Move = Callable[[MigrationStatus, MigrationStatus], bool]
    _Table = Callable[[MigrationStatus, MigrationStatus, Release], bool]

_OVER: Final = (MigrationStatus.FAILED, MigrationStatus.CANCELLED)
_NOT_RAM_BYTES: Final = 4000
"""Bytes of a small stream that are no pages: headers, devices, the description."""


class Violation(AssertionError):  # noqa: N818 - it is what happened
    """A promise was broken."""


def hold(condition: bool, what: str) -> None:
    """Do nothing if ``condition``, else raise `Violation` with ``what`` was seen."""
    if not condition:
        raise Violation(what)


# A machine as a whole.


def fingerprint(vm: VM) -> dict[str, object]:
    """Return everything about a machine that a refused command must leave alone."""
    return {
        "ram": {b.name: (b.used_bytes, content_digest(b), b.log.active) for b in vm.ram},
        "devices": {d.name: copy.deepcopy(d.values) for d in vm.devices},
        "guest": vm.guest.get_state(),
        "run": (vm.run.state, vm.run.was_suspended, vm.run.autostart),
        "parameters": vm.parameters.query(),
        "capabilities": vm.capabilities.query(),
        "outgoing": (vm.source.status.value, str(vm.source.error), id(vm.source.run)),
        "incoming": (vm.incoming.status.value, str(vm.incoming.error), vm.incoming.running),
        "blockers": {mode: tuple(vm.blockers.reasons(mode)) for mode in MigMode},
        "events": len(vm.events),
        "time": vm.clock.now,
        "exited": vm.exited,
        "query": {k: v for k, v in vm.query_migrate().items() if k != "total-time"},
    }


def content_digest(block: RAMBlock) -> str:
    """Return the SHA-256 of a block's content in hex, or of the bitmap that stands for it."""
    if block.backend.has_bytes:
        return hashlib.sha256(block.view().data).hexdigest()
    assert isinstance(block.backend, PhantomBackend)
    return hashlib.sha256(block.backend.nonzero.words.data).hexdigest()


def same_fingerprint(before: dict[str, object], vm: VM, why: str, but: Container[str] = ()) -> None:
    """A command that was refused left no trace, ``but`` in some parts of the `fingerprint`."""
    after = fingerprint(vm)
    changed = sorted(key for key in before if key not in but and before[key] != after[key])
    hold(not changed, f"{why}: refused, and yet changed {', '.join(changed)}")


# Both ends of one migration.


def same_ram(source: VM, target: VM) -> None:
    """After a completed migration both ends have the same content, byte by byte."""
    here, there = source.ram_sha256(), target.ram_sha256()
    different = sorted(name for name in here | there if here.get(name) != there.get(name))
    hold(not different, f"RAM differs after a completed migration: {', '.join(different)}")


def nothing_lost(vm: VM, never_moved: VM) -> None:
    """A guest that was migrated has written what one that stayed has, at the same guest time.

    ``never_moved`` is a machine built like the first, with the same content; its guest is run to
    the moment at which the other is.  A lost or torn page, or a write done twice, shows here.
    """
    behind_ps = vm.guest.time_ps - never_moved.guest.time_ps
    hold(behind_ps >= 0, "the guest's clock went back")
    never_moved.guest.run_ps(behind_ps)
    hold(vm.guest.writes == never_moved.guest.writes, "writes were lost or done twice")
    same_ram(never_moved, vm)


def at_most_one_runs(machines: Iterable[VM]) -> None:
    """One guest runs in one place at a time."""
    running = [vm for vm in machines if vm.exited is None and vm.run.state is RunState.RUNNING]
    hold(len(running) <= 1, f"the guest runs in {len(running)} places")


def someone_has_it(machines: Iterable[VM]) -> None:
    """The guest is alive on one of these machines, or can be brought to life by ``cont``."""
    dead = (RunState.INMIGRATE, RunState.SHUTDOWN)
    held = [vm for vm in machines if vm.exited is None and vm.run.state not in dead]
    hold(bool(held), "the guest is nowhere")


def untouched(blocks: Iterable[RAMBlock], before: dict[str, str]) -> None:
    """RAM in place, whose digests were ``before``, was not written by a load."""
    for block in blocks:
        hold(content_digest(block) == before[block.name], f"a load wrote to {block.name}")


# One outgoing migration that has completed.


def counters_are_bytes(vm: VM, stream_bytes: int) -> None:
    """Counters of a completed migration add up to the bytes that went out, pages to all of RAM."""
    ram = vm.query_migrate()["ram"]
    assert isinstance(ram, dict)
    hold(
        ram["transferred"] == stream_bytes,
        f"transferred is {ram['transferred']}, the stream has {stream_bytes} bytes",
    )
    booked = ram["precopy-bytes"] + ram["downtime-bytes"]
    hold(
        stream_bytes - _NOT_RAM_BYTES < booked < stream_bytes,
        f"{booked} bytes of RAM are booked, of a stream of {stream_bytes}",
    )
    hold(ram["normal-bytes"] == ram["normal"] * ram["page-size"], "normal-bytes is not normal")
    hold(ram["remaining"] == 0, "something remains after the end")
    pages = ram["total"] // ram["page-size"]
    hold(
        ram["normal"] + ram["duplicate"] >= pages,
        f"{ram['normal']} and {ram['duplicate']} pages were sent, of {pages}",
    )


class Witness:
    """Watches one machine and knows what it may do next; `check` after every step.

    It must be there before anything happens to the machine.
    """

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.states = [vm.run.state]
        self._seen = len(vm.events)
        self._turns = vm.run.state in live_states(vm.release)
        self._stopped_with: dict[str, str] | None = None
        self._watch_run_state()
        self._watch_statuses()

    def _watch_run_state(self) -> None:
        inner = self.vm.run.set

        def checked(new: RunState) -> None:
            old = self.vm.run.state
            inner(new)
            if new is not old:
                hold(runstate_allows(old, new, self.vm.release), f"run state {old} -> {new}")
                self.states.append(new)

        self.vm.run.set = checked  # type: ignore[method-assign]

    def _watch_statuses(self) -> None:
        vm = self.vm
        for status, allows, told in (
            (vm.source.status, outgoing_allows, "outgoing"),
            (vm.incoming.status, incoming_allows, "incoming"),
        ):
            status.move = self._watched(status, allows, told)  # type: ignore[method-assign,assignment]

    def _watched(self, status: StatusVariable, allows: _Table, side: str) -> _Move:
        inner, vm = status.move, self.vm

        def move(old: MigrationStatus, new: MigrationStatus) -> bool:
            before = status.value
            moved = inner(old, new)
            hold(moved is (before is old), f"{side} status {before} moved as if it were {old}")
            hold(status.value is (new if moved else before), f"{side} status after a move")
            if moved:
                hold(allows(before, new, vm.release), f"{side} status {before} -> {new}")
                told = vm.events[-1:] if Capability.EVENTS in vm.capabilities else []
                hold(all(e.data.get("status") == new for e in told), f"{new} without an event")
            return moved

        return move

    def check(self) -> None:
        """Check every promise that concerns this machine alone.

        Raises:
            Violation: one is broken.
        """
        self.events_are_in_order()
        if self.vm.exited is None:
            self.answers_fit_the_state()
            self.over_means_given_back()
            self.stopped_means_still()

    def events_are_in_order(self) -> None:
        """Times do not go back, statuses follow the table, STOP and RESUME take turns."""
        vm = self.vm
        new, self._seen = vm.events[self._seen :], len(vm.events)
        times = [event.time for event in new]
        hold(times == sorted(times), "events out of order")
        hold(not times or times[-1] <= vm.clock.now, "an event from the future")
        hold(vm.run.state is self.states[-1], "the run state moved without its machine")
        for event in new:
            if event.name == "STOP":
                hold(self._turns, "STOP of a guest that was not live")
                self._turns = False
            elif event.name == "RESUME":
                self._turns = True
        if vm.run.state is RunState.RUNNING:
            hold(self._turns or "WAKEUP" in {e.name for e in vm.events}, "running without RESUME")

    def answers_fit_the_state(self) -> None:
        """What queries say is what the engines and the last event say."""
        vm = self.vm
        info, run = vm.query_migrate(), vm.query_status()
        hold(run["running"] is (vm.run.state is RunState.RUNNING), "query-status and run state")
        hold(run["status"] == vm.run.state, "query-status and run state")
        status = vm.source.status.value
        either = {status, vm.incoming.status.value}
        hold(info.get("status", "none") in either, "query-migrate and its status")
        hold(vm.source.running is (status in RUNNING_STATUSES), "running and its status")
        ram = info.get("ram")
        if isinstance(ram, dict):
            hold(ram["normal-bytes"] == ram["normal"] * ram["page-size"], "normal-bytes")
            hold(0 <= ram["remaining"] <= sum(b.used_bytes for b in vm.ram), "remaining")

    def over_means_given_back(self) -> None:
        """A migration that is over holds nothing: no logging, no throttling, no stopped guest."""
        vm = self.vm
        if vm.source.running:
            return
        hold(not any(block.log.active for block in vm.ram), "dirty logging goes on")
        hold(all(block.watch is None for block in vm.ram), "writes are watched on")
        hold(vm.source.throttle_percentage == 0, "the guest is still throttled")
        if vm.source.status.value in _OVER and not vm.strict:
            kept = vm.run.state is RunState.FINISH_MIGRATE
            hold(not kept, f"{vm.source.status.value}, and the guest is still stopped for it")

    def stopped_means_still(self) -> None:
        """A guest that was stopped for a migration writes nothing until it runs again."""
        vm = self.vm
        if vm.run.state is not RunState.FINISH_MIGRATE:
            self._stopped_with = None
            return
        now = {block.name: content_digest(block) for block in vm.ram}
        hold(self._stopped_with in (None, now), "a page was dirtied after the guest was stopped")
        self._stopped_with = now

    def migration_began(self, before: MigrationStatus) -> None:
        """Blockers were respected by a ``migrate`` that was accepted in status ``before``."""
        vm = self.vm
        hold(before not in RUNNING_STATUSES, f"a second migration began while {before}")
        mode = vm.parameters.mode
        reasons = vm.blockers.reasons(mode)
        hold(not reasons, f"a migration in mode {mode} began in spite of {list(reasons)}")
