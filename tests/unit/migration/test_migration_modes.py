"""What modes do: automatic resume, changes in the middle, strict traps (spec modes.md)."""

from __future__ import annotations

import pytest
from vms import (
    MIB,
    STRICT,
    V8_2,
    V10_0,
    fill,
    finish,
    like,
    make,
    put_into,
    short,
    wait,
    waiting,
)  # fmt: skip

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import (
    AbortError,
    CapabilityError,
    ChannelError,
    IncompatibleError,
    ParameterError,
    StateError,
)  # fmt: skip
from migsim.machine.config import Profile
from migsim.migration.notifiers import NotifyEvent, vfio_reboot_rule
from migsim.qapi.enums import MigMode, RunState
from migsim.stream.items import BlockInfo
from migsim.stream.outfile import OutFile
from migsim.stream.writer import StreamWriter
from migsim.testing.invariants import fingerprint
from migsim.vmstate.common import GLOBALSTATE, globalstate_values

# Guest's state at migrate; target's state with autostart; with -S or a stop while inmigrate.
RESUME = [
    ("running", "running", "paused"),
    ("paused", "paused", "paused"),
    ("suspended", "suspended", "paused"),
    ("prelaunch", "prelaunch", "prelaunch"),
    ("shutdown", "shutdown", "shutdown"),
]


def saved(mode, state, **config):
    vm = make(start_stopped=state == "prelaunch", **config)
    if state == "shutdown":
        vm.run.set(RunState.SHUTDOWN)
    put_into(vm, state)
    vm.set_parameters({"mode": mode})
    out = MemoryOutput()
    vm.save(out)
    return vm, MemoryInput(out.getvalue())


@pytest.mark.parametrize("how", ["autostart", "-S", "stop"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
@pytest.mark.parametrize(("state", "started", "held"), RESUME)
def test_automatic_resume(state, started, held, mode, how):
    vm, stream = saved(mode, state)
    target = like(vm, start_stopped=how == "-S")
    if how == "stop":
        target.stop()
    target.load(stream)
    assert target.run.state == (started if how == "autostart" else held)
    live = state in ("running", "suspended") and how == "autostart"
    assert ("RESUME" in short(target)) is live
    if state == "shutdown":
        with pytest.raises(StateError):
            target.cont()
        target.system_reset()
        assert target.run.state == "prelaunch"
        return
    target.cont()
    if state == "suspended":
        assert target.run.state == "suspended"
        target.system_wakeup()
    assert target.run.state == "running"


@pytest.mark.parametrize("state", ["paused", "prelaunch"])
def test_cont_while_inmigrate_does_not_start_a_guest_that_did_not_run(state):
    vm, stream = saved("normal", state)
    target = like(vm, start_stopped=True)
    target.cont()
    target.load(stream)
    assert target.run.state == state


def test_cont_while_inmigrate_overrules_dash_s():
    vm, stream = saved("normal", "running")
    target = like(vm, start_stopped=True)
    target.cont()
    target.load(stream)
    assert target.run.state == "running"


@pytest.mark.parametrize(("first", "second"), [("normal", "cpr-reboot"), ("cpr-reboot", "normal")])
def test_the_mode_is_not_part_of_the_stream(first, second):
    vm, stream = saved(first, "running")
    target = like(vm)
    target.set_parameters({"mode": second})
    target.load(stream)
    assert target.run.state == "running"
    assert target.parameters.mode is MigMode(second)


def test_without_globalstate_the_target_runs():
    vm = make(start_stopped=True, globals=(("store-global-state", "off"),))
    out = MemoryOutput()
    vm.save(out)
    target = like(vm, start_stopped=False)
    target.load(MemoryInput(out.getvalue()))
    assert target.run.state == "running"


# Mode changed in the middle.


def active(mode, state="running", **config):
    vm = make(16 * MIB, **config)
    put_into(vm, state)
    fill(vm, 256)
    vm.set_parameters({"mode": mode, "max-bandwidth": 65536})
    out = MemoryOutput()
    vm.migrate(out)
    vm.advance(0.25)
    return vm, out


@pytest.mark.parametrize(("first", "second"), [("normal", "cpr-reboot"), ("cpr-reboot", "normal")])
@pytest.mark.parametrize("state", ["running", "paused"])
def test_safe_profile_latches_the_mode(first, second, state):
    vm, out = active(first, state)
    vm.set_parameters({"mode": second, "max-bandwidth": 0})
    since = len(vm.events)
    assert finish(vm) == "completed"
    stops = first == "normal" and state == "running"
    assert ("STOP" in short(vm, since)) is stops
    assert vm.run.state == "postmigrate"
    target = like(vm)
    target.load(MemoryInput(out.getvalue()))
    assert target.run.state == state
    assert target.ram_sha256() == vm.ram_sha256()


def test_strict_normal_to_cpr_of_a_running_guest_aborts():
    vm, _ = active("normal", profile=STRICT)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 0})
    with pytest.raises(AbortError) as info:
        vm.run_until(lambda: not vm.source.running)
    assert (info.value.command, info.value.state) == ("migrate", "running")
    assert info.value.signal == vm.exited.signal == "SIGABRT"
    assert short(vm)[-1] == "M completed"


