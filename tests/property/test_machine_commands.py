"""Any sequence of commands keeps both state machines legal and every answer consistent."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vms import make, short, snapshot

from migsim.channel.faults import Fault, FaultyOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import AbortError, MigsimError, StateError
from migsim.guest.synthetic import counter_device
from migsim.guest.workloads import HotCold, PageCounter, SequentialSweep
from migsim.machine.config import Profile
from migsim.qapi.enums import MigrationStatus, RunState
from migsim.qapi.release import Release
from migsim.qapi.transitions import (
    RUNNING_STATUSES,
    incoming_allows,
    outgoing_allows,
    runstate_allows,
)

PAGES = 128
SIZE = PAGES * 4096
RELEASES = {"8.2": Release.V8_2, "10.0": Release.V10_0, "11.1": Release.V11_1}
IDLE = MigrationStatus.NONE
WORKLOADS = {
    "sweep": lambda: SequentialSweep(0, PAGES - 1, rate_pages_per_s=3000.0),
    "hot": lambda: HotCold(0, 100, hot_pages=9, hot_share=0.9, rate_pages_per_s=5000.0, seed=2),
    "sleeper": lambda: PageCounter(rate_pages_per_s=20_000.0, first=8, pages=30, suspends=True),
}


class Watched:
    """A machine whose every change of state is checked against the tables as it happens."""

    def __init__(self, vm):
        self.vm = vm
        self.states = [vm.run.state]
        inner = vm.run.set

        def checked(new):
            old = vm.run.state
            inner(new)
            if new is not old:
                assert runstate_allows(old, new, vm.release)
                self.states.append(new)

        vm.run.set = checked


class Commands(RuleBasedStateMachine):
    """A machine that is told anything at any time, and let go on for any time."""

    @initialize(
        release=st.sampled_from(sorted(RELEASES)),
        workload=st.sampled_from(sorted(WORKLOADS)),
        stopped=st.booleans(),
        strict=st.booleans(),
    )
    def start(self, release, workload, stopped, strict):
        self.vm = make(
            SIZE,
            release=RELEASES[release],
            workload=WORKLOADS[workload](),
            start_stopped=stopped,
            devices=(counter_device(value=5),),
            profile=Profile.STRICT if strict else Profile.SAFE,
        )
        self.vm.ram["ram0"].view()[: PAGES // 2] = 3
        self.watched = Watched(self.vm)
        self.out = None
        self.seen = 0
        self.status = IDLE
        self.stopped_digest = None

    def tell(self, call, *arguments):
        """Call; a refusal must leave no trace, but for a migration that could not be opened."""
        before = snapshot(self.vm)
        try:
            call(*arguments)
        except AbortError:
            assert self.vm.strict
            assert self.vm.exited is not None
        except MigsimError:
            assert snapshot(self.vm) == before

    @precondition(lambda self: self.vm.exited is None)
    @rule(
        mode=st.sampled_from(["normal", "cpr-reboot", "cpr-transfer", "nonsense"]),
    )
    def set_mode(self, mode):
        self.tell(self.vm.set_parameters, {"mode": mode})

    @precondition(lambda self: self.vm.exited is None)
    @rule(
        bandwidth=st.sampled_from([0, 5, 100_000, 2_000_000, 20_000_000]),
        limit=st.sampled_from([0, 1, 300, 2_000_001]),
    )
    def set_parameters(self, bandwidth, limit):
        self.tell(self.vm.set_parameters, {"max-bandwidth": bandwidth, "downtime-limit": limit})

    @precondition(lambda self: self.vm.exited is None)
    @rule(
        name=st.sampled_from(
            ["pause-before-switchover", "auto-converge", "return-path", "xbzrle", "nonsense"]
        ),
        state=st.booleans(),
    )
    def set_capability(self, name, state):
        self.tell(self.vm.set_capabilities, [(name, state)])

    @precondition(lambda self: self.vm.exited is None)
    @rule(breaks=st.one_of(st.none(), st.integers(0, 600_000)))
    def migrate(self, breaks):
        out = MemoryOutput()
        channel = out if breaks is None else FaultyOutput(out, Fault(breaks))
        was = self.vm.source.run
        self.tell(self.vm.migrate, channel)
        if self.vm.source.run is not was:
            self.out = out if breaks is None else None

    @precondition(lambda self: self.vm.exited is None)
    @rule(
        name=st.sampled_from(
            ["stop", "cont", "system_reset", "system_wakeup", "suspend", "migrate_cancel"]
        )
    )
    def command(self, name):
        self.tell(getattr(self.vm, name))

    @precondition(lambda self: self.vm.exited is None)
    @rule(status=st.sampled_from(["pre-switchover", "active", "device"]))
    def go_on(self, status):
        self.tell(self.vm.migrate_continue, MigrationStatus(status))

    @precondition(lambda self: self.vm.exited is None)
    @rule(uri=st.sampled_from(["file:/nowhere/at/all", "nonsense"]))
    def migrate_incoming(self, uri):
        self.tell(self.vm.migrate_incoming, uri)

    @precondition(lambda self: self.vm.exited is None)
    @rule(seconds=st.sampled_from([0.0, 1e-6, 0.0007, 0.05, 0.1, 0.333, 2.0]))
    def advance(self, seconds):
        try:
            self.vm.advance(seconds)
        except AbortError:
            assert self.vm.strict
            assert self.vm.exited.signal == "SIGABRT"

    @precondition(lambda self: self.vm.exited is not None)
    @rule(name=st.sampled_from(["stop", "cont", "quit", "query_status", "migrate_cancel"]))
    def after_the_end(self, name):
        count = len(self.vm.events)
        with pytest.raises(StateError):
            getattr(self.vm, name)()
        self.vm.advance(0.1)
        assert len(self.vm.events) == count

    @precondition(lambda self: self.vm.exited is None and len(self.vm.events) > 12)
    @rule()
    def quit(self):
        status = self.vm.source.status.value
        since = len(self.vm.events)
        self.vm.quit()
        words = ["SHUTDOWN"]
        if status in RUNNING_STATUSES - {MigrationStatus.CANCELLING}:
            words.append("M cancelling")
        assert short(self.vm, since) == words

    @invariant()
    def every_status_is_followed_by_one_that_the_table_has(self):
        if not hasattr(self, "vm"):
            return
        new, self.seen = self.vm.events[self.seen :], len(self.vm.events)
        for event in new:
            if event.name == "MIGRATION":
                status = MigrationStatus(event.data["status"])
                assert outgoing_allows(self.status, status, self.vm.release)
                self.status = status
        assert self.status is self.vm.source.status.value
        times = [event.time for event in self.vm.events]
        assert times == sorted(times)
        assert not times or times[-1] <= self.vm.clock.now

    @invariant()
    def stop_and_resume_take_turns(self):
        if not hasattr(self, "vm"):
            return
        turns = [e.name for e in self.vm.events if e.name in ("STOP", "RESUME")]
        live = self.watched.states[0] is RunState.RUNNING
        for name in turns:
            if name == "STOP":
                assert live
            # A reset ends a suspended guest's life without a STOP.
            live = name == "RESUME"
        if self.vm.run.state is RunState.RUNNING and turns:
            assert turns[-1] == "RESUME" or "WAKEUP" in {e.name for e in self.vm.events}

    @invariant()
    def answers_fit_the_state(self):
        if not hasattr(self, "vm") or self.vm.exited is not None:
            return
        vm = self.vm
        info, status = vm.query_migrate(), vm.query_status()
        assert status == {"running": vm.run.state is RunState.RUNNING, "status": vm.run.state}
        assert info.get("status", "none") == vm.source.status.value
        assert vm.source.running is (vm.source.status.value in RUNNING_STATUSES)
        if not vm.source.running:
            assert not vm.ram["ram0"].log.active
            assert vm.source.throttle_percentage == 0
            # QEMU loses a guest that it stopped twice, as it does when the mode is changed.
            assert vm.run.state is not RunState.FINISH_MIGRATE or vm.strict
        if "ram" in info:
            ram = info["ram"]
            assert ram["normal-bytes"] == 4096 * ram["normal"]
            assert 0 <= ram["remaining"] <= SIZE
        assert vm.hmp("info migrate").startswith("globals:")

    @invariant()
    def counters_are_the_bytes_of_the_file(self):
        if not hasattr(self, "vm") or self.out is None or self.vm.exited is not None:
            return
        if self.vm.source.status.value is MigrationStatus.COMPLETED:
            ram = self.vm.query_migrate()["ram"]
            size = len(self.out.getvalue())
            assert ram["transferred"] == size
            assert size - 4000 < ram["precopy-bytes"] + ram["downtime-bytes"] < size
            assert ram["normal"] + ram["duplicate"] >= PAGES or ram["total"] == 0
            self.loads()

    def loads(self):
        """The stream of a migration that completed loads, unless QEMU's own would not."""
        out, self.out = self.out, None
        vm = self.vm
        target = make(
            SIZE, events=False, incoming="defer", release=vm.release, machine="none",
            devices=(counter_device(),), workload=SequentialSweep(0, 9, rate_pages_per_s=1.0),
        )  # fmt: skip
        if vm.strict and vm.run.state is not RunState.POSTMIGRATE:
            return
        try:
            target.load(MemoryInput(out.getvalue()))
        except MigsimError:
            assert vm.strict  # the mode was changed in the middle, so no run state was stored
            return
        assert target.incoming.status.value is MigrationStatus.COMPLETED
        assert incoming_allows(MigrationStatus.ACTIVE, MigrationStatus.COMPLETED)
        if vm.run.state is RunState.POSTMIGRATE:
            assert target.ram_sha256() == vm.ram_sha256()

    @invariant()
    def a_guest_that_cpr_stopped_writes_nothing(self):
        if not hasattr(self, "vm"):
            return
        if self.vm.exited is None and self.vm.run.state is RunState.FINISH_MIGRATE:
            digest = hashlib.blake2b(self.vm.ram["ram0"].view()).digest()
            assert self.stopped_digest in (None, digest)
            self.stopped_digest = digest
        else:
            self.stopped_digest = None


Commands.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestCommands = Commands.TestCase
