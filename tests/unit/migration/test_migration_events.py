"""Order of events: lifecycle.md section 3 row by row, and what 8.2 and 11.1 do differently."""

from __future__ import annotations

import pytest
from vms import MIB, V8_2, V10_0, V11_1, fill, finish, like, make, put_into, short, wait

from migsim.channel.faults import Fault, FaultyOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import ChannelError
from migsim.guest.workloads import Uniform
from migsim.qapi.enums import MigrationStatus

STATES = ["running", "paused", "suspended", "prelaunch"]
LIVE = ("running", "suspended")


def started_in(state: str, **config):
    vm = make(start_stopped=state == "prelaunch", **config)
    put_into(vm, state)
    return vm


def source_events(mode: str, state: str, release=V10_0, *, pause=False) -> list[str]:
    """Return the expected events of a short successful migration, from the table's rows."""
    early = mode == "cpr-reboot" and release != V8_2
    stop = ["STOP"] if state in LIVE else []
    if release == V8_2 and state == "suspended":
        stop = ["WAKEUP", "STOP"]
    passes = ["M active", "P 2"] if release == V11_1 else ["P 1", "M active"]
    last = [] if release == V11_1 else ["P 2"]
    device = ["M device"] if release != V8_2 or pause else []
    switch = (["M pre-switchover"] if pause else []) + device
    stops = (stop, []) if early else ([], stop)
    return ["M setup", *stops[0], *passes, *stops[1], *switch, *last, "M completed"]


def target_events(state: str) -> list[str]:
    resume = ["RESUME"] if state in LIVE else []
    return ["M setup", "M active", *resume, "M completed"]