def test_strict_normal_to_cpr_of_a_paused_guest_makes_a_stream_without_a_run_state():
    vm, out = active("normal", "paused", profile=STRICT)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 0})
    assert finish(vm) == "completed"
    assert vm.run.state == "postmigrate"
    # Seen on 10.0.2: the run state is noted by the stop, and there was none.
    target = like(vm)
    with pytest.raises(IncompatibleError) as info:
        target.load(MemoryInput(out.getvalue()))
    assert info.value.section == "globalstate"


def test_strict_cpr_to_normal_stops_a_second_time():
    vm, out = active("cpr-reboot", profile=STRICT)
    vm.set_parameters({"mode": "normal", "max-bandwidth": 0})
    assert finish(vm) == "completed"
    info = vm.query_migrate()
    assert info["downtime"] < 10 < info["total-time"]
    # Seen on 10.0.2: the second stop notes finish-migrate, and that is how the target ends.
    target = like(vm)
    target.load(MemoryInput(out.getvalue()))
    assert target.run.state == "finish-migrate"


@pytest.mark.parametrize("profile", [STRICT, None])
def test_release_8_2_stops_at_the_end_in_every_mode(profile):
    config = {"release": V8_2} | ({"profile": profile} if profile else {})
    vm, _ = active("cpr-reboot", **config)
    assert vm.run.state == "running"
    vm.set_parameters({"max-bandwidth": 0})
    assert finish(vm) == "completed"
    assert short(vm)[-3:] == ["STOP", "P 3", "M completed"]
    assert vm.run.state == "postmigrate"


@pytest.mark.parametrize("capability", ["x-colo", "background-snapshot", "dirty-bitmaps"])
def test_release_8_2_does_not_refuse_combinations_with_cpr(capability):
    for release, refused in ((V8_2, False), (V10_0, True)):
        vm = make(release=release)
        vm.set_parameters({"mode": "cpr-reboot"})
        vm.set_capabilities([(capability, True)])
        before = fingerprint(vm)
        if not refused and capability != "x-colo":
            vm.save(MemoryOutput())
            continue
        with pytest.raises(CapabilityError) as info:
            vm.migrate(MemoryOutput())
        assert (info.value.conflict == "cpr-reboot") is refused
        assert fingerprint(vm) == before


@pytest.mark.parametrize("mode", ["cpr-transfer"])
def test_modes_that_need_more_than_a_file(mode):
    vm = make()
    vm.set_parameters({"mode": mode})
    assert vm.query_migrate() == {}
    before = fingerprint(vm)
    with pytest.raises(CapabilityError) as info:
        vm.migrate("file:/dev/null")
    assert (info.value.name, info.value.conflict) == ("mode", "file")
    assert fingerprint(vm) == before


def test_query_after_a_migration_looks_at_the_mode_of_the_moment():
    vm = make()
    vm.save(MemoryOutput())
    assert vm.query_migrate()["ram"]["total"] == MIB
    vm.set_parameters({"mode": "cpr-transfer"})
    assert vm.query_migrate()["ram"]["total"] == 0  # seen on 10.0.2
    assert "total ram: 0 kbytes" in vm.hmp("info migrate")


# Strict traps of the incoming side.


def test_missing_source_leaves_strict_in_setup_for_good(tmp_path):
    target = waiting(profile=STRICT)
    with pytest.raises(ChannelError):
        target.migrate_incoming(f"file:{tmp_path}/missing")
    assert target.query_migrate()["status"] == "setup"
    with pytest.raises(StateError) as info:
        target.load(saved("normal", "running")[1])
    assert (info.value.state, info.value.wanted) == ("setup", ("none",))


