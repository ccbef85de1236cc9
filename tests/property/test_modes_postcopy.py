"""Postcopy over sockets with generated guests: no page is lost, however often the channel is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from live_pairs import LivePair, answering
from vms import PAGE, short

from migsim.qapi.enums import RunState
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.testing.strategies import workload_plans
from migsim.vm import VM

SMALL = [("postcopy-ram", True)]
PAGES = 64
WRITING = ("sweep", "uniform", "hot", "counter")
RAM = BackendSpec(BackendKind.RAM, "ram0", 4 * PAGES * PAGE)


def config(guest, release=Release.V10_0, **more):
    return answering(memory=RAM, workload=guest.make(), release=release, **more)


def fill(vm: VM, seed: int) -> np.ndarray:
    """Fill RAM beyond the guest's pages, some of it with zeros."""
    rng = np.random.default_rng(seed)
    view = vm.ram["ram0"].view()
    view[PAGES:, ::97] = rng.integers(0, 255, view[PAGES:, ::97].shape, np.uint8)
    view[PAGES:][rng.random(3 * PAGES) < 0.3] = 0
    return view[PAGES:].copy()


@settings(max_examples=12)
@given(
    workload_plans(PAGES, kinds=WRITING),
    st.integers(0, 999),
    st.sampled_from([Release.V10_0, Release.V11_1]),
    st.sampled_from([0, 400_000, 4_000_000]),
    st.lists(st.sampled_from(["source", "target"]), max_size=2),
)
def test_nothing_is_lost(guest, seed, release, bandwidth, losses) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        LivePair(
            Path(folder), config(guest, release), config(guest, release, incoming="defer")
        ) as pair,
    ):
        source, target = pair.source, pair.target
        filled = fill(source, seed)
        for vm in (source, target):
            vm.set_capabilities(SMALL)
        source.set_parameters(
            {"max-bandwidth": 1_000_000, "downtime-limit": 0, "max-postcopy-bandwidth": bandwidth}
        )
        pair.begin()
        pair.until(lambda: pair.statuses()[0] == "active")
        source.migrate_start_postcopy()
        pair.until(lambda: pair.statuses()[0] in ("postcopy-active", "completed"))
        for number, side in enumerate(losses):
            pair.until(lambda: pair.statuses()[1] in ("postcopy-active", "completed"))
            if source.query_migrate()["ram"]["remaining"] < 60 * PAGE:
                break  # it may be over before it is paused
            getattr(pair, side).migrate_pause()
            pair.wake()
            pair.wait("postcopy-paused", "postcopy-paused")
            target.migrate_recover(pair.uri(str(number)))
            source.migrate(pair.uri(str(number)), resume=True)
            pair.until(lambda: pair.statuses()[0] in ("postcopy-active", "completed"))
        source.set_parameters({"max-postcopy-bandwidth": 0})
        pair.wait("completed", "completed")
        assert source.run.state is RunState.POSTMIGRATE
        assert target.run.state is RunState.RUNNING
        assert short(source).count("STOP") == short(target).count("RESUME") == 1
        assert all(block.watch is None for block in target.ram)
        target.driver.catch_up()
        target.stop()
        assert (target.ram["ram0"].view()[PAGES:] == filled).all()
        with VM(config(guest, start_stopped=True)) as twin:
            twin.guest.run_ps(target.guest.time_ps)
            here, there = target.ram["ram0"].view(), twin.ram["ram0"].view()
            assert (here[:PAGES] == there[:PAGES]).all(), target.guest.time_ps
        assert source.query_migrate()["ram"]["remaining"] == 0
