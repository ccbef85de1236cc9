"""Every fault in every mode over every transport: what the table promises comes true."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fault.cells import CELLS, FAULTS, MODES, TRANSPORTS, Outcome, Place
from neighbour import NOWHERE, Neighbour
from vms import PAGE, fill_by_page_number

from migsim.channel.faults import Fault, FaultyInput, FaultyOutput
from migsim.channel.file import FileInput, FileOutput
from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.errors import MigsimError
from migsim.guest.synthetic import counter_device
from migsim.guest.workloads import SequentialSweep
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.testing.invariants import Witness, fingerprint, nothing_lost, same_ram
from migsim.vm import VM

SIZE = 64 * PAGE
OFFSET = 4096
LEFT_ALONE = ("ram", "devices", "guest", "run", "parameters", "capabilities", "blockers")


def machine(*, incoming=None, memory=None, connect=None, mapped=False) -> VM:
    spec = memory or BackendSpec(BackendKind.MEMFD, "ram0", SIZE)
    config = MachineConfig(
        memory=spec,
        incoming=incoming,
        handed_over=memory is not None,
        devices=(counter_device(value=7),),
        workload=SequentialSweep(0, 63, rate_pages_per_s=2000.0),
    )
    vm = VM(config, connect=connect)
    vm.set_capabilities([("events", True), ("mapped-ram", mapped)])
    return vm


class Way:
    """One transport, which a fault can be put into."""

    def __init__(self, transport: str, mode: str, folder: Path) -> None:
        self.transport, self.mode, self.path = transport, mode, folder / "state"
        self.offset = OFFSET if transport == "file with offset" else 0
        self.mapped = transport == "mapped-ram file"
        self.memory = MemoryOutput()
        self.fault: Fault | None = None
        self.place = Place.WRITING

    def machine(self) -> VM:
        if self.transport != "handover":
            return machine(mapped=self.mapped)
        self.neighbour = Neighbour(self._output, self._input)
        return machine(connect=lambda _: self.neighbour)

    def target(self) -> VM:
        if self.transport != "handover":
            return machine(incoming="defer", mapped=self.mapped)
        fd = self.neighbour.memory["ram0"]
        spec = BackendSpec(BackendKind.MEMFD, "ram0", SIZE, fd=fd)
        return machine(incoming="defer", memory=spec, connect=lambda _: self.neighbour)

    def migrate(self, vm: VM) -> None:
        vm.set_parameters({"mode": self.mode})
        match self.transport:
            case "handover":
                self.neighbour.stream = MemoryOutput()
                vm.migrate(NOWHERE, cpr=NOWHERE)
            case "channel":
                self.memory = MemoryOutput()
                vm.migrate(self._output(self.memory))
            case _:
                vm.migrate(self._output(FileOutput(str(self.path), self.offset)))

    def load(self, vm: VM) -> None:
        match self.transport:
            case "handover":
                vm.load("unix:/nowhere")
            case "channel":
                vm.load(self._input(MemoryInput(self.memory.getvalue())))
            case _:
                vm.load(self._input(FileInput(str(self.path), self.offset)))

    def stored(self) -> bytes:
        if self.transport in ("channel", "handover"):
            stream = self.memory if self.transport == "channel" else self.neighbour.stream
            return stream.getvalue()
        return self.path.read_bytes()[self.offset :]

    def store(self, data: bytes) -> None:
        stream = MemoryOutput()
        stream.write(data)
        if self.transport in ("channel", "handover"):
            self.memory = stream
            if self.transport == "handover":
                self.neighbour.stream = stream
        else:
            self.path.write_bytes(bytes(self.offset) + data)

    def _output(self, channel):
        strikes = self.fault is not None and self.place is Place.WRITING
        return FaultyOutput(channel, self.fault) if strikes else channel

    def _input(self, channel):
        strikes = self.fault is not None and self.place is Place.READING
        return FaultyInput(channel, self.fault) if strikes else channel


def end(vm: VM) -> str:
    vm.run_until(lambda: not vm.source.running)
    return vm.source.status.value


def length_of_stream(cell, folder: Path) -> int:
    """Return how many bytes pass the channel without any fault, and at least."""
    folder.mkdir()
    way = Way(cell.transport, cell.mode, folder)
    with way.machine() as vm:
        fill_by_page_number(vm)
        way.migrate(vm)
        assert end(vm) == "completed"
        close(way)
        return int(vm.query_migrate()["ram"]["transferred"])


def close(way: Way) -> None:
    for fd in getattr(way, "neighbour", Neighbour()).memory.values():
        os.close(fd)


def spoilt(data: bytes, fault) -> bytes:
    if fault.name == "truncated file":
        return data[: int(len(data) * fault.at)]
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c.fault.name}-{c.mode}-{c.transport}")
def test_what_is_promised_comes_true(cell, tmp_path):
    way = Way(cell.transport, cell.mode, tmp_path)
    if cell.outcome is Outcome.REFUSED:
        with way.machine() as vm:
            before = fingerprint(vm)
            if cell.transport == "handover":
                way.migrate(vm)  # nothing takes the memory: a stream like any other
                assert way.neighbour.memory == {}
            else:
                with pytest.raises(MigsimError):
                    way.migrate(vm)
                assert fingerprint(vm)["run"] == before["run"]
        return
    if cell.fault.kind is not None:
        place = int(length_of_stream(cell, tmp_path / "first") * cell.fault.at)
        way.fault = Fault(max(0, place - (cell.fault.at == 1.0)), cell.fault.kind)
        way.place = cell.fault.place
    with way.machine() as vm, machine() as stayed:
        witness = Witness(vm)
        for one in (vm, stayed):
            fill_by_page_number(one)
        vm.advance(0.01)
        way.migrate(vm)
        status = end(vm)
        witness.check()
        if cell.outcome is Outcome.SAVE_FAILS:
            assert status == "failed"
            assert vm.run.state == "running"
            vm.advance(0.01)
            witness.check()
            way.fault = None
            close(way)
            way.migrate(vm)
            status = end(vm)
        assert status == "completed"
        whole = way.stored()
        if cell.fault.place is Place.STORED:
            way.store(spoilt(whole, cell.fault))
        with way.target() as target:
            close(way)
            watched = Witness(target)
            if cell.outcome is Outcome.LOAD_FAILS:
                before = fingerprint(target)
                with pytest.raises(MigsimError):
                    way.load(target)
                after = fingerprint(target)
                assert {k: after[k] for k in LEFT_ALONE} == {k: before[k] for k in LEFT_ALONE}
                watched.check()
                if cell.fault.kind is not None and cell.fault.place is Place.WRITING:
                    return  # the stream was never whole
                way.fault = None
                way.store(whole)
            way.load(target)
            watched.check()
            same_ram(vm, target)
            nothing_lost(target, stayed)


def test_the_table_has_every_cell():
    assert len(CELLS) == len(FAULTS) * len(MODES) * len(TRANSPORTS)
    tried = [cell for cell in CELLS if cell.outcome is not Outcome.REFUSED]
    assert {(c.mode, c.transport) for c in tried} == {
        *((mode, way) for mode in MODES[:2] for way in TRANSPORTS[:4]),
        ("cpr-transfer", "handover"),
    }
    assert len({replace(fault).name for fault in FAULTS}) == len(FAULTS)
