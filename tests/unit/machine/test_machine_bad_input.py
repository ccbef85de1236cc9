"""Bad input: a typed error with its fields, QMP's class, and nothing changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from vms import MIB, fill, finish, like, make, ram, short, waiting

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import (
    BlockedError,
    BusyError,
    CapabilityError,
    ChannelError,
    ConfigError,
    DeviceError,
    IncompatibleError,
    MigsimError,
    ParameterError,
    StateError,
    StreamError,
)  # fmt: skip
from migsim.guest.synthetic import counter_device, nic_device, unmigratable_device
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig
from migsim.monitor.qmp import QmpMonitor
from migsim.qapi.enums import MigMode
from migsim.ram.block import RAMBlock
from migsim.testing.invariants import fingerprint
from migsim.vm import VM

GENERIC = "GenericError"
MAIN = {
    "channel-type": "main",
    "addr": {"transport": "file", "filename": "/dev/null", "offset": 0},
}


def refused(vm, error, call, *arguments, qmp=None, hmp=None, **fields) -> MigsimError:
    """Call, expect the error with these fields, and the machine exactly as it was.

    ``qmp`` (command and arguments) and ``hmp`` (a line) are the same mistake in those forms.
    """
    before = fingerprint(vm)
    with pytest.raises(error) as info:
        call(*arguments)
    assert type(info.value) is error
    for name, value in fields.items():
        assert getattr(info.value, name) == value, name
    assert fingerprint(vm) == before
    if qmp is not None:
        reply = vm.qmp(*qmp)
        assert set(reply) == {"error"}
        assert reply["error"]["class"] == GENERIC
        assert reply["error"]["desc"]
        assert fingerprint(vm) == before
    if hmp is not None:
        assert vm.hmp(hmp).startswith("Error: ")
        assert fingerprint(vm) == before
    return info.value


@pytest.fixture
def vm():
    machine = make(workload=Uniform(0, 99, rate_pages_per_s=1000.0), devices=(counter_device(),))
    machine.advance(0.5)
    return machine


# Parameters and capabilities.

BAD_PARAMETERS = [
    ({"no-such-thing": 1}, "no-such-thing"),
    ({"mode": "nonsense"}, "mode"),
    ({"mode": 1}, "mode"),
    ({"mode": None}, "mode"),
    ({"mode": "cpr-exec"}, "mode"),
    ({"downtime-limit": 2000001}, "downtime-limit"),
    ({"downtime-limit": -1}, "downtime-limit"),
    ({"downtime-limit": "300"}, "downtime-limit"),
    ({"downtime-limit": True}, "downtime-limit"),
    ({"downtime-limit": 1.5}, "downtime-limit"),
    ({"max-bandwidth": 1 << 64}, "max-bandwidth"),
    ({"multifd-channels": 0}, "multifd-channels"),
    ({"multifd-channels": 256}, "multifd-channels"),
    ({"cpu-throttle-tailslow": 1}, "cpu-throttle-tailslow"),
    ({"max-bandwidth": 1, "announce-step": 0}, "announce-step"),
    ({"cpu-throttle-initial": 99, "max-cpu-throttle": 50}, "max-cpu-throttle"),
]


@pytest.mark.parametrize(("changes", "name"), BAD_PARAMETERS, ids=repr)
def test_parameters(vm, changes, name):
    qmp = ("migrate-set-parameters", changes)
    error = refused(vm, ParameterError, vm.set_parameters, changes, qmp=qmp)
    assert error.name.replace("_", "-") == name
    assert error.expected


@pytest.mark.parametrize(
    "line",
    [
        "migrate_set_parameter mode nonsense",
        "migrate_set_parameter downtime-limit 2000001",
        "migrate_set_parameter max-bandwidth -1",
        "migrate_set_parameter multifd-channels 0",
        "migrate_set_capability x-nonsense on",
        "migrate_set_capability multifd on",  # with xbzrle on, see below
        "migrate /no/scheme",
        "migrate nonsense:x",
        "migrate file:/missing/directory/state,offset=-1",
        "migrate_incoming file:/missing",
        "migrate_continue pre-switchover",
        "migrate_continue nonsense",
        "system_wakeup",
    ],
)
def test_hmp_lines(vm, line):
    vm.set_capabilities([("xbzrle", True)])
    before = fingerprint(vm)
    assert vm.hmp(line).startswith("Error: ")
    assert fingerprint(vm) == before


@pytest.mark.parametrize(
    "line",
    ["nonsense", "migrate", "migrate -x file:/y", "migrate_set_parameter mode", "stop now",
     "migrate_set_capability events yes", "info nonsense", "info status now"],
)  # fmt: skip
def test_hmp_usage(vm, line):
    before = fingerprint(vm)
    text = vm.hmp(line)
    assert text
    assert not text.startswith("Error")
    assert fingerprint(vm) == before


@pytest.mark.parametrize(
    ("changes", "error", "name"),
    [
        ([("nonsense", True)], ParameterError, "capability"),
        ([("xbzrle", True), ("multifd", True)], CapabilityError, None),
        ([("postcopy-preempt", True)], CapabilityError, "postcopy-preempt"),
        ([("events", False), ("zero-copy-send", True)], CapabilityError, None),
    ],
)
def test_capabilities(vm, changes, error, name):
    entries = [{"capability": key, "state": state} for key, state in changes]
    qmp = ("migrate-set-capabilities", {"capabilities": entries})
    found = refused(vm, error, vm.set_capabilities, changes, qmp=qmp)
    assert name is None or found.name == name


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("migrate", {}),
        ("migrate", {"uri": 5}),
        ("migrate", {"uri": None}),
        ("migrate", {"uri": "file:/x", "channels": [{}]}),
        ("migrate", {"channels": []}),
        ("migrate", {"channels": [{"channel-type": "main"}]}),
        ("migrate", {"channels": [{"channel-type": "cpr", "addr": {"transport": "file"}}]}),
        ("migrate", {"channels": {"channel-type": "main"}}),
        ("migrate", {"channels": [MAIN, MAIN]}),
        ("migrate", {"channels": [MAIN | {"nonsense": 1}]}),
        ("migrate", {"channels": [MAIN | {"channel-type": "other"}]}),
        ("migrate-incoming", {"channels": [MAIN, MAIN | {"channel-type": "cpr"}]}),
        ("migrate", {"uri": "file:/x", "resume": True}),
        ("migrate", {"uri": "file:/x", "nonsense": 1}),
        ("migrate", {"uri": "file:/x", "detach": "yes"}),
        ("migrate-incoming", {"uri": "file:/x", "exit-on-error": 1}),
        ("migrate-continue", {}),
        ("migrate-continue", {"state": "nonsense"}),
        ("migrate-set-capabilities", {}),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "events"}]}),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": 1}]}),
        ("migrate-set-capabilities", {"capabilities": ["events"]}),
        ("stop", {"now": True}),
    ],
)
def test_qmp_arguments(vm, command, arguments):
    before = fingerprint(vm)
    assert vm.qmp(command, arguments)["error"]["class"] == GENERIC
    assert fingerprint(vm) == before


def test_a_file_channel_needs_its_members(vm, tmp_path):
    before = fingerprint(vm)
    for offset in (None, "0", True, -1, 1.0, 1 << 63):
        address = {"transport": "file", "filename": f"{tmp_path}/state"}
        if offset is not None:
            address["offset"] = offset
        channel = {"channel-type": "main", "addr": address}
        reply = vm.qmp("migrate", channels=[channel])
        assert reply["error"]["class"] == GENERIC, offset
        assert fingerprint(vm) == before
    assert list(tmp_path.iterdir()) == []


def test_qmp_unknown_command_and_malformed_request(vm):
    assert vm.qmp("nonsense")["error"]["class"] == "CommandNotFound"
    monitor = QmpMonitor(vm)
    for request in ({"execute": 1, "id": None}, {"id": None}, {"execute": "stop", "arguments": 1}):
        reply = monitor.call(request)
        assert reply["error"]["class"] == GENERIC
        assert ("id" in reply) is ("id" in request)
    assert monitor.call({"execute": "query-status", "id": [1]})["id"] == [1]


# migrate.


@pytest.mark.parametrize(
    "uri", ["", "file", "nonsense:x", "tcp:localhost:1", "file:x,offset=q", "file:x,offset=-1"]
)
def test_addresses(vm, uri):
    refused(vm, ParameterError, vm.migrate, uri, qmp=("migrate", {"uri": uri}))


@pytest.mark.parametrize("uri", ["file:/tmp/x\0y", f"file:/tmp/x,offset={1 << 63}"])
def test_addresses_that_no_file_has(vm, uri):
    refused(vm, ParameterError, vm.migrate, uri, name="uri", qmp=("migrate", {"uri": uri}))


def test_channels_that_are_taken(tmp_path, stream):
    main = {"channel-type": "main", "addr": MAIN["addr"] | {"filename": f"{tmp_path}/state"}}
    cpr = {"channel-type": "cpr", "addr": {"transport": "socket", "type": "unix", "path": "x"}}
    source = make(devices=(counter_device(), nic_device()))
    assert source.qmp("migrate", channels=[cpr, main]) == {"return": {}}
    assert finish(source) == "completed"
    vm = target()
    assert vm.qmp("migrate-incoming", channels=[main | {"channel-type": "cpr"}]) == {"return": {}}
    assert finish(vm) == "completed"
    other = source.qmp("migrate", uri=f"file:{tmp_path}/other", channels=[])
    assert other["error"]["class"] == GENERIC  # it is postmigrate
    source.cont()
    assert source.qmp("migrate", uri=f"file:{tmp_path}/other", channels=[]) == {"return": {}}


def test_a_target_that_is_a_directory(vm, tmp_path):
    with pytest.raises(ChannelError) as info:
        vm.migrate(f"file:{tmp_path}")
    assert info.value.operation == "open"
    assert vm.query_migrate()["status"] == "failed"
    assert vm.run.state == "running"


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_migrate_while_blocked(mode):
    vm = make(devices=(counter_device(),))
    vm.set_parameters({"mode": mode})
    all_modes = vm.blockers.add("first")
    vm.blockers.add("second", (MigMode.NORMAL,))
    wanted = {"normal": ("second",), "cpr-reboot": ("first",)}[mode]
    uri = {"uri": "file:/dev/null"}
    error = refused(
        vm, BlockedError, vm.migrate, MemoryOutput(), qmp=("migrate", uri),
        hmp="migrate -d file:/dev/null",
    )  # fmt: skip
    assert error.reasons[:1] == wanted
    assert short(vm) == []
    reasons = ["first", "second"] if mode == "normal" else ["first"]
    assert vm.query_migrate() == {"blocked-reasons": reasons}
    vm.blockers.remove(all_modes)
    if mode == "cpr-reboot":
        assert vm.query_migrate() == {}
        vm.save(MemoryOutput())


def test_an_unmigratable_device_blocks_every_mode():
    vm = make(devices=(unmigratable_device("0000:00:01.0/nvme"),))
    for mode in ("normal", "cpr-reboot"):
        vm.set_parameters({"mode": mode})
        error = refused(vm, BlockedError, vm.migrate, MemoryOutput())
        assert "0000:00:01.0/nvme" in error.reasons[0]


def test_blockers_cannot_be_added_while_a_migration_runs():
    vm = make(16 * MIB, devices=(counter_device(),))
    fill(vm, 256)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": 65536})
    vm.migrate(MemoryOutput())
    vm.advance(0.2)
    refused(vm, BusyError, vm.blockers.add, "late", (MigMode.NORMAL,))
    refused(vm, StateError, vm.devices.add, unmigratable_device(), command="device_add")
    refused(vm, StateError, vm.devices.remove, next(iter(vm.devices)), command="device_del")
    vm.migrate_cancel()
    finish(vm)
    vm.blockers.add("late", (MigMode.NORMAL,))


def test_migrate_while_one_runs():
    vm = make(16 * MIB)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": 65536})
    vm.migrate(MemoryOutput())
    for stage, status in ((0.0, "setup"), (0.2, "active")):
        vm.advance(stage)
        refused(
            vm, StateError, vm.migrate, MemoryOutput(), command="migrate", state=status,
            qmp=("migrate", {"uri": "file:/dev/null"}), hmp="migrate -d file:/dev/null",
        )  # fmt: skip
    entry = {"capability": "events", "state": True}
    for capabilities in ([], [entry]):
        qmp = ("migrate-set-capabilities", {"capabilities": capabilities})
        before = fingerprint(vm)
        assert vm.qmp(*qmp)["error"]["class"] == GENERIC
        assert fingerprint(vm) == before


def test_migrate_while_inmigrate():
    vm = waiting()
    refused(
        vm, StateError, vm.migrate, MemoryOutput(), command="migrate", state="inmigrate",
        qmp=("migrate", {"uri": "file:/dev/null"}), hmp="migrate -d file:/dev/null",
    )  # fmt: skip


@pytest.mark.parametrize("capability", ["postcopy-ram", "dirty-bitmaps", "background-snapshot"])
def test_capabilities_that_do_not_go_with_cpr(capability):
    vm = make()
    vm.set_capabilities([(capability, True)])
    vm.set_parameters({"mode": "cpr-reboot"})
    refused(
        vm, CapabilityError, vm.migrate, MemoryOutput(), name=capability, conflict="cpr-reboot",
        qmp=("migrate", {"uri": "file:/dev/null"}),
    )  # fmt: skip


@pytest.mark.parametrize("capability", ["multifd", "x-colo"])
def test_capabilities_that_are_not_modelled(capability):
    vm = make()
    vm.set_capabilities([(capability, True)])
    refused(vm, CapabilityError, vm.migrate, MemoryOutput(), name=capability)


def test_postcopy_fails_at_its_end_where_nobody_can_answer():
    vm = make()
    vm.set_capabilities([("postcopy-ram", True)])
    vm.migrate(MemoryOutput())
    vm.run_until(lambda: not vm.source.running)
    assert vm.source.status.value == "failed"
    assert vm.run.state == "running"


def test_ram_without_bytes_cannot_go_into_a_file(tmp_path):
    from migsim.ram.backends import BackendKind, BackendSpec

    vm = make(memory=BackendSpec(BackendKind.PHANTOM, "ram0", MIB))
    refused(vm, ConfigError, vm.migrate, f"file:{tmp_path}/state")
    assert list(tmp_path.iterdir()) == []


# migrate-incoming.


@pytest.fixture
def stream():
    source = make(devices=(counter_device(value=7), nic_device()))
    fill(source, 100)
    out = MemoryOutput()
    source.save(out)
    return out.getvalue()


def target(**config):
    config.setdefault("devices", (counter_device(value=1), nic_device()))
    vm = waiting(**config)
    fill(vm, 30, value=9, first=90)
    return vm


def test_migrate_incoming_without_incoming(vm, tmp_path):
    refused(
        vm, StateError, vm.migrate_incoming, MemoryInput(b""), command="migrate-incoming",
        state="running", wanted=("inmigrate",), qmp=("migrate-incoming", {"uri": "file:/x"}),
        hmp="migrate_incoming file:/x",
    )  # fmt: skip


def test_migrate_incoming_twice(stream):
    vm = target()
    vm.migrate_incoming(MemoryInput(stream))
    for status in ("setup", "completed"):
        refused(
            vm, StateError, vm.migrate_incoming, MemoryInput(stream), state=status,
            command="migrate-incoming", qmp=("migrate-incoming", {"uri": "file:/x"}),
        )  # fmt: skip
        finish(vm)


def test_migrate_incoming_after_a_uri_on_the_command_line(stream, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(stream)
    vm = VM(
        replace(target().config, incoming=f"file:{path}", devices=(counter_device(), nic_device()))
    )
    refused(vm, StateError, vm.migrate_incoming, MemoryInput(stream), state="started")
    finish(vm)
    assert vm.run.state == "running"


@pytest.mark.parametrize("uri", ["", "nonsense:x", "file:x,offset=z"])
def test_incoming_addresses(uri):
    vm = target()
    qmp = ("migrate-incoming", {"uri": uri})
    refused(vm, ParameterError, vm.migrate_incoming, uri, qmp=qmp)


def test_incoming_file_is_missing(tmp_path):
    vm = target()
    before = fingerprint(vm)
    for _ in range(2):
        with pytest.raises(ChannelError) as info:
            vm.migrate_incoming(f"file:{tmp_path}/missing")
        assert (info.value.operation, info.value.errno) == ("open", 2)
    after = fingerprint(vm)
    assert after.pop("events") == 2  # M setup, twice
    before.pop("events")
    assert after == before
    reply = vm.qmp("migrate-incoming", uri=f"file:{tmp_path}/missing")
    assert reply["error"]["class"] == GENERIC


WRONG = {
    "machine": ({"machine": "microvm"}, IncompatibleError, "configuration"),
    "smaller ram": ({"memory": ram(MIB // 2)}, IncompatibleError, "ram"),
    "larger ram": ({"memory": ram(2 * MIB)}, IncompatibleError, "ram"),
    "block name": ({"memory": ram(name="ram1")}, IncompatibleError, "ram"),
    "no ram": ({"memory": None}, IncompatibleError, "ram"),
    "device missing": ({"devices": (counter_device(),)}, IncompatibleError, nic_device().name),
    "capability": ({}, IncompatibleError, "configuration"),
}


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "pipe"])
@pytest.mark.parametrize("case", WRONG)
def test_streams_of_another_machine(case, mapped, stream):
    changes, error, section = WRONG[case]
    config = {"devices": (counter_device(value=1), nic_device())} | changes
    vm = VM(MachineConfig(**({"memory": ram(), "incoming": "defer"} | config)))
    if case == "capability":
        vm.set_capabilities([("x-ignore-shared", True)])
    for block in vm.ram:
        block.view()[10:20] = 5
    fails_and_leaves_no_trace(vm, stream, error, section, mapped=mapped)


def fails_and_leaves_no_trace(vm, stream, error, section, *, mapped=True):
    kept = ("ram", "devices", "guest", "run", "parameters", "capabilities", "blockers", "exited")
    before = {key: fingerprint(vm)[key] for key in kept}
    vm.migrate_incoming(MemoryInput(stream, seekable=mapped), exit_on_error=False)
    assert finish(vm) == "failed"
    assert {key: fingerprint(vm)[key] for key in kept} == before
    assert isinstance(vm.incoming.error, error)
    if isinstance(vm.incoming.error, StreamError):
        assert vm.incoming.error.section == section
        assert 0 <= vm.incoming.error.offset <= len(stream)
        assert vm.incoming.error.expected
    info = vm.query_migrate()
    assert set(info) == {"status", "error-desc"}
    assert "Migration status: failed (" in vm.hmp("info migrate")


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "pipe"])
@pytest.mark.parametrize("cut", [0, 3, 8, 20, 90, 200_000, 0.5, -1])
def test_truncated_streams(cut, mapped, stream):
    # The description at the end is not needed; the byte before it is.
    end = stream.rindex(b'{"configuration"') - 5
    length = {-1: end - 1, 0.5: end // 2}.get(cut, cut)
    vm = target()
    fails_and_leaves_no_trace(vm, stream[:length], StreamError, Any(), mapped=mapped)
    vm.load(MemoryInput(stream))  # and it can be tried again
    assert vm.run.state == "running"


class Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "pipe"])
def test_a_device_that_refuses_its_state(mapped):
    def refuse(device):
        raise DeviceError(device.name, "post_load", "no")

    heard = []
    source = make(
        devices=(counter_device("a", 7), counter_device("b", 8)),
        workload=Uniform(0, 99, rate_pages_per_s=1000.0),
    )
    source.advance(0.5)
    fill(source, 50)
    out = MemoryOutput()
    source.save(out)
    first, second = counter_device("a", 1), counter_device("b", 2)
    first.post_load = lambda device: heard.append(device.values["value"])
    second.post_load = refuse
    vm = target(devices=(first, second), workload=Uniform(0, 99, rate_pages_per_s=1000.0))
    fails_and_leaves_no_trace(vm, out.getvalue(), DeviceError, None, mapped=mapped)
    assert heard == [7]
    assert (vm.incoming.error.device, vm.incoming.error.phase) == ("b", "post_load")
    assert (first.values["value"], vm.guest.writes, vm.guest.time_ps) == (1, 0, 0)


def test_a_uuid_that_differs():
    source = make(uuid=bytes(range(16)))
    source.set_capabilities([("validate-uuid", True)])
    out = MemoryOutput()
    source.save(out)
    other = like(source, uuid=bytes(16))
    fails_and_leaves_no_trace(other, out.getvalue(), IncompatibleError, "configuration")
    for same in (like(source), like(source, uuid=None)):
        same.load(MemoryInput(out.getvalue()))


def test_resizable_blocks_take_the_length_of_the_stream():
    def machine(used, *, resizable=True, **config):
        backend = ram(4 * 4096, name="rom").create()
        rom = RAMBlock("/rom@x", backend, used, resizable=resizable)
        return make(extra_blocks=(rom,), **config)

    for used, here in ((4096, 8192), (16384, 4096), (8192, 8192)):
        source = machine(used)
        source.ram["/rom@x"].view()[:] = 3
        out = MemoryOutput()
        source.save(out)
        for mapped in (True, False):
            vm = machine(here, incoming="defer")
            vm.load(MemoryInput(out.getvalue(), seekable=mapped))
            assert vm.ram["/rom@x"].used_bytes == used
            assert vm.ram_sha256() == source.ram_sha256()
            vm.save(MemoryOutput())
            cut = machine(here, incoming="defer")
            length = len(out.getvalue()) // 2
            fails_and_leaves_no_trace(
                cut, out.getvalue()[:length], StreamError, Any(), mapped=mapped
            )
            assert cut.ram["/rom@x"].used_bytes == here
        if used != here:
            fixed = machine(here, resizable=False, incoming="defer")
            fails_and_leaves_no_trace(fixed, out.getvalue(), IncompatibleError, "ram")


def test_constructor_refuses_nonsense(tmp_path):
    with pytest.raises(ConfigError):
        make(machine="pc-q35-99.0")
    with pytest.raises(ConfigError):
        make(machine="nonsense")
    with pytest.raises(ParameterError):
        make(globals=(("nonsense", "1"),))
    with pytest.raises(ParameterError):
        make(incoming="nonsense:x")
    with pytest.raises(ChannelError):
        make(incoming=f"file:{tmp_path}/missing")
    with pytest.raises(ConfigError):
        make(workload=Uniform(0, 256, rate_pages_per_s=1.0))
    with pytest.raises(ConfigError):
        make(devices=(counter_device(), counter_device()))
    with pytest.raises(BlockedError):
        make(devices=(unmigratable_device(),), only_migratable=True)


def test_advance_does_not_go_back(vm):
    before = fingerprint(vm)
    with pytest.raises(ValueError, match="backwards"):
        vm.advance(-1.0)
    assert fingerprint(vm) == before


def test_save_and_load_raise_what_went_wrong(tmp_path, stream):
    vm = target()
    with pytest.raises(StreamError):
        vm.load(MemoryInput(stream[:1000]))
    source = make()
    source.set_capabilities([("pause-before-switchover", True)])
    with pytest.raises(StateError, match="waits"):
        source.save(MemoryOutput())
    assert source.clock.now < 1
    source.migrate_cancel()
    with pytest.raises(StateError):
        source.run_until(lambda: source.query_migrate()["status"] == "completed")