@pytest.mark.parametrize("release", [V8_2, V10_0, V11_1], ids=str)
@pytest.mark.parametrize("pause", [False, True], ids=["straight", "pause"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_successful_migration(mode, state, pause, release):
    vm = started_in(state, release=release)
    vm.set_parameters({"mode": mode})
    vm.set_capabilities([("pause-before-switchover", pause)])
    since, out = len(vm.events), MemoryOutput()
    vm.migrate(out)
    if pause:
        wait(vm, "pre-switchover")
        assert vm.run.state == "finish-migrate"
        vm.advance(5.0)
        assert short(vm, since)[-1] == "M pre-switchover"
        vm.migrate_continue(MigrationStatus.PRE_SWITCHOVER)
    assert finish(vm) == "completed"
    assert short(vm, since) == source_events(mode, state, release, pause=pause)
    assert vm.run.state == "postmigrate"

    target = like(vm, start_stopped=False)
    target.load(MemoryInput(out.getvalue()))
    woken = release == V8_2 and state == "suspended"
    assert short(target) == target_events("running" if woken else state)
    assert target.run.state == ("running" if woken else state)


def test_the_tables_own_rows():
    """The rows as the specification spells them, against the function above."""
    normal = ["M setup", "P 1", "M active", "STOP", "M device", "P 2", "M completed"]
    assert source_events("normal", "running") == normal
    cpr = ["M setup", "STOP", "P 1", "M active", "M device", "P 2", "M completed"]
    assert source_events("cpr-reboot", "suspended") == cpr
    later = ["M setup", "STOP", "M active", "P 2", "M device", "M completed"]
    assert source_events("cpr-reboot", "running", V11_1) == later


def test_passes_in_between():
    vm = make(16 * MIB, workload=Uniform(0, 4000, rate_pages_per_s=4000.0, seed=1))
    vm.ram["ram0"].view()[:] = 1
    vm.set_parameters({"max-bandwidth": 25 * MIB, "downtime-limit": 100})
    vm.migrate(MemoryOutput())
    assert finish(vm) == "completed"
    words = short(vm)
    count = vm.query_migrate()["ram"]["dirty-sync-count"]
    assert count > 4
    passes = [f"P {n}" for n in range(2, count)]
    head = ["M setup", "P 1", "M active"]
    assert words == [*head, *passes, "STOP", "M device", f"P {count}", "M completed"]


def active(mode="normal", state="running", **config):
    """Return a machine with a migration that stays active, and where its events begin."""
    vm = started_in(state, size=16 * MIB, **config)
    fill(vm, 256)
    vm.set_parameters({"mode": mode, "max-bandwidth": 65536})
    since = len(vm.events)
    vm.migrate(MemoryOutput())
    vm.advance(0.25)
    assert vm.source.status.value == "active"
    return vm, since


BEGIN = {
    # (mode, guest live): events up to active
    ("normal", True): ["M setup", "P 1", "M active"],
    ("normal", False): ["M setup", "P 1", "M active"],
    ("cpr-reboot", True): ["M setup", "STOP", "P 1", "M active"],
    ("cpr-reboot", False): ["M setup", "P 1", "M active"],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_cancel(mode, state):
    vm, since = active(mode, state)
    vm.migrate_cancel()
    assert vm.query_migrate()["status"] == "cancelling"
    assert finish(vm) == "cancelled"
    live = state in LIVE
    resume = ["RESUME"] if mode == "cpr-reboot" and live else []
    assert short(vm, since) == [*BEGIN[mode, live], "M cancelling", *resume, "M cancelled"]
    assert vm.run.state == state
    assert not vm.ram["ram0"].log.active
    vm.migrate_cancel()  # accepted, and without effect
    assert vm.query_migrate()["status"] == "cancelled"


@pytest.mark.parametrize("release", [V10_0, V11_1], ids=str)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_write_error(mode, state, release):
    vm = started_in(state, release=release)
    fill(vm, 200)
    vm.set_parameters({"mode": mode})
    since = len(vm.events)
    vm.migrate(FaultyOutput(MemoryOutput(), Fault(100_000)))
    assert finish(vm) == "failed"
    resume = ["RESUME"] if mode == "cpr-reboot" and state in LIVE else []
    begin = BEGIN[mode, state in LIVE]
    if release == V11_1:
        begin = [word for word in begin if word != "P 1"]
        ends = ["M failing", *resume, "M failed"]
    else:
        ends = ["M failed", *resume]  # the opposite order of cancel
    assert short(vm, since) == [*begin, *ends]
    assert vm.run.state == state
    assert set(vm.query_migrate()) == {"status", "error-desc"}
    assert vm.source.error.operation == "write"


def test_a_setup_that_breaks_becomes_active_first():
    vm = make()
    vm.migrate(FaultyOutput(MemoryOutput(), Fault(10)))
    assert finish(vm) == "failed"
    assert short(vm)[-2:] == ["M active", "M failed"]


@pytest.mark.parametrize("release", [V10_0, V11_1], ids=str)
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_channel_that_cannot_be_opened(mode, release, tmp_path):
    vm = make(release=release)
    vm.set_parameters({"mode": mode})
    with pytest.raises(ChannelError) as info:
        vm.migrate(f"file:{tmp_path}/missing/state")
    assert (info.value.operation, info.value.errno) == ("open", 2)
    assert str(tmp_path) in info.value.uri
    failing = ["M failing"] if release == V11_1 else []
    assert short(vm) == ["M setup", *failing, "M failed"]
    assert vm.run.state == "running"
    reply = vm.qmp("migrate", uri=f"file:{tmp_path}/missing/state")
    assert reply["error"]["class"] == "GenericError"
    vm.save(MemoryOutput())  # nothing is stuck


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_cancel_in_pre_switchover(mode):
    vm = make()
    vm.set_parameters({"mode": mode})
    vm.set_capabilities([("pause-before-switchover", True)])
    vm.migrate(MemoryOutput())
    wait(vm, "pre-switchover")
    vm.migrate_cancel()
    assert finish(vm) == "cancelled"
    assert short(vm)[-4:] == ["M pre-switchover", "M cancelling", "RESUME", "M cancelled"]
    assert vm.run.state == "running"


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_quit_while_active(mode):
    vm, since = active(mode)
    vm.quit()
    assert short(vm, since) == [*BEGIN[mode, True], "SHUTDOWN", "M cancelling"]
    assert vm.exited.status == 0


def test_cancel_before_the_first_step():
    vm = make()
    vm.set_parameters({"mode": "cpr-reboot"})
    vm.migrate(MemoryOutput())
    vm.migrate_cancel()
    assert finish(vm) == "cancelled"
    assert short(vm) == ["M setup", "STOP", "M cancelling", "RESUME", "M cancelled"]


def test_without_the_capability_only_the_guest_is_heard_of():
    vm = make(events=False)
    out = MemoryOutput()
    vm.save(out)
    assert short(vm) == ["STOP"]
    target = like(vm)
    target.set_capabilities([("events", False)])
    target.load(MemoryInput(out.getvalue()))
    assert short(target) == ["RESUME"]


def test_a_load_that_fails():
    target = make(incoming="defer")
    target.migrate_incoming(MemoryInput(b"nonsense"), exit_on_error=False)
    assert finish(target) == "failed"
    assert short(target) == ["M setup", "M active", "M failed"]
    assert target.run.state == "inmigrate"


def test_qmp_form_of_events():
    vm = make()
    vm.advance(2.5)
    vm.save(MemoryOutput())
    messages = vm.qmp_events()
    first, stop = messages[0], messages[3]
    stamp = {"seconds": 2, "microseconds": 500000}
    assert first == {"timestamp": stamp, "event": "MIGRATION", "data": {"status": "setup"}}
    assert stop["event"] == "STOP"
    assert "data" not in stop
    assert messages[1]["data"] == {"pass": 1}
    assert vm.qmp_events() == []


def test_user_pauses_the_guest_in_the_middle():
    vm, since = active()
    vm.stop()
    vm.set_parameters({"max-bandwidth": 0})
    assert finish(vm) == "completed"
    words = short(vm, since)
    assert words[:4] == ["M setup", "P 1", "M active", "STOP"]
    assert words.count("STOP") == 1
    out = MemoryOutput()
    vm.cont()
    vm.stop()
    vm.save(out)
    target = like(vm)
    target.load(MemoryInput(out.getvalue()))
    assert target.run.state == "paused"
