"""One guest that moves from machine to machine, over a channel that breaks at any byte."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import steps
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vms import PAGE, ram

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import MigsimError
from migsim.guest.synthetic import counter_device, nic_device
from migsim.machine.config import MachineConfig
from migsim.qapi.enums import MigrationStatus, RunState
from migsim.testing.invariants import (
    Witness,
    at_most_one_runs,
    content_digest,
    counters_are_bytes,
    hold,
    nothing_lost,
    same_ram,
    someone_has_it,
    untouched,
)
from migsim.testing.strategies import Pause, fault_plans, guest_plans, pauses, releases
from migsim.vm import VM

KINDS = ("idle", "sweep", "uniform", "hot", "counter", "trace")
"""All but the one that sleeps: that somebody wakes it changes what it writes."""
FORMS = ((), ("mapped-ram",), ("xbzrle",), ("pause-before-switchover",))
COMPLETED = MigrationStatus.COMPLETED


class Pair(RuleBasedStateMachine):
    """A guest lives ``here``, may be under way, and goes on ``there``; then there is here."""

    @initialize(guest=guest_plans(kinds=KINDS), release=releases(), in_place=st.booleans())
    def start(self, guest, release, in_place):
        self.folder = Path(tempfile.mkdtemp(prefix="migsim-pair-"))
        self.guest, self.in_place = guest, in_place
        self.config = MachineConfig(memory=ram(guest.pages * PAGE), release=release)
        self.never_moved = self.machine()
        where = self.folder / "ram" if in_place else None
        self.config = replace(self.config, memory=ram(guest.pages * PAGE, where))
        self.here, self.there, self.out = self.machine(), None, None
        for vm in (self.here, self.never_moved):
            guest.content.put_into(vm.ram["ram0"])
        self.witnesses = [Witness(self.here)]
        self.runs = True

    def machine(self, **more) -> VM:
        devices = (counter_device(value=3), nic_device())
        workload = self.guest.workload.make()
        vm = VM(replace(self.config, workload=workload, devices=devices, **more))
        vm.set_capabilities([("events", True), ("x-ignore-shared", self.in_place)])
        return vm

    def teardown(self):
        if hasattr(self, "here"):
            for vm in (self.here, self.there, self.never_moved):
                if vm is not None:
                    vm.kill()
            shutil.rmtree(self.folder)

    @precondition(lambda self: self.there is None or not self.there.run.live)
    @rule(
        mode=st.sampled_from(["normal", "cpr-reboot"]),
        form=st.sampled_from(FORMS),
        plan=fault_plans(),
        pace=st.sampled_from([100_000, 2_000_000, 1 << 27]),
    )
    def migrate(self, mode, form, plan, pace):
        """Begin to save, wherever the guest is by now."""
        on = {"events", "x-ignore-shared" if self.in_place else "", *form}
        switches = [
            (e["capability"], e["capability"] in on) for e in self.here.capabilities.query()
        ]
        try:
            self.here.set_parameters({"mode": mode, "max-bandwidth": pace})
            self.here.set_capabilities(switches)
            self.here.migrate(plan.output(out := MemoryOutput()))
        except MigsimError:
            return  # it is not the moment, or the release does not have it
        self.out, self.form = out, form
        self.cut = plan.fault is not None and not plan.when_reading

    @precondition(lambda self: self.there is None)
    @rule(name=st.sampled_from(["stop", "cont", "migrate_cancel"]))
    def command(self, name):
        live = self.here.run.live
        try:
            getattr(self.here, name)()
        except MigsimError:
            return
        if name == "cont" or (name == "stop" and live):  # stopped already, it is not stopped again
            self.runs = name == "cont"
        if name == "cont":
            self.out = self.out if self.here.source.running else None  # what was saved is history

    @precondition(lambda self: self.here.source.status.value is MigrationStatus.PRE_SWITCHOVER)
    @rule()
    def go_on(self):
        self.here.migrate_continue(MigrationStatus.PRE_SWITCHOVER)

    @rule(pause=pauses())
    def wait(self, pause):
        for vm in (self.here, self.there):
            if vm is not None:
                vm.advance(pause.seconds)

    @precondition(lambda self: self.here.source.running)
    @rule()
    def finish(self):
        """The migration comes to its end, or to where it waits; some guests are too busy for it."""
        source = self.here.source
        for _ in range(20):
            if not source.running or source.status.value is MigrationStatus.PRE_SWITCHOVER:
                return
            self.wait(Pause(0.5))
        hold(self.guest.workload.kind != "idle", "an idle guest is sent for ever")
        self.here.migrate_cancel()

    @precondition(lambda self: self.there is None)
    @rule()
    def prepare(self):
        """Build the machine that waits; it may wait for long, and go away again."""
        self.there = self.machine(incoming="defer")
        self.witnesses.append(Witness(self.there))

    @precondition(
        lambda self: (
            self.out is not None
            and not self.here.source.running
            and self.there is not None
            and self.there.run.state is RunState.INMIGRATE
            and not self.there.incoming.running
        )
    )
    @rule(plan=fault_plans())
    def load(self, plan):
        """Load what there is: all of it, or as much as a migration that failed has written."""
        on = {"events", "x-ignore-shared" if self.in_place else "", *self.form}
        before = {block.name: content_digest(block) for block in self.there.ram}
        whole = self.here.source.status.value is COMPLETED
        channel = plan.input(MemoryInput(self.out.getvalue()))
        names = [entry["capability"] for entry in self.there.capabilities.query()]
        self.there.set_capabilities([(name, name in on) for name in names])
        try:
            self.there.load(channel)
        except MigsimError:
            steps.happened(self, "loads refused")
            untouched(self.there.ram, before)
            faultless = plan.fault is None or not plan.when_reading
            # A channel that loses bytes without a word makes a file that is not whole.
            hold(not (whole and faultless and not self.cut), "a whole stream was refused")
            return
        hold(whole or self.here.source.error is not None, "half a stream was taken for a whole")
        if self.in_place:
            untouched(self.there.ram, before)
        if self.here.run.state is RunState.POSTMIGRATE:
            same_ram(self.here, self.there)
        nothing_lost(self.there, self.never_moved)
        steps.happened(self, "guests moved")
        self.here.quit()
        self.here, self.there, self.out = self.there, None, None
        self.witnesses = self.witnesses[1:]

    @precondition(lambda self: self.there is not None)
    @rule()
    def give_up(self):
        """The machine that waits goes away."""
        self.there.kill()
        self.there = None
        self.witnesses.pop()

    @invariant()
    def promises_are_kept(self):
        if not hasattr(self, "here"):
            return
        steps.counted(self)
        for witness in self.witnesses:
            witness.check()
        machines = [vm for vm in (self.here, self.there) if vm is not None]
        at_most_one_runs(machines)
        someone_has_it(machines)

    @invariant()
    def a_migration_that_did_not_work_is_as_none(self):
        if not hasattr(self, "here"):
            return
        status, state = self.here.source.status.value, self.here.run.state
        if status in (MigrationStatus.FAILED, MigrationStatus.CANCELLED, MigrationStatus.NONE):
            wanted = RunState.RUNNING if self.runs else RunState.PAUSED
            if status is not MigrationStatus.NONE:
                steps.happened(self, f"steps after {status}")
            hold(state is wanted, f"{status}: the guest is {state}, and was {wanted}")
        if status is COMPLETED and self.out is not None and not self.cut and not self.form:
            counters_are_bytes(self.here, len(self.out.getvalue()))


Pair.TestCase.settings = steps.sized(ci=60, steps=30)
TestPair = Pair.TestCase
