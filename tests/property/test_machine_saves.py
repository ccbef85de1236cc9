"""Saving and loading whole machines: equal guests, equal bytes, and failures without a trace."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from vms import PAGE, finish

from migsim.channel.faults import Fault, FaultKind, FaultyInput, FaultyOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import DeviceError, MigsimError
from migsim.guest.synthetic import counter_device, nic_device
from migsim.guest.workloads import (
    HotCold,
    Idle,
    PageCounter,
    SequentialSweep,
    TraceReplay,
    Uniform,
)
from migsim.machine.config import MachineConfig
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.ram.block import RAMBlock
from migsim.testing.invariants import fingerprint
from migsim.vm import VM

PAGES = 160
SMALL = 24


def workload(kind: str, rate: float, seed: int):
    last = PAGES - 1
    match kind:
        case "idle":
            return Idle()
        case "sweep":
            return SequentialSweep(3, last, rate_pages_per_s=rate)
        case "uniform":
            return Uniform(0, last, rate_pages_per_s=rate, seed=seed)
        case "hot":
            return HotCold(
                0, last, hot_pages=9, hot_share=0.9, rate_pages_per_s=rate, seed=seed
            )  # fmt: skip
        case "counter":
            return PageCounter(rate_pages_per_s=rate, first=1, pages=40, suspends=seed % 2 == 0)
        case _:
            moments = np.random.default_rng(seed).random(200).cumsum() / 50
            pfns = np.random.default_rng(seed + 1).integers(0, PAGES, 200)
            return TraceReplay(moments, pfns, period_s=float(moments[-1]) + 0.5)


@dataclass(frozen=True)
class Layout:
    """What RAM a machine has, apart from its main block."""

    ignorable: bool
    used: int | None
    unmigrated: bool


layouts = st.builds(
    Layout,
    ignorable=st.booleans(),
    used=st.one_of(st.none(), st.integers(1, SMALL)),
    unmigrated=st.booleans(),
)
workloads = st.tuples(
    st.sampled_from(["idle", "sweep", "uniform", "hot", "counter", "trace"]),
    st.floats(1.0, 20_000.0),
    st.integers(0, 99),
)
modes = st.sampled_from(["normal", "cpr-reboot"])
releases = st.sampled_from(["8.2", "10.0", "11.1"])
spans = st.floats(0.0, 0.4)


def build(layout, work, folder, *, main="ram0", release="10.0", used=0, **config) -> VM:
    """Return a machine of that layout, with ``used`` pages in the resizable block if not 0."""
    path = folder / main if layout.ignorable else None
    kind = BackendKind.FILE if layout.ignorable else BackendKind.RAM
    memory = BackendSpec(
        kind, "ram0", PAGES * PAGE, mem_path=None if path is None else str(path), share=True
    )
    blocks = []
    if layout.used is not None:
        backend = BackendSpec(BackendKind.RAM, "rom", SMALL * PAGE).create()
        length = (used or layout.used) * PAGE
        blocks.append(RAMBlock("/rom@table", backend, length, resizable=True))
    if layout.unmigrated:
        backend = BackendSpec(BackendKind.RAM, "scratch", SMALL * PAGE).create()
        blocks.append(RAMBlock("scratch", backend, migratable=False))
    config.setdefault("devices", (counter_device(value=77), nic_device()))
    vm = VM(
        MachineConfig(
            memory=memory,
            extra_blocks=tuple(blocks),
            workload=workload(*work),
            release=Release.parse(release),
            **config,
        )
    )
    vm.set_capabilities([("events", True), ("x-ignore-shared", layout.ignorable)])
    return vm


def content(vm: VM) -> dict[str, bytes]:
    return {block.name: block.view().tobytes() for block in vm.ram.migratable()}


def paint(vm: VM, seed: int) -> None:
    for block in vm.ram:
        view = block.view()
        dots = np.random.default_rng(seed)
        view[dots.random(block.pages) < 0.4, 5] = 1


how_to_save = st.fixed_dictionaries(
    {"mode": modes, "max-bandwidth": st.sampled_from([0, 300_000, 3_000_000])}
)


@given(layouts, workloads, how_to_save, releases, st.tuples(spans, st.booleans(), st.booleans()))
def test_a_loaded_guest_is_the_saved_guest(layout, work, how, release, case):
    span, pause, seekable = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = build(layout, work, folder, release=release)
        paint(source, work[2])
        source.set_parameters(how)
        source.advance(span)
        if pause:
            source.stop()
        state, suspended = source.run.state, source.run.was_suspended
        out = MemoryOutput()
        source.migrate(out)
        source.advance(0.35)  # the guest may write faster than a limited channel takes it away
        source.set_parameters({"max-bandwidth": 0})
        assert finish(source) == "completed"
        target = build(
            layout, work, folder, release=release, incoming="defer", used=7,
            devices=(counter_device(), nic_device(mac=bytes(6))),
        )  # fmt: skip
        target.load(MemoryInput(out.getvalue(), seekable=seekable))
        assert content(target) == content(source)
        for ours, theirs in zip(source.devices, target.devices, strict=True):
            assert ours.values == theirs.values
        # Whether it slept once is for the memory to know; below a picosecond nothing travels.
        forgotten = {"time_fraction": 0, "slept": 0}
        assert target.guest.get_state() | forgotten == source.guest.get_state() | forgotten
        # Run states travel, but a guest may put itself to sleep while it is sent.
        if target.run.state is not state:
            assert {state, target.run.state} == {"running", "suspended"}
        else:
            assert target.run.was_suspended is (suspended and state != "running")
        # Both go on alike.  In place they share the memory, so one of them has to be enough.
        if layout.ignorable:
            source.quit()
            target.advance(0.1)
            return
        source.cont()
        target.cont()
        for vm in (source, target):
            vm.advance(0.07)
        assert target.guest.writes == source.guest.writes
        assert content(target) == content(source)


script = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 400_000).map(lambda n: n / 1e6)),
        st.tuples(
            st.sampled_from(["stop", "cont", "suspend", "migrate_cancel", "migrate", "reset"]),
            st.just(0.0),
        ),
        st.tuples(st.just("bandwidth"), st.sampled_from([0.0, 200_000.0, 5_000_000.0])),
    ),
    min_size=3,
    max_size=12,
)
cuts = st.lists(st.integers(0, 400_000).map(lambda n: n / 1e6), max_size=4)


def perform(work, mode, release, script, cuts) -> tuple[object, ...]:
    """Run ``script`` on a new machine, every ``advance`` cut at ``cuts``; return all there is."""
    vm = build(Layout(False, None, False), work, None, release=release)
    vm.ram["ram0"].view()[:] = 9
    vm.set_parameters({"mode": mode, "max-bandwidth": 200_000})
    vm.set_capabilities([("auto-converge", True)])
    outs = []
    for verb, value in script:
        try:
            match verb:
                case "advance":
                    at = 0
                    total = round(value * 1e6)
                    for cut in sorted(round(c * 1e6) for c in cuts if c < value):
                        vm.advance((cut - at) / 1e6)
                        at = cut
                    vm.advance((total - at) / 1e6)
                case "bandwidth":
                    vm.set_parameters({"max-bandwidth": int(value)})
                case "migrate":
                    outs.append(MemoryOutput())
                    vm.migrate(outs[-1])
                case "reset":
                    vm.system_reset()
                case _:
                    getattr(vm, verb)()
        except MigsimError as error:
            outs.append(str(error))
    streams = [out if isinstance(out, str) else out.getvalue() for out in outs]
    return vm.events, streams, fingerprint(vm) | {"outgoing": None}


@given(workloads, modes, releases, script, cuts)
def test_the_same_seed_gives_the_same_bytes_however_time_is_cut(work, mode, release, script, cuts):
    first = perform(work, mode, release, script, [])
    assert perform(work, mode, release, script, []) == first
    assert perform(work, mode, release, script, cuts) == first


def saved_stream() -> tuple[bytes, VM]:
    vm = build(Layout(False, 9, False), ("uniform", 900.0, 3), None)
    paint(vm, 4)
    vm.advance(0.1)
    out = MemoryOutput()
    vm.save(out)
    return out.getvalue(), vm


STREAM, SOURCE = saved_stream()
DESCRIPTION = STREAM.rindex(b'{"configuration"') - 5
KEPT = ("ram", "devices", "guest", "run", "parameters", "capabilities", "blockers", "exited")


def kept(vm: VM) -> dict[str, object]:
    return {key: value for key, value in fingerprint(vm).items() if key in KEPT}


def fresh_target(**config) -> VM:
    vm = build(
        Layout(False, 5, False), ("uniform", 900.0, 3), None, incoming="defer", **config
    )  # fmt: skip
    paint(vm, 8)
    return vm


def load_or_not(channel, vm=None) -> bool:
    """Load; when it fails, everything has to be as it was and a good stream has to load."""
    vm = vm or fresh_target()
    before = kept(vm)
    vm.migrate_incoming(channel, exit_on_error=False)
    if finish(vm) == "completed":
        return True
    assert kept(vm) == before
    assert vm.run.state == "inmigrate"
    vm.load(MemoryInput(STREAM))
    assert content(vm) == content(SOURCE)
    return False


@given(st.integers(0, DESCRIPTION - 1), st.booleans())
def test_truncated_streams_leave_no_trace(length, seekable):
    assert not load_or_not(MemoryInput(STREAM[:length], seekable=seekable))


@given(
    st.lists(st.tuples(st.integers(0, DESCRIPTION), st.integers(1, 255)), min_size=1, max_size=5),
    st.booleans(),
)
def test_damaged_streams_load_or_leave_no_trace(flips, seekable):
    raw = bytearray(STREAM)
    for place, mask in flips:
        raw[place] ^= mask
    load_or_not(MemoryInput(bytes(raw), seekable=seekable))


@given(
    st.integers(0, DESCRIPTION - 1),
    st.sampled_from(FaultKind),
    st.one_of(st.none(), st.integers(1, 5000)),
)
def test_sources_that_break_leave_no_trace(after, kind, chunk):
    inner = MemoryInput(STREAM, seekable=False, chunk_bytes=chunk)
    assert not load_or_not(FaultyInput(inner, Fault(after, kind)))


@given(st.sampled_from(["size", "name", "machine", "device", "veto"]), st.booleans())
def test_machines_that_do_not_fit_leave_no_trace(what, seekable):
    def refuse(device):
        raise DeviceError(device.name, "post_load", "no")

    devices = (counter_device(value=1), nic_device())
    memory = BackendSpec(BackendKind.RAM, "ram0", PAGES * PAGE)
    config = {"memory": memory, "devices": devices, "incoming": "defer"}
    match what:
        case "size":
            config["memory"] = BackendSpec(BackendKind.RAM, "ram0", (PAGES + 1) * PAGE)
        case "name":
            config["ram_name"] = "other"
        case "machine":
            config["machine"] = "pc"
        case "device":
            config["devices"] = devices[:1]
        case "veto":
            devices[1].post_load = refuse
    rom = RAMBlock(
        "/rom@table", BackendSpec(BackendKind.RAM, "rom", SMALL * PAGE).create(), resizable=True
    )  # fmt: skip
    vm = VM(MachineConfig(extra_blocks=(rom,), workload=workload("uniform", 900.0, 3), **config))
    paint(vm, 5)
    before = kept(vm)
    vm.migrate_incoming(MemoryInput(STREAM, seekable=seekable), exit_on_error=False)
    assert finish(vm) == "failed"
    assert kept(vm) == before
    assert vm.query_status() == {"running": False, "status": "inmigrate"}


WHOLE = 700_000
BREAKING = [kind for kind in FaultKind if kind is not FaultKind.LOST]


@given(
    st.builds(Fault, st.integers(0, WHOLE), st.sampled_from(BREAKING)),
    how_to_save,
    st.sampled_from(["running", "paused", "suspended"]),
    workloads,
)
def test_a_save_that_breaks_gives_the_guest_back(fault, how, state, work):
    assume(work[0] != "counter")  # it may fall asleep by itself
    vm = build(Layout(False, 9, False), work, None)
    twin = build(Layout(False, 9, False), work, None)
    for machine in (vm, twin):
        machine.ram["ram0"].view()[:] = 1
        match state:
            case "paused":
                machine.stop()
            case "suspended":
                machine.suspend()
    vm.set_parameters(how)
    out = MemoryOutput()
    vm.migrate(FaultyOutput(out, fault))
    status = finish(vm)
    if status == "completed":
        assert len(out.getvalue()) <= fault.after_bytes
        return
    assert status == "failed"
    assert len(out.getvalue()) == fault.after_bytes
    assert vm.run.state == state
    assert not vm.ram["ram0"].log.active
    assert vm.source.error.operation == "write"
    # The guest does what it would have done, in its own time.
    twin.guest.run_ps(vm.guest.time_ps)
    assert content(vm) == content(twin)
    again = MemoryOutput()
    vm.set_parameters({"max-bandwidth": 0})
    vm.save(again)
    target = build(Layout(False, 9, False), work, None, incoming="defer")
    target.load(MemoryInput(again.getvalue()))
    assert content(target) == content(vm)


@given(workloads, spans, st.sampled_from([1_000_000, 20_000_000]), releases.filter("8.2".__ne__))
def test_a_cpr_guest_never_writes_after_stop(work, span, bandwidth, release):
    vm = build(Layout(False, None, False), work, None, release=release)
    vm.ram["ram0"].view()[:] = 1
    vm.advance(span)
    vm.set_parameters({"mode": "cpr-reboot", "max-bandwidth": bandwidth})
    was = vm.run.state
    vm.migrate(MemoryOutput())
    before = content(vm)
    while vm.source.running:
        vm.advance(0.013)
        assert content(vm) == before
    stops = sum(event.name == "STOP" for event in vm.events)
    assert stops == 1, was
    ram = vm.query_migrate()["ram"]
    assert ram["normal"] + ram["duplicate"] == PAGES
    assert ram["precopy-bytes"] == 0
