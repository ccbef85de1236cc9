"""What a machine is built from, and how time passes in it."""

from __future__ import annotations

import itertools

import pytest
from vms import MIB, V8_2, V10_0, V11_1, fill, finish, make, short, waiting

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.clock import VirtualClock, WallClock, picoseconds
from migsim.errors import ConfigError, StateError
from migsim.guest.workloads import SequentialSweep
from migsim.machine.config import MachineConfig
from migsim.machine.timing import HostTiming
from migsim.machine.types import machine_type
from migsim.migration.work import Phase, Work
from migsim.stream.items import Command
from migsim.stream.reader import StreamReader
from migsim.stream.wire import CommandKind
from migsim.vm import VM


@pytest.mark.parametrize(
    ("name", "release", "concrete"),
    [
        ("q35", V10_0, "pc-q35-10.0"),
        ("pc", V8_2, "pc-i440fx-8.2"),
        ("pc", V11_1, "pc-i440fx-11.1"),
        ("pc-q35-9.2", V10_0, "pc-q35-9.2"),
        ("none", V10_0, "none"),
        ("microvm", V10_0, "microvm"),
    ],
)
def test_machine_names(name, release, concrete):
    assert machine_type(name, release).name == concrete


@pytest.mark.parametrize("name", ["pc-q35-10.1", "pc-q35-", "virt", "", "pc-q35-x"])
def test_machines_that_are_not_there(name):
    with pytest.raises((ConfigError, StateError, ValueError, Exception)) as info:
        machine_type(name, V10_0)
    assert type(info.value).__name__ in ("ConfigError", "ParameterError")


def commands_in(vm) -> list[int]:
    out = MemoryOutput()
    vm.save(out)
    items = StreamReader(MemoryInput(out.getvalue()))
    return [item.number for item in items if isinstance(item, Command)]


@pytest.mark.parametrize(
    ("config", "announced"),
    [
        ({}, True),
        ({"release": V8_2}, False),
        ({"release": V11_1}, True),
        ({"machine": "pc-q35-9.2"}, False),
        ({"machine": "pc-q35-10.0"}, True),
        ({"globals": (("send-switchover-start", "off"),)}, False),
        ({"machine": "pc-q35-9.2", "globals": (("send-switchover-start", "on"),)}, True),
    ],
)
def test_the_switchover_is_announced_from_10_0_on(config, announced):
    wanted = [int(CommandKind.SWITCHOVER_START)] if announced else []
    assert commands_in(make(events=False, **config)) == wanted


def test_old_machine_types_bring_their_properties():
    assert make(machine="pc-q35-8.2").parameters.zero_page_detection == "legacy"
    assert make(machine="pc-q35-9.0").parameters.zero_page_detection == "multifd"


def test_globals_set_parameters_and_capabilities():
    vm = make(
        events=False,
        globals=(("x-max-bandwidth", "1000000"), ("mode", "cpr-reboot"), ("x-events", "on")),
    )
    assert vm.parameters.max_bandwidth == 1_000_000
    assert vm.parameters.mode == "cpr-reboot"
    vm.save(MemoryOutput())
    assert "M setup" in short(vm)


def test_description_can_be_left_out():
    streams = []
    for suppress in (False, True):
        out = MemoryOutput()
        make(suppress_vmdesc=suppress).save(out)
        streams.append(out.getvalue())
    assert streams[0].startswith(streams[1])
    assert streams[0][len(streams[1])] == 0x06
    waiting().load(MemoryInput(streams[1]))


@pytest.mark.parametrize("release", [V8_2, V10_0, V11_1])
def test_a_stream_of_one_release_loads_in_another(release):
    out = MemoryOutput()
    source = make(release=release)
    fill(source, 9)
    source.save(out)
    for other in (V8_2, V10_0, V11_1):
        target = waiting(release=other)
        target.load(MemoryInput(out.getvalue()))
        assert target.ram_sha256() == source.ram_sha256()
        assert target.run.state == "running"


def test_starting_stopped():
    assert make(start_stopped=True).run.state == "prelaunch"
    assert make().run.state == "running"
    assert waiting(start_stopped=True).run.state == "inmigrate"


# Time.


def test_picoseconds_add_up():
    clock = VirtualClock(0.1)
    clock.sleep(0.2)
    assert clock.now == 0.3
    for _ in range(1000):
        clock.sleep(0.001)
    assert clock.now == 1.3
    assert clock.now_ps == 1_300_000_000_000
    clock.set(1.3)
    for backwards in (lambda: clock.set(1.29), lambda: clock.sleep(-0.1)):
        with pytest.raises(ValueError, match="backwards"):
            backwards()
    assert picoseconds(1e-12) == 1


@pytest.mark.parametrize("start", [0.0, 0.1, 1000.1, 3e6])
def test_time_can_be_cut_anywhere_wherever_the_clock_stands(start):
    ends = []
    for cuts in ([0.7], [0.1] * 7, [0.35, 0.2, 0.15]):
        work = SequentialSweep(0, 255, rate_pages_per_s=977.0)
        config = make(workload=work).config
        vm = VM(config, clock=VirtualClock(start))
        vm.set_capabilities([("events", True)])
        fill(vm, 256)
        vm.set_parameters({"max-bandwidth": 3 * MIB})
        out = MemoryOutput()
        vm.migrate(out)
        for cut in cuts:
            vm.advance(cut)
        ends.append((vm.events, out.getvalue(), vm.guest.get_state(), vm.clock.now))
        assert len(out.getvalue()) > 300_000
    assert all(end == ends[0] for end in ends)


