"""background-snapshot with generated guests: the moment of its start is what is saved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vms import PAGE, fill, fill_by_page_number, make, short, waiting

from migsim.channel.counting import CountingOutput
from migsim.channel.faults import Fault, FaultKind, FaultyOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import AbortError
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig, Profile
from migsim.machine.timing import HostTiming
from migsim.qapi.enums import RunState
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.testing.strategies import workload_plans
from migsim.vm import VM

PAGES = 64
GUESTS = workload_plans(PAGES, first=1, kinds=("sweep", "uniform", "hot", "counter"))
SLOW = HostTiming(normal_page_s=8e-3, zero_page_s=4e-3)
"""A few pages a step, so that the guest writes between them."""


def machine(guest, **config) -> VM:
    memory = BackendSpec(BackendKind.RAM, "ram0", PAGES * PAGE)
    vm = VM(MachineConfig(memory=memory, workload=guest.make(), timing=SLOW, **config))
    vm.set_capabilities([("events", True)])
    return vm


def snapshot_on(vm: VM, *more: str) -> None:
    vm.set_capabilities([(name, True) for name in ("background-snapshot", *more)])


def frozen(vm: VM) -> bool:
    return vm.run.state is RunState.PAUSED


@given(
    GUESTS,
    st.booleans(),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.sampled_from([Release.V10_0, Release.V11_1]),
)
def test_the_moment_is_saved(guest, mapped, before_s, after_s, release) -> None:
    out = MemoryOutput()
    with machine(guest, release=release) as vm, machine(guest, incoming="defer") as target:
        vm.advance(before_s)
        more = ("mapped-ram",) if mapped else ()
        snapshot_on(vm, *more)
        vm.migrate(out)
        vm.run_until(lambda: frozen(vm))
        moment, time_ps = vm.ram_sha256(), vm.guest.time_ps
        vm.run_until(lambda: not vm.source.running)
        assert vm.source.error is None
        assert short(vm) == ["M setup", "M active", "STOP", "RESUME", "M completed"]
        assert vm.run.state is RunState.RUNNING
        assert vm.query_migrate()["ram"]["dirty-sync-count"] == 0
        assert vm.query_migrate()["ram"]["remaining"] == 0
        if more:
            target.set_capabilities([(name, True) for name in more])
        target.load(MemoryInput(out.getvalue()))
        assert target.ram_sha256() == moment
        assert target.guest.time_ps == time_ps
        target.advance(after_s)
        for one in (target, vm):  # neither guest lost anything
            with machine(guest) as twin:
                twin.guest.run_ps(one.guest.time_ps)
                assert one.ram_sha256() == twin.ram_sha256()


@given(GUESTS, st.integers(0, PAGES))
def test_cancelled_at_any_step(guest, steps) -> None:
    with machine(guest) as vm:
        snapshot_on(vm)
        vm.migrate(MemoryOutput())
        for _ in range(steps):
            if vm.source.running:
                vm.advance(0.004)
        vm.migrate_cancel()
        if vm.source.running:
            vm.run_until(lambda: not vm.source.running)
        assert vm.run.state is RunState.RUNNING
        assert vm.source.status.value in ("cancelled", "completed")
        assert all(block.watch is None for block in vm.ram)
        assert short(vm).count("RESUME") == short(vm).count("STOP")
        vm.save(MemoryOutput())  # and again


@given(GUESTS, st.integers(0, 80_000))
def test_a_full_disk_leaves_the_guest_running(guest, limit) -> None:
    fault = Fault(limit, FaultKind.NO_SPACE)
    with machine(guest) as vm:
        fill_by_page_number(vm)
        snapshot_on(vm)
        vm.migrate(FaultyOutput(MemoryOutput(), fault))
        vm.run_until(lambda: not vm.source.running)
        assert vm.source.status.value == "failed"
        assert vm.run.state is RunState.RUNNING
        assert vm.ram["ram0"].watch is None


def test_pages_that_the_guest_writes_go_first() -> None:
    """What is written to is saved before what the scan has not reached."""
    with make(64 * PAGE, timing=SLOW) as vm, waiting(64 * PAGE) as target:
        fill(vm, 64, value=3)
        snapshot_on(vm)
        out = MemoryOutput()
        vm.migrate(out)
        vm.run_until(lambda: "RESUME" in short(vm))
        vm.ram["ram0"].about_to_write(np.array([60, 60, 7]))
        fill(vm, 64, value=9)  # unannounced for all others
        vm.ram["ram0"].about_to_write_range(0, 64)
        vm.run_until(lambda: not vm.source.running)
        target.load(MemoryInput(out.getvalue()))
        view = target.ram["ram0"].view()
        assert (view[60] == 3).all()
        assert (view[7] == 3).all()
        assert (view[63] == 9).all()


def test_bitmaps_alone_are_counted() -> None:
    memory = BackendSpec(BackendKind.PHANTOM, "ram0", 1 << 34)
    config = MachineConfig(
        memory=memory, workload=Uniform(0, PAGES - 1, rate_pages_per_s=9e3, seed=1)
    )
    with VM(config) as vm:
        vm.advance(1.0)
        snapshot_on(vm)
        answer = vm.save(CountingOutput())
        assert answer["ram"]["duplicate"] + answer["ram"]["normal"] == (1 << 34) // PAGE
        assert answer["ram"]["normal"] == PAGES


@pytest.mark.parametrize("state", ["paused", "suspended", "prelaunch"])
def test_a_guest_that_does_not_run_keeps_its_state(state, tmp_path) -> None:
    config = {"start_stopped": True} if state == "prelaunch" else {}
    with make(64 * PAGE, **config) as vm, waiting(64 * PAGE) as target:
        if state == "paused":
            vm.stop()
        elif state == "suspended":
            vm.suspend()
        snapshot_on(vm)
        vm.save(f"file:{tmp_path}/state")
        assert vm.run.state.value == state
        target.load(f"file:{tmp_path}/state")
        assert target.run.state.value == state


def test_qemu_aborts_on_a_guest_that_never_ran() -> None:
    """Seen on 10.0.2: invalid runstate transition prelaunch -> paused."""
    with make(64 * PAGE, start_stopped=True, profile=Profile.STRICT) as vm:
        snapshot_on(vm)
        vm.migrate(MemoryOutput())
        with pytest.raises(AbortError):
            vm.run_until(lambda: not vm.source.running)


def test_two_in_a_row_and_a_plain_save(tmp_path) -> None:
    with make(64 * PAGE) as vm:
        snapshot_on(vm)
        vm.save(f"file:{tmp_path}/one")
        vm.save(f"file:{tmp_path}/two")
        vm.set_capabilities([("background-snapshot", False)])
        vm.save(f"file:{tmp_path}/three")
        assert vm.run.state is RunState.POSTMIGRATE
