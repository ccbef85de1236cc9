"""Any sequence of monitor commands keeps one machine legal and every answer consistent."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import steps
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vms import PAGE, ram, short

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import AbortError, MigsimError, StateError
from migsim.guest.synthetic import counter_device
from migsim.machine.config import MachineConfig, Profile
from migsim.qapi.enums import Capability, MigrationStatus, RunState
from migsim.qapi.transitions import RUNNING_STATUSES
from migsim.testing.invariants import (
    Violation,
    Witness,
    counters_are_bytes,
    fingerprint,
    same_fingerprint,
    same_ram,
)
from migsim.testing.strategies import (
    fault_plans,
    guest_plans,
    migration_commands,
    monitor_commands,
    pauses,
    releases,
)
from migsim.vm import VM

NOWHERE = "file:/nowhere/at/all"
PLAIN_FILES = frozenset({Capability.EVENTS, Capability.PAUSE_BEFORE_SWITCHOVER})


def there(machine) -> bool:
    return machine.vm.exited is None


class OneMachine(RuleBasedStateMachine):
    """A machine that is told anything at any time, and let go on for any time."""

    @initialize(data=st.data())
    def start(self, data):
        release = data.draw(releases())
        self.guest = data.draw(guest_plans())
        profile = data.draw(st.sampled_from([Profile.SAFE, Profile.STRICT]))
        waits = data.draw(st.booleans())
        self.folder = Path(tempfile.mkdtemp(prefix="migsim-vm-"))
        self.vm = VM(
            MachineConfig(
                memory=ram(self.guest.pages * PAGE),
                release=release,
                workload=self.guest.workload.make(),
                start_stopped=data.draw(st.booleans()),
                incoming="defer" if waits else None,
                devices=(counter_device(value=5),),
                profile=profile,
            )
        )
        self.guest.content.put_into(self.vm.ram["ram0"])
        self.vm.set_capabilities([("events", True)])
        self.witness = Witness(self.vm)
        self.out = None

    def teardown(self):
        if hasattr(self, "vm"):
            self.vm.kill()
            shutil.rmtree(self.folder)

    @precondition(there)
    @rule(data=st.data())
    def command(self, data):
        """A command about migration; refused, it leaves no trace."""
        uris = (NOWHERE, f"file:{self.folder}/state", "nonsense")
        command = data.draw(migration_commands(self.vm.release, uris=uris))
        before, run = fingerprint(self.vm), self.vm.source.run
        status = self.vm.source.status.value
        reply = command.run(self.vm)
        note(str(reply))
        assert set(reply) in ({"return"}, {"error"})
        if self.vm.source.run is not run:
            self.witness.migration_began(status)
            self.out = None
        elif "error" in reply and self.vm.exited is None:
            steps.happened(self, "commands refused")
            # A file that is not there is found out after the incoming status has moved.
            begun = ("events", "incoming", "query") if command.name == "migrate-incoming" else ()
            same_fingerprint(before, self.vm, str(command), but=begun)

    @precondition(there)
    @rule(command=monitor_commands())
    def any_command(self, command):
        """Whatever a monitor is told, it answers."""
        before = self.vm.source.run
        reply = command.run(self.vm)
        assert set(reply) in ({"return"}, {"error"})
        if self.vm.source.run is not before:
            self.out = None

    @precondition(there)
    @rule(plan=fault_plans())
    def migrate(self, plan):
        out, run = MemoryOutput(), self.vm.source.run
        status, before = self.vm.source.status.value, fingerprint(self.vm)
        try:
            self.vm.migrate(plan.output(out))
        except MigsimError:
            same_fingerprint(before, self.vm, "migrate")
        else:
            assert self.vm.source.run is not run
            self.witness.migration_began(status)
            broken = plan.fault is not None and not plan.when_reading
            self.out = None if broken else out

    @precondition(there)
    @rule()
    def suspend(self):
        before = fingerprint(self.vm)
        try:
            self.vm.suspend()
        except StateError:
            same_fingerprint(before, self.vm, "suspend")

    @rule(pause=pauses())
    def wait(self, pause):
        try:
            self.vm.advance(pause.seconds)
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

    @precondition(lambda self: there(self) and len(self.vm.events) > 12)
    @rule()
    def quit(self):
        status, since = self.vm.source.status.value, len(self.vm.events)
        told = Capability.EVENTS in self.vm.capabilities
        self.vm.quit()
        words = ["SHUTDOWN"]
        if told and status in RUNNING_STATUSES - {MigrationStatus.CANCELLING}:
            words.append("M cancelling")
        assert short(self.vm, since) == words

    @invariant()
    def promises_are_kept(self):
        if hasattr(self, "vm"):
            steps.counted(self)
            self.witness.check()
            if there(self):
                assert not self.vm.hmp("info migrate").startswith("Error")

    @invariant()
    def what_completed_loads(self):
        if not hasattr(self, "vm") or self.out is None or self.vm.exited is not None:
            return
        vm = self.vm
        if vm.source.status.value is not MigrationStatus.COMPLETED:
            return
        out, self.out = self.out, None
        steps.happened(self, "migrations completed")
        if vm.capabilities.enabled <= PLAIN_FILES:
            counters_are_bytes(vm, len(out.getvalue()))
            self.loads(out.getvalue())

    def loads(self, data):
        """The stream of a migration that completed loads, unless QEMU's own would not."""
        vm = self.vm
        if vm.strict and vm.run.state is not RunState.POSTMIGRATE:
            return  # the mode was changed in the middle, so that no run state was stored
        config = replace(
            vm.config,
            incoming="defer",
            workload=self.guest.workload.make(),
            devices=(counter_device(),),
            profile=Profile.SAFE,
        )
        with VM(config) as target:
            witness = Witness(target)
            try:
                target.load(MemoryInput(data))
            except MigsimError as error:
                if not vm.strict:
                    raise Violation("a stream that was completed does not load") from error
                return
            steps.happened(self, "streams loaded")
            witness.check()
            if vm.run.state is RunState.POSTMIGRATE:
                same_ram(vm, target)


OneMachine.TestCase.settings = steps.sized(ci=60, steps=30)
TestOneMachine = OneMachine.TestCase