def test_run_until_stops_at_its_limit():
    vm = make(16 * MIB)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": 65536})
    vm.migrate(MemoryOutput())
    with pytest.raises(StateError, match="not done"):
        vm.run_until(lambda: not vm.source.running, 0.5)
    assert vm.clock.now == 0.5
    vm.migrate_cancel()
    finish(vm)
    with pytest.raises(StateError):
        vm.run_until(lambda: False)


def test_run_until_does_not_wait_for_a_command_that_nobody_gives():
    vm = make()
    vm.set_capabilities([("pause-before-switchover", True)])
    vm.migrate(MemoryOutput())
    with pytest.raises(StateError, match="waits for a command"):
        vm.run_until(lambda: not vm.source.running)
    assert vm.clock.now < 1.0


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(), 0.0),
        (Work(normal_pages=1000), 0.001),
        (Work(zero_pages=1000), 0.0005),
        (Work(normal_pages=1000, bytes_out=10_000_000), 0.01),
        (Work(normal_pages=1000, bytes_out=1000), 0.001),
        (Work(synced_pages=10**6), 0.01),
        (Work(loaded_bytes=10**6), 0.002),
        (Work(phase=Phase.STOP), 0.25),
    ],
)
def test_what_work_costs(work, seconds):
    timing = HostTiming(
        normal_page_s=1e-6,
        zero_page_s=5e-7,
        sync_page_s=1e-8,
        load_byte_s=2e-9,
        stop_s=0.25,
        link_bytes_per_s=1e9,
    )
    assert timing.seconds(work) == pytest.approx(seconds)


def test_a_slow_link_slows_the_migration():
    times = []
    for link in (None, 1e6):
        vm = make(timing=HostTiming(link_bytes_per_s=link))
        fill(vm, 256)
        times.append(vm.save(MemoryOutput())["total-time"])
    assert times[0] < 20
    assert 1000 < times[1] < 1200


def test_work_that_costs_nothing():
    free = {field: 0.0 for field in HostTiming.__dataclass_fields__ if field.endswith("_s")}
    timing = HostTiming(**(free | {"link_bytes_per_s": None}))
    vm = make(timing=timing, workload=SequentialSweep(0, 99, rate_pages_per_s=1e6))
    fill(vm, 256)
    vm.save(MemoryOutput())
    assert vm.clock.now == 0.0


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_real_time(mode):
    work = SequentialSweep(0, 255, rate_pages_per_s=2000.0)
    vm = VM(MachineConfig(memory=make().config.memory, workload=work), clock=WallClock())
    vm.advance(0.05)
    writes = vm.guest.writes
    assert writes >= 90
    vm.set_parameters({"mode": mode, "max-bandwidth": 4 * MIB})
    out = MemoryOutput()
    vm.migrate(out)
    vm.run_until(lambda: not vm.source.running, 20.0)
    assert vm.query_migrate()["status"] == "completed"
    assert vm.query_migrate()["ram"]["transferred"] == len(out.getvalue())
    target = waiting(workload=SequentialSweep(0, 255, rate_pages_per_s=2000.0))
    target.load(MemoryInput(out.getvalue()))
    assert target.ram_sha256() == vm.ram_sha256()
    with pytest.raises(StateError):
        vm.run_until(lambda: False, 0.01)


class SetClock(WallClock):
    """A wall clock whose hands the test moves."""

    def __init__(self):
        self.hands = 0.0

    @property
    def now(self) -> float:
        return self.hands

    def sleep(self, seconds: float) -> None:
        self.hands += max(seconds, 1e-6)


def test_a_stopped_guest_does_not_run_between_two_calls():
    """In real time a command first lets the guest run up to its own moment."""
    clock = SetClock()
    work = SequentialSweep(0, 255, rate_pages_per_s=1000.0)
    vm = VM(MachineConfig(memory=make().config.memory, workload=work), clock=clock)
    clock.hands = 2.0
    vm.stop()
    assert vm.guest.writes == 2000
    clock.hands = 7.0
    vm.cont()
    clock.hands = 8.0
    vm.query_status()
    assert vm.guest.writes == 3000


def test_events_have_the_time_of_their_step():
    timing = HostTiming(sync_page_s=0.0, setup_s=0.0625, stop_s=0.25, device_s=0.125, cleanup_s=0.1)
    vm = make(timing=timing)
    vm.save(MemoryOutput())
    times = {word: event.time for word, event in zip(short(vm), vm.events, strict=True)}
    assert times["M setup"] == times["P 1"] == 0.0
    assert times["M active"] == 0.0625
    assert times["STOP"] == times["M device"]
    assert times["P 2"] - times["STOP"] == pytest.approx(0.25)
    assert times["M completed"] - times["P 2"] == pytest.approx(0.125)
    order = [event.time for event in vm.events]
    assert all(a <= b for a, b in itertools.pairwise(order))
