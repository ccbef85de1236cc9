"""Run states cell by cell: the command table of spec lifecycle.md section 2."""

from __future__ import annotations

import pytest
from vms import MIB, STRICT, V8_2, finish, make, put_into, short, waiting

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import AbortError, StateError
from migsim.guest.workloads import PageCounter
from migsim.qapi.enums import RunState
from migsim.testing.invariants import fingerprint

ERROR = "error"
STATES = [
    "running", "paused", "suspended", "prelaunch", "inmigrate", "finish-migrate", "postmigrate",
    "shutdown", "guest-panicked",
]  # fmt: skip
# For each command, the outcome per state above: the new state and the events, "-" for nothing at
# all, "error" for a refusal.  Transcribed from the table; "RESET" is sent in every state.
TABLE = {
    "stop": [
        "paused STOP", "-", "paused STOP", "-", "-", "-", "-", "-", "-",
    ],
    "cont": [
        "-", "running RESUME", "-", "running RESUME", "-", ERROR, "running RESUME", ERROR,
        "running RESUME",
    ],
    "system_wakeup": [
        ERROR, ERROR, "running WAKEUP", ERROR, ERROR, ERROR, ERROR, ERROR, ERROR,
    ],
    "system_reset": [
        "running RESET", "prelaunch RESET", "prelaunch RESET", "prelaunch RESET",
        "inmigrate RESET", "finish-migrate RESET", "prelaunch RESET", "prelaunch RESET",
        "prelaunch RESET",
    ],
    "system_powerdown": [f"{state} POWERDOWN" for state in STATES],
}  # fmt: skip
CELLS = [
    (command, state, outcome)
    for command, outcomes in TABLE.items()
    for state, outcome in zip(STATES, outcomes, strict=True)
]


def machine_in(state: str, **config):
    """Return a machine in ``state``, reached by commands where commands can reach it."""
    if state == "inmigrate":
        return waiting(**config)
    vm = make(start_stopped=state == "prelaunch", **config)
    match state:
        case "shutdown" | "guest-panicked":
            vm.run.set(RunState(state))
        case "finish-migrate":
            vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 4096})
            vm.ram["ram0"].view()[:] = 7
            vm.migrate(MemoryOutput())
            vm.advance(0.05)
            assert vm.source.status.value == "active"
        case "postmigrate":
            vm.save(MemoryOutput())
        case _:
            put_into(vm, state)
    assert vm.run.state == state
    return vm


@pytest.mark.parametrize(("command", "state", "outcome"), CELLS)
def test_command_in_state(command, state, outcome):
    vm = machine_in(state)
    since, before = len(vm.events), fingerprint(vm)
    if outcome == ERROR:
        with pytest.raises(StateError) as info:
            getattr(vm, command)()
        assert (info.value.command, info.value.state) == (command, state)
        assert fingerprint(vm) == before
        reply = vm.qmp(command)
        assert reply["error"]["class"] == "GenericError"
        assert vm.hmp(command).startswith("Error: ")
        return
    getattr(vm, command)()
    wanted, *events = [state] if outcome == "-" else outcome.split()
    assert vm.run.state == wanted
    assert short(vm, since) == events
    assert vm.query_status() == {"running": wanted == "running", "status": wanted}


MIGRATE = dict(zip(STATES, ["ok", "ok", "ok", "ok", ERROR, ERROR, ERROR, "ok", "ok"], strict=True))
"""The row of ``migrate``; finish-migrate is only reached while one runs."""


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
@pytest.mark.parametrize(("state", "outcome"), MIGRATE.items())
def test_migrate_in_state(state, outcome, mode):
    vm = machine_in(state)
    vm.set_parameters({"mode": mode})
    before = fingerprint(vm)
    if outcome == ERROR:
        with pytest.raises(StateError):
            vm.migrate(MemoryOutput())
        assert fingerprint(vm) == before
        assert vm.qmp("migrate", uri="file:/nowhere/x")["error"]["class"] == "GenericError"
        assert fingerprint(vm) == before
        return
    since = len(vm.events)
    vm.migrate(MemoryOutput())
    assert finish(vm) == "completed"
    assert vm.run.state == "postmigrate"
    assert ("STOP" in short(vm, since)) is (state in ("running", "suspended"))


@pytest.mark.parametrize("way", ["cont", "system_reset"])
def test_a_second_migration_after_postmigrate(way):
    vm = machine_in("postmigrate")
    with pytest.raises(StateError):
        vm.migrate(MemoryOutput())
    getattr(vm, way)()
    vm.save(MemoryOutput())
    assert vm.run.state == "postmigrate"


