"""What the strategies promise: inputs of the right kind, and the smallest where nothing matters."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import find, given, settings
from hypothesis import strategies as st
from vms import PAGE, ram

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.guest.synthetic import blocking_device
from migsim.machine.config import MachineConfig
from migsim.qapi.enums import MigMode
from migsim.qapi.parameters import parameters_of
from migsim.qapi.release import Release
from migsim.qapi.values import Unsigned
from migsim.testing.invariants import Witness, nothing_lost, same_ram
from migsim.testing.strategies import (
    Pause,
    blockers,
    capability_sets,
    command_sequences,
    devices,
    edges,
    guest_plans,
    modes,
    ram_layouts,
    releases,
    streams,
    workload_plans,
)
from migsim.vm import VM


@given(streams())
@settings(max_examples=15)
def test_streams_load_and_hold_what_they_say(stream):
    with stream.target() as target:
        target.load(MemoryInput(stream.data))
        assert target.ram_sha256() == stream.ram_sha256


@given(st.data(), ram_layouts())
@settings(max_examples=15)
def test_machines_of_any_shape_keep_devices_and_guests(data, layout):
    made = data.draw(devices())
    plan = data.draw(workload_plans(layout[0].size // PAGE, kinds=("idle", "sweep", "hot")))
    config = MachineConfig(memory=layout[0], devices=made, workload=plan.make())
    empty = tuple(replace(device, values=dict(device.values)) for device in made)
    with VM(config) as source, VM(replace(config, workload=plan.make(), devices=())) as stayed:
        source.advance(0.1)
        source.save(out := MemoryOutput())
        there = replace(config, workload=plan.make(), devices=empty, incoming="defer")
        with VM(there) as target:
            target.load(MemoryInput(out.getvalue()))
            assert [d.values for d in target.devices] == [d.values for d in source.devices]
            same_ram(source, target)
            nothing_lost(target, stayed)


@given(releases(), st.data())
def test_command_sequences_are_answered(release, data):
    sequence = data.draw(command_sequences(release))
    with VM(MachineConfig(memory=ram(8 * PAGE), release=release)) as vm:
        witness = Witness(vm)
        for one in sequence:
            if isinstance(one, Pause):
                vm.advance(one.seconds)
            elif vm.exited is None:
                assert set(one.run(vm)) in ({"return"}, {"error"})
            witness.check()


@given(blockers(), modes())
def test_blockers_block_the_modes_that_they_name(blocker, mode):
    device = blocking_device("one", blocker)
    with VM(MachineConfig(devices=(device,))) as vm:
        blocked = blocker.modes is None or mode in blocker.modes
        assert vm.blockers.reasons(mode) == ((blocker.reason,) if blocked else ())


def test_edges_are_legal_and_others():
    for row in parameters_of():
        if isinstance(row.type, Unsigned) and not row.power_of_two:
            found = edges(row)
            for wanted in (row.minimum, row.maximum, row.minimum - 1, row.maximum + 1):
                assert find(found, lambda value, wanted=wanted: value == wanted) == wanted


def test_they_shrink_to_the_defaults():
    assert find(releases(), lambda _: True) == Release.DEFAULT
    assert find(modes(), lambda _: True) is MigMode.NORMAL
    assert find(capability_sets(), lambda _: True) == frozenset()
    assert find(command_sequences(), lambda _: True) == []
    guest = find(guest_plans(), lambda _: True)
    assert (guest.pages, guest.content.runs, guest.workload.kind) == (1, (), "idle")
    smallest = find(command_sequences(), lambda some: any(not isinstance(c, Pause) for c in some))
    assert [command.name for command in smallest] == ["stop"]