def test_missing_source_leaves_safe_as_it_was(tmp_path):
    target = waiting()
    before = fingerprint(target)
    with pytest.raises(ChannelError) as info:
        target.migrate_incoming(f"file:{tmp_path}/missing")
    assert (info.value.operation, info.value.errno) == ("open", 2)
    assert short(target) == ["M setup"]
    assert fingerprint(target) | {"events": 0} == before
    target.load(saved("normal", "running")[1])
    assert target.run.state == "running"


def test_after_a_failed_load():
    stream = saved("normal", "running")[1]
    for profile, again in ((STRICT, False), (None, True)):
        target = waiting(**({"profile": profile} if profile else {}))
        target.migrate_incoming(MemoryInput(b"\0" * 64), exit_on_error=False)
        finish(target)
        assert target.query_migrate()["status"] == "failed"
        target.cont()
        target.stop()
        target.cont()
        assert target.run.state == "inmigrate"
        with pytest.raises(StateError):
            target.migrate(MemoryOutput())
        if again:
            with pytest.raises(ParameterError):
                target.migrate_incoming("nonsense:x")
            with pytest.raises(ChannelError):
                target.migrate_incoming("file:/missing/state")
            assert target.query_migrate()["status"] == "failed"
            target.load(stream)
            assert target.run.state == "running"
        else:
            with pytest.raises(StateError):
                target.migrate_incoming(stream)
            assert target.query_migrate()["status"] == "failed"
        target.quit()
        assert target.exited.status == 0


def test_a_failed_load_ends_the_process_unless_told_otherwise():
    target = waiting()
    target.migrate_incoming(MemoryInput(b"bad"))
    target.run_until(lambda: target.exited is not None)
    assert target.exited.status == 1
    assert "header" in target.exited.reason


def stream_that_stores(state: str) -> MemoryInput:
    out = MemoryOutput()
    writer = StreamWriter(OutFile(out))
    writer.header()
    writer.configuration("none")
    writer.ram_setup(1, [BlockInfo("ram0", MIB)])
    writer.device(3, "globalstate", 0, GLOBALSTATE, globalstate_values(state))
    writer.finish()
    return MemoryInput(out.getvalue())


SAME = [
    "paused", "prelaunch", "postmigrate", "suspended", "shutdown", "inmigrate", "finish-migrate",
    "io-error", "guest-panicked", "colo", "internal-error", "watchdog",
]  # fmt: skip


@pytest.mark.parametrize("state", SAME)
def test_stored_states_that_are_entered(state):
    target = waiting()
    target.load(stream_that_stores(state))
    assert target.run.state == state


@pytest.mark.parametrize("state", ["save-vm", "debug", "restore-vm"])
def test_stored_states_that_cannot_be_entered(state):
    strict, safe = waiting(profile=STRICT), waiting()
    with pytest.raises(AbortError):
        strict.load(stream_that_stores(state))
    assert strict.exited.signal == "SIGABRT"
    before = safe.ram_sha256()
    with pytest.raises(IncompatibleError) as info:
        safe.load(stream_that_stores(state))
    assert info.value.section == "globalstate"
    assert (safe.ram_sha256(), safe.run.state) == (before, "inmigrate")


@pytest.mark.parametrize("state", ["", "nonsense", "Running"])
def test_unknown_stored_states(state):
    for profile in (STRICT, Profile.SAFE):
        with pytest.raises(IncompatibleError):
            waiting(profile=profile).load(stream_that_stores(state))


# Notifiers.


