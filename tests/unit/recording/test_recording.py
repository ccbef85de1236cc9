"""Recordings of simulated migrations: what they hold, and what is made from them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from migsim import VM, MachineConfig
from migsim.channel.counting import CountingOutput
from migsim.channel.faults import Fault, FaultKind, FaultyOutput
from migsim.channel.memory import MemoryOutput
from migsim.errors import ConfigError, StateError
from migsim.guest.workloads import Uniform
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.recording import Recording, Sample, record_migration, trace_events, write_trace

MIB = 1 << 20


def machine(rate=4000.0, bandwidth=32 * MIB, kind=BackendKind.PHANTOM):
    memory = BackendSpec(kind, "ram0", 64 * MIB)
    vm = VM(MachineConfig(memory=memory, workload=Uniform(0, 4095, rate_pages_per_s=rate, seed=3)))
    vm.advance(4)
    vm.set_parameters({"max-bandwidth": bandwidth})
    vm.set_capabilities([("events", True)])
    return vm


@pytest.fixture(scope="module")
def recording():
    return record_migration(machine(), stretches=16)


def test_it_says_what_the_machine_says(recording):
    vm = machine()
    vm.migrate(CountingOutput())
    vm.run_until(lambda: not vm.source.running, 100)
    said = vm.query_migrate()
    last = recording.samples[-1]
    assert (last.status, last.downtime_ms) == ("completed", said["downtime"])
    assert last.transferred_bytes == said["ram"]["transferred"]
    assert last.passes == said["ram"]["dirty-sync-count"]


def test_times_ascend_and_states_follow_each_other(recording):
    times = [one.time_s for one in recording.samples]
    assert times == sorted(times)
    for spans in (recording.run_states(), recording.statuses(), recording.passes()):
        ends = [one.end_s for one in spans]
        assert [one.start_s for one in spans[1:]] == ends[:-1]
    assert [one.name for one in recording.run_states()] == [
        "running",
        "finish-migrate",
        "postmigrate",
    ]
    assert [one.name for one in recording.statuses()] == ["setup", "active", "device", "completed"]
    assert recording.passes()[0].name == "pass 1"


def test_the_stop_is_as_long_as_the_downtime(recording):
    stop = recording.stop()
    downtime_ms = recording.samples[-1].downtime_ms
    assert stop is not None
    assert abs(stop.seconds * 1000 - downtime_ms) <= 1


def test_heat_counts_pages_that_are_still_to_be_sent(recording):
    heat = recording.heat
    assert heat.shape == (len(recording.samples), 16)
    assert heat.max() <= 64 * MIB // 4096 // 16
    sums = heat.sum(axis=1)
    for total, sample in zip(sums, recording.samples, strict=True):
        # The log knows of writes that no sync has counted yet.
        assert total * 4096 >= sample.remaining_bytes or sample.passes == 0
    assert sums[-1] == 0
    # The first pass goes upwards; what the guest does not write stays clean.
    second = next(i for i, one in enumerate(recording.samples) if one.passes == 2)
    assert not heat[second:, 4:].any()


def test_a_cancelled_and_a_broken_migration():
    def cancel(vm, passed):
        if passed > 0.15:
            vm.migrate_cancel()

    cancelled = record_migration(machine(), during=cancel)
    assert cancelled.status == "cancelled"
    assert cancelled.stop() is None
    output = FaultyOutput(MemoryOutput(), Fault(3 * MIB, FaultKind.NO_SPACE))
    broken = record_migration(machine(kind=BackendKind.RAM), output)
    assert broken.status == "failed"


def test_watching_ends_in_time():
    endless = record_migration(machine(rate=60_000.0), limit_s=3.0)
    assert endless.status == "active"
    assert endless.end_s == pytest.approx(3.0, abs=0.2)


def test_wrong_use():
    vm = machine(bandwidth=1 * MIB)
    with pytest.raises(ConfigError):
        record_migration(vm, every_s=0)
    vm.migrate(CountingOutput())
    with pytest.raises(StateError):
        record_migration(vm)


def test_looking_changes_nothing():
    fine = record_migration(machine(), every_s=0.01, stretches=32)
    coarse = record_migration(machine(), every_s=1.0)
    assert fine.samples[-1] == coarse.samples[-1]
    assert fine.events == coarse.events


def test_there_and_back(recording):
    text = json.dumps(recording.to_dict())
    again = Recording.from_dict(json.loads(text))
    assert again == recording
    assert np.array_equal(again.heat, recording.heat)
    for wrong in ({}, {"samples": 3, "events": []}, {"samples": [{"x": 1}], "events": []}):
        with pytest.raises(ConfigError):
            Recording.from_dict(wrong)


def test_a_sample_of_any_replies():
    assert Sample.of(1.0, {}, {}) == Sample(1.0)
    odd = Sample.of(
        1.0, {"status": "active", "ram": {"remaining": "x", "mbps": 1}}, {"status": "x"}
    )
    assert (odd.remaining_bytes, odd.mbps, odd.run_state) == (0, 1.0, "x")


def test_the_trace(recording, tmp_path):
    write_trace(recording, tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["traceEvents"] == json.loads(json.dumps(trace_events(recording)))
    stretches = [one for one in trace["traceEvents"] if one["ph"] == "X"]
    assert {one["tid"] for one in stretches} == {1, 2, 3, 4}
    assert all(one["dur"] >= 0 and isinstance(one["ts"], int) for one in stretches)
    counters = [one for one in trace["traceEvents"] if one["ph"] == "C"]
    assert len(counters) == 5 * len(recording.samples)
    assert any(one["ph"] == "i" and one["name"] == "STOP" for one in trace["traceEvents"])