def test_a_suspended_guest_that_was_stopped_continues_suspended():
    vm = make()
    put_into(vm, "paused-suspended")
    assert vm.run.state == "paused"
    with pytest.raises(StateError):
        vm.system_wakeup()
    vm.cont()
    assert vm.run.state == "suspended"
    assert short(vm) == ["SUSPEND", "STOP", "RESUME"]
    vm.system_wakeup()
    assert vm.run.state == "running"


def test_cont_of_a_suspended_guest_after_a_migration():
    # QEMU's run state table has no way from postmigrate to suspended.
    safe, strict = make(), make(profile=STRICT)
    for vm in (safe, strict):
        vm.suspend()
        vm.save(MemoryOutput())
    safe.cont()
    assert safe.run.state == "suspended"
    assert short(safe)[-1] == "RESUME"
    with pytest.raises(AbortError) as info:
        strict.cont()
    assert info.value.signal == "SIGABRT"
    assert strict.exited.signal == "SIGABRT"
    with pytest.raises(StateError, match="ended"):
        strict.query_status()


def test_autostart_of_a_waiting_target():
    vm = machine_in("inmigrate")
    assert vm.run.autostart
    vm.stop()
    assert not vm.run.autostart
    vm.cont()
    assert vm.run.autostart


def test_reset_boots_the_guest_anew():
    vm = make(2 * MIB, workload=PageCounter(rate_pages_per_s=100.0, first=0, pages=10))
    vm.advance(1.0)
    assert vm.guest.writes == 100
    vm.system_reset()
    assert (vm.guest.writes, vm.run.state) == (0, "running")
    vm.advance(0.1)
    assert vm.guest.writes == 10


def counter(**config):
    """Return a machine whose guest suspends itself after 65 passes over 10 pages: 0.65 s."""
    work = PageCounter(rate_pages_per_s=1000.0, first=0, pages=10, suspends=True)
    return make(workload=work, **config)


@pytest.mark.parametrize("cuts", [[1.0], [0.25, 0.75], [0.65, 0.35], [0.1] * 10])
def test_a_guest_suspends_itself_at_its_own_moment(cuts):
    vm = counter()
    for span in cuts:
        vm.advance(span)
    (event,) = vm.events
    assert (event.name, event.time, vm.run.state) == ("SUSPEND", 0.65, "suspended")
    assert vm.guest.writes == 650
    vm.system_wakeup()
    vm.advance(0.01)
    assert vm.guest.writes == 10


def test_reset_of_a_guest_that_suspended_itself():
    vm = counter()
    vm.advance(1.0)
    vm.system_reset()
    assert vm.run.state == "prelaunch"
    vm.cont()
    vm.advance(0.5)
    assert (vm.run.state, vm.guest.writes) == ("running", 500)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_guest_that_suspended_itself_wakes_up_on_the_target_as_on_the_source(stopped):
    source, target = counter(), counter(incoming="defer")
    source.advance(1.0)
    if stopped:
        source.stop()
    out = MemoryOutput()
    source.save(out)
    target.load(MemoryInput(out.getvalue()))
    if stopped:
        target.cont()
    assert target.run.state == "suspended"
    target.advance(1.0)
    target.system_wakeup()
    target.advance(0.1)
    # It boots again, with a first pass of zeroes, and does not suspend a second time.
    assert target.guest.writes == 100
    target.advance(1.0)
    assert target.run.state == "running"


def test_suspended_guests_before_9_0():
    vm = make(release=V8_2)
    vm.suspend()
    since = len(vm.events)
    vm.stop()  # a suspended guest does not count as one that could be stopped
    assert (vm.run.state, short(vm, since)) == ("suspended", [])
    out = MemoryOutput()
    vm.save(out)
    # Migration wakes it up, and it arrives running.
    assert short(vm, since)[:2] == ["M setup", "P 1"]
    assert {"WAKEUP", "STOP"} <= set(short(vm, since))
    target = waiting(release=V8_2)
    target.load(MemoryInput(out.getvalue()))
    assert target.run.state == "running"


def test_commands_of_a_process_that_has_ended():
    vm = make()
    vm.quit()
    assert vm.exited.status == 0
    for command in ("stop", "cont", "query_migrate", "quit", "migrate_cancel"):
        with pytest.raises(StateError) as info:
            getattr(vm, command)()
        assert info.value.state == "exited"
    assert "error" in vm.qmp("query-status")