def listener(vm, *modes, veto=None):
    heard = []

    def told(notice):
        heard.append((notice.event.value, notice.mode.value, notice.runstate.value))
        return veto

    vm.notifiers.add("listener", told, [MigMode(mode) for mode in modes])
    return heard


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_each_mode_has_its_own_list(mode):
    vm = make()
    normal, reboot = listener(vm, "normal"), listener(vm, "cpr-reboot")
    vm.set_parameters({"mode": mode})
    vm.save(MemoryOutput())
    told, silent = (normal, reboot) if mode == "normal" else (reboot, normal)
    # SETUP comes before the early stop.
    assert told == [("setup", mode, "running"), ("done", mode, "postmigrate")]
    assert silent == []


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_failed_covers_cancelled(mode):
    vm = make(16 * MIB)
    fill(vm, 256)
    heard = listener(vm, mode)
    vm.set_parameters({"mode": mode, "max-bandwidth": 65536})
    vm.migrate(MemoryOutput())
    vm.advance(0.2)
    vm.migrate_cancel()
    finish(vm)
    assert [event for event, *_ in heard] == ["setup", "failed"]
    assert heard[-1][2] == "running"


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_veto_leaves_the_guest_untouched(mode):
    vm = make()
    first, second = listener(vm, mode, veto="not now"), listener(vm, mode)
    vm.set_parameters({"mode": mode})
    vm.migrate(MemoryOutput())
    assert short(vm) == ["M setup", "M failed"]
    assert vm.run.state == "running"
    info = vm.query_migrate()
    assert info["status"] == "failed"
    assert "not now" in info["error-desc"]
    assert (vm.source.error.device, vm.source.error.phase) == ("listener", "setup")
    assert [event for event, *_ in first] == ["setup", "failed"]
    assert [event for event, *_ in second] == ["failed"]
    vm.notifiers.remove("listener")
    vm.save(MemoryOutput())


def test_only_setup_may_veto():
    vm = make()
    vm.notifiers.add(
        "late", lambda notice: "no" if notice.event is NotifyEvent.DONE else None, list(MigMode)
    )
    vm.save(MemoryOutput())


def test_before_9_0_there_is_one_list_and_no_veto():
    vm = make(release=V8_2)
    heard = listener(vm, "normal", veto="no")
    vm.set_parameters({"mode": "cpr-reboot"})
    vm.save(MemoryOutput())
    assert [event for event, *_ in heard] == ["setup", "done"]


@pytest.mark.parametrize(
    ("state", "mode", "status"),
    [
        ("running", "cpr-reboot", "failed"),
        ("paused", "cpr-reboot", "failed"),
        ("suspended", "cpr-reboot", "completed"),
        ("paused-suspended", "cpr-reboot", "completed"),
        ("running", "normal", "completed"),
    ],
)
def test_the_vfio_rule(state, mode, status):
    vm = make()
    vm.notifiers.add("vfio", vfio_reboot_rule, [MigMode.CPR_REBOOT])
    put_into(vm, state)
    was = vm.run.state
    vm.set_parameters({"mode": mode})
    vm.migrate(MemoryOutput())
    if vm.source.running:
        finish(vm)
    assert vm.query_migrate()["status"] == status
    assert vm.run.state == ("postmigrate" if status == "completed" else was)


def test_strict_tells_the_list_of_the_mode_of_the_moment():
    for profile, told in ((STRICT, ["setup"]), (None, ["setup", "done"])):
        vm, _ = active("cpr-reboot", **({"profile": profile} if profile else {}))
        del vm
        vm = make(16 * MIB, **({"profile": profile} if profile else {}))
        fill(vm, 256)
        heard = listener(vm, "cpr-reboot")
        vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 65536})
        vm.migrate(MemoryOutput())
        vm.advance(0.2)
        vm.set_parameters({"mode": "normal", "max-bandwidth": 0})
        finish(vm)
        assert [event for event, *_ in heard] == told


def test_cont_and_wakeup_during_a_cpr_transfer_are_refused():
    vm, _ = active("cpr-reboot")
    for command in ("cont", "system_wakeup"):
        with pytest.raises(StateError) as info:
            getattr(vm, command)()
        assert info.value.state == "finish-migrate"
    vm.stop()
    vm.system_reset()
    assert vm.run.state == "finish-migrate"
    assert short(vm)[-1] == "RESET"
    vm.migrate_cancel()
    finish(vm)
    assert vm.run.state == "running"


def test_a_cpr_guest_dirties_nothing_after_stop():
    from migsim.guest.workloads import SequentialSweep

    vm = make(16 * MIB, workload=SequentialSweep(0, 4000, rate_pages_per_s=50000.0))
    vm.advance(0.5)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 20 * MIB})
    vm.migrate(MemoryOutput())
    writes, digest = vm.guest.writes, vm.ram_sha256()
    wait(vm, "completed")
    assert (vm.guest.writes, vm.ram_sha256()) == (writes, digest)
    ram = vm.query_migrate()["ram"]
    assert ram["normal"] + ram["duplicate"] == 4096
    assert ram["precopy-bytes"] == 0
