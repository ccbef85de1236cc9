"""A loaded guest stands still until everything that starting it costs is over."""

from __future__ import annotations

import pytest

from migsim.machine.config import MachineConfig
from migsim.machine.timing import HostTiming
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM


def test_the_cost_of_starting_passes_before_resume(tmp_path):
    memory = BackendSpec(BackendKind.RAM, "ram0", 1 << 20)
    timing = HostTiming(start_s=0.25, load_byte_s=0.0)
    with VM(MachineConfig(memory=memory)) as vm:
        vm.save(f"file:{tmp_path}/vm.state")
    with VM(MachineConfig(memory=memory, incoming="defer", timing=timing)) as vm:
        vm.load(f"file:{tmp_path}/vm.state")
        resumed = next(event for event in vm.events if event.name == "RESUME")
        assert resumed.time == pytest.approx(0.25)
