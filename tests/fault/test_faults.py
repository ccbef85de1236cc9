"""Channels and devices that break: at every byte of a small stream, at open, at close."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
from vms import MIB, PAGE, fill, finish, make, put_into, ram, short, waiting

from migsim.channel.faults import Fault, FaultKind, FaultyInput, FaultyOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import ChannelError, DeviceError, StreamError
from migsim.guest.synthetic import counter_device, nic_device
from migsim.guest.workloads import SequentialSweep
from migsim.testing.invariants import fingerprint

SIZE = 8 * PAGE
KEPT = ("ram", "devices", "guest", "run", "parameters", "capabilities", "blockers", "exited")


def small(**config):
    config.setdefault("devices", (counter_device(value=3),))
    vm = make(SIZE, events=False, **config)
    fill(vm, 1, first=3)
    return vm


def kept(vm) -> dict[str, object]:
    everything = fingerprint(vm)
    return {key: everything[key] for key in KEPT}


def whole() -> bytes:
    out = MemoryOutput()
    small().save(out)
    return out.getvalue()


STREAM = whole()
NEEDED = STREAM.rindex(b'{"configuration"') - 5
"""Bytes that have to be there; the description behind them may be missing."""


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_write_error_at_every_byte(mode):
    vm = small()
    vm.set_parameters({"mode": mode})
    before = kept(vm)
    # In normal mode fewer, as the guest's clock goes on there.
    for place in range(0, len(STREAM), 2 if mode == "cpr-reboot" else 5):
        vm.migrate(FaultyOutput(MemoryOutput(), Fault(place, FaultKind.NO_SPACE)))
        assert finish(vm) == "failed", place
        error = vm.source.error
        assert isinstance(error, ChannelError)
        assert (error.operation, error.errno) == ("write", errno.ENOSPC)
        assert vm.run.state == "running"
        assert not vm.ram["ram0"].log.active
    assert kept(vm) | {"guest": 0} == before | {"guest": 0}
    assert (vm.guest.time_ps == 0) is (mode == "cpr-reboot")
    out = MemoryOutput()
    vm.migrate(FaultyOutput(out, Fault(len(STREAM))))
    assert finish(vm) == "completed"
    assert len(out.getvalue()) == len(STREAM)


def test_a_read_error_at_every_byte():
    vm = waiting(SIZE, devices=(counter_device(),))
    fill(vm, 2, first=2, value=8)
    before = kept(vm)
    for place in range(0, NEEDED, 3):
        for kind, error in ((FaultKind.IO_ERROR, ChannelError), (FaultKind.LOST, StreamError)):
            channel = FaultyInput(MemoryInput(STREAM), Fault(place, kind))
            vm.migrate_incoming(channel, exit_on_error=False)
            assert finish(vm) == "failed", place
            assert isinstance(vm.incoming.error, error)
    assert kept(vm) == before
    vm.load(MemoryInput(STREAM))
    assert vm.run.state == "running"


def test_a_file_cut_at_every_byte(tmp_path):
    vm = waiting(SIZE, devices=(counter_device(),))
    before = kept(vm)
    path = tmp_path / "state"
    for place in range(0, NEEDED, 7):
        path.write_bytes(STREAM[:place])
        vm.migrate_incoming(f"file:{path}", exit_on_error=False)
        assert finish(vm) == "failed", place
        assert isinstance(vm.incoming.error, StreamError)
        assert vm.incoming.error.offset <= place
    assert kept(vm) == before


class RefusesToClose(MemoryOutput):
    """The last words of a real file: what it held back could not be written."""

    def close(self):
        raise ChannelError("memory", "close", "no space left", errno.ENOSPC)


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_channel_that_breaks_at_the_very_end(mode):
    vm = make()
    vm.set_parameters({"mode": mode})
    vm.migrate(RefusesToClose())
    assert finish(vm) == "failed"
    assert vm.run.state == "running"
    assert vm.source.error.operation == "close"
    words = short(vm)
    assert words[-2:] == ["M failed", "RESUME"]
    assert "M device" in words


def test_a_channel_that_breaks_after_cancel():
    vm = make(16 * MIB)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": 65536})
    vm.migrate(RefusesToClose())
    vm.advance(0.2)
    vm.migrate_cancel()
    assert finish(vm) == "cancelled"
    assert vm.query_migrate()["status"] == "cancelled"
    assert "no space left" in vm.query_migrate()["error-desc"]
    assert vm.run.state == "running"


def test_a_veto_with_a_channel_that_cannot_be_closed():
    vm = make()
    vm.notifiers.add("no", lambda notice: "no", [vm.parameters.mode])
    vm.migrate(RefusesToClose())
    assert vm.query_migrate()["status"] == "failed"
    assert isinstance(vm.source.error, DeviceError)


@pytest.mark.parametrize("state", ["running", "paused", "suspended"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_device_that_cannot_be_saved(mode, state):
    def refuse(device):
        raise DeviceError(device.name, "pre_save", "not in this state")

    bad = counter_device("bad")
    bad.pre_save = refuse
    vm = make(devices=(counter_device(), bad))
    put_into(vm, state)
    vm.set_parameters({"mode": mode})
    vm.migrate(MemoryOutput())
    assert finish(vm) == "failed"
    assert (vm.source.error.device, vm.source.error.phase) == ("bad", "pre_save")
    assert vm.run.state == state
    bad.pre_save = None
    vm.save(MemoryOutput())


def test_values_that_no_longer_fit_their_description():
    device = counter_device(value=1)
    vm = make(devices=(device,))
    device.values["value"] = 1 << 64
    vm.migrate(MemoryOutput())
    assert finish(vm) == "failed"
    assert isinstance(vm.source.error, DeviceError)
    assert vm.run.state == "running"


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_full_disk(mode):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    vm = make()
    vm.set_parameters({"mode": mode})
    with pytest.raises(ChannelError) as info:
        vm.migrate("file:/dev/full")  # it cannot be cut to the offset
    assert info.value.operation == "open"
    assert vm.query_migrate()["status"] == "failed"
    assert vm.run.state == "running"


def test_a_guest_that_runs_on_after_a_failure_keeps_its_clock():
    """The time that a broken cpr-reboot took is lost to the guest, and nothing else."""
    work = SequentialSweep(0, 255, rate_pages_per_s=1000.0)
    vm = make(MIB, workload=work)
    fill(vm, 256)
    vm.advance(0.5)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": MIB})
    vm.migrate(FaultyOutput(MemoryOutput(), Fault(500_000)))
    assert finish(vm) == "failed"
    assert vm.clock.now >= 0.8
    assert vm.guest.time_s == 0.5
    vm.advance(0.25)
    assert vm.guest.writes == 750


def test_a_failed_load_with_exit_on_error_takes_the_process_down():
    vm = waiting(SIZE, devices=(counter_device(),))
    vm.migrate_incoming(MemoryInput(STREAM[:100]))
    vm.run_until(lambda: vm.exited is not None)
    assert vm.exited.status == 1
    assert str(vm.incoming.error) in vm.exited.reason


def test_quit_in_the_middle_of_a_load():
    vm = waiting(SIZE, devices=(counter_device(),))
    vm.migrate_incoming(MemoryInput(STREAM))
    vm.quit()
    assert vm.exited.status == 0
    assert not vm.busy


def test_kill_in_the_middle_of_a_save():
    with make(16 * MIB) as vm:
        fill(vm, 256)
        vm.set_parameters({"max-bandwidth": 65536})
        out = MemoryOutput()
        vm.migrate(out)
        vm.advance(0.2)
    assert vm.exited.signal == "SIGKILL"
    with pytest.raises(StreamError):
        waiting(16 * MIB).load(MemoryInput(out.getvalue()))


def test_ram_in_place_survives_a_failed_load(tmp_path):
    source = make(MIB, tmp_path / "ram0", devices=(nic_device(),))
    fill(source, 100)
    source.set_capabilities([("x-ignore-shared", True)])
    source.set_parameters({"mode": "cpr-reboot"})
    out, before = MemoryOutput(), source.ram_sha256()
    source.save(out)
    stream = out.getvalue()
    source.quit()
    target = waiting(MIB, tmp_path / "ram0", devices=(nic_device(),))
    target.set_capabilities([("x-ignore-shared", True)])
    with pytest.raises(StreamError):
        target.load(MemoryInput(stream[: stream.rindex(b'{"configuration"') - 6]))
    assert target.ram_sha256() == before
    wrong = replace(target.config, memory=ram(MIB, tmp_path / "ram0", name="other"))
    other = type(target)(wrong)
    other.set_capabilities([("x-ignore-shared", True)])
    with pytest.raises(StreamError):
        other.load(MemoryInput(out.getvalue()))
    target.load(MemoryInput(out.getvalue()))
    assert target.ram_sha256() == before
    assert target.run.state == "running"
