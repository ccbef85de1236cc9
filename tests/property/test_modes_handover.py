"""cpr-transfer with generated guests: the same memory, and a guest that goes on."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from neighbour import NOWHERE, Neighbour
from vms import PAGE

from migsim.machine.config import MachineConfig
from migsim.machine.handed import handed_over
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.testing.strategies import workload_plans
from migsim.vm import VM

PAGES = 64
GUESTS = workload_plans(PAGES, first=1, kinds=("sweep", "uniform", "hot", "counter"))
VM_RELEASE = {str(r): r for r in (Release.V10_0, Release.V11_1)}


@given(GUESTS, st.sampled_from(["10.0", "11.1"]), st.floats(0, 0.3), st.floats(0, 0.3))
def test_same_memory_same_guest(guest, release, before_s, after_s) -> None:
    kind = BackendKind.MEMFD
    spec = BackendSpec(kind, "ram0", PAGES * PAGE)
    config = MachineConfig(memory=spec, workload=guest.make(), release=VM_RELEASE[release])
    neighbour = Neighbour()
    with (
        VM(config, connect=lambda _: neighbour) as source,
        VM(replace(config, workload=guest.make())) as never_moved,
    ):
        source.advance(before_s)
        source.set_parameters({"mode": "cpr-transfer"})
        source.migrate(NOWHERE, cpr=NOWHERE)
        source.run_until(lambda: not source.source.running)
        assert source.source.error is None
        assert len(neighbour.stream.getvalue()) < 4096, "no page is in the stream"
        assert set(handed_over(source.ram)) == {"ram0"}
        taken = BackendSpec(kind, "ram0", PAGES * PAGE, fd=neighbour.memory["ram0"])
        there = replace(
            config, workload=guest.make(), memory=taken, incoming="defer", handed_over=True
        )
        with VM(there, connect=lambda _: neighbour) as target:
            os.close(neighbour.memory["ram0"])
            assert target.ram_sha256() == source.ram_sha256()
            target.load("unix:/nowhere")
            assert target.query_status() == {"running": True, "status": "running"}
            target.advance(after_s)
            never_moved.guest.run_ps(target.guest.time_ps, 100)
            assert target.ram_sha256() == never_moved.ram_sha256()
