"""The processor of a guest that runs a boot program: where it is in it, both ways.

Before a save the registers say where the synthetic guest stands; after a load the synthetic guest
goes to where registers and memory say that the program was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..guest.page_counter import PageCounter
from ..units import PAGE_SIZE
from .recorded import RecordedDevice

if TYPE_CHECKING:
    from ..guest.boot_program import BootProgram
    from ..guest.devices import Device
    from ..guest.guest import Guest
    from ..vmstate.described import DecodedValue

_FLAT_LIMIT: Final = 0xFFFFFFFF
_CODE_FLAGS: Final = 0x00CF9B00
"""A flat 32-bit code segment that has been used: an unused one is refused by KVM."""
_DATA_FLAGS: Final = 0x00CF9300
_REAL_MODE_LIMIT: Final = 0xFFFF
_REAL_MODE_FLAGS: Final = 0x9300
_PROTECTED: Final = 0x11
"""Control register 0 in protected mode: its bits PE and ET."""
_HIDDEN_FLAGS: Final = 0x90
"""QEMU's summary of a 32-bit code segment in protected mode (bits CS32 and PE)."""
_FLAGS: Final = 2
_VECTORS_LIMIT: Final = 0x3FF
_PE: Final = 1
_CS, _DS = 1, 3
_RUNNING: Final = {"halted": 0, "interrupt_request": 0}
_A20: Final = 2
"""Bit of port 0x92 that lets odd megabytes be addressed."""


def attach(devices: Sequence[RecordedDevice], guest: Guest) -> None:
    """Let the first processor of ``devices`` go along with ``guest``, if it runs a program."""
    workload = guest.workload
    by_key = {(device.name, device.instance_id): device for device in devices}
    cpu, common = by_key.get(("cpu", 0)), by_key.get(("cpu_common", 0))
    if not isinstance(workload, PageCounter) or workload.program is None:
        return
    if cpu is None or common is None:
        return
    link = _Link(guest, workload, workload.program, cpu)
    cpu.pre_save = link.tell_cpu
    cpu.post_load = link.ask_cpu
    common.pre_save = link.tell_common
    gate = by_key.get(("port92", 0))
    if gate is not None:
        gate.pre_save = link.tell_gate


class _Link:
    """Goes between one guest and the devices that show what it does."""

    def __init__(
        self, guest: Guest, workload: PageCounter, program: BootProgram, cpu: RecordedDevice
    ) -> None:
        self._guest = guest
        self._workload = workload
        self._program = program
        self._cpu = cpu

    @property
    def _booted(self) -> bool:
        return self._workload.position > 0

    def tell_cpu(self, device: Device) -> None:
        """Put the processor into the loop, where the guest is."""
        if self._booted:
            self._cpu.write(cpu_values(self._program, self._workload.position))

    def tell_common(self, device: Device) -> None:
        """Say that the processor runs, without an interrupt on its way."""
        if self._booted:
            _recorded(device).write(_RUNNING)

    def tell_gate(self, device: Device) -> None:
        """Open the gate of the odd megabytes."""
        if self._booted:
            gate = _recorded(device)
            value = gate.read("outport")
            assert isinstance(value, int)
            gate.write({"outport": value | _A20})

    def ask_cpu(self, device: Device) -> None:
        """Go to where the program was; a guest that is there already stays."""
        position = self._position()
        span = 256 * self._workload.pages
        if position is not None and (self._workload.position - position) % span:
            self._guest.continue_at(position)

    def _position(self) -> int | None:
        """Return where the program was: before its start, zeroing or counting."""
        block = self._guest.block
        if block is None or not block.backend.has_bytes:
            return None
        loop = self._program.phase(_number(self._cpu.read("env.eip")))
        if not _number(self._cpu.read("env.cr[0]")) & _PE or loop is None:
            return 0
        if loop is self._program.counting:
            # Memory knows better: a page may be counted and the register not yet moved on.
            return self._workload.counted_position(block) or self._workload.pages
        registers = self._cpu.read("env.regs")
        assert isinstance(registers, tuple)
        addr = _number(registers[loop.register])
        return max(min((addr - self._program.first) // PAGE_SIZE, self._workload.pages - 1), 1)


def cpu_values(program: BootProgram, position: int) -> dict[str, DecodedValue]:
    """Return the fields of section ``cpu`` of a processor before page write ``position``.

    Their names are those of QEMU 10.0's description.
    """
    eip, registers = program.registers(position)
    values: dict[str, DecodedValue] = {
        "env.regs": tuple(registers),
        "env.eip": eip,
        "env.eflags": _FLAGS,
        "env.hflags": _HIDDEN_FLAGS,
        "env.gdt.base": program.table,
        "env.gdt.limit": program.table_limit,
        "env.idt.base": 0,
        "env.idt.limit": _VECTORS_LIMIT,
        "env.cr[0]": _PROTECTED,
        "env.mp_state": 0,
        "env.interrupt_injected": -1,
        "env.exception_nr": -1,
    }
    for number in range(6):
        values |= _segment(number, 0, _REAL_MODE_LIMIT, _REAL_MODE_FLAGS)
    values |= _segment(_CS, program.code_selector, _FLAT_LIMIT, _CODE_FLAGS)
    return values | _segment(_DS, program.data_selector, _FLAT_LIMIT, _DATA_FLAGS)


def _segment(number: int, selector: int, limit: int, flags: int) -> dict[str, DecodedValue]:
    stem = f"env.segs[{number}]"
    return {
        f"{stem}.selector": selector,
        f"{stem}.base": 0,
        f"{stem}.limit": limit,
        f"{stem}.flags": flags,
    }


def _recorded(device: Device) -> RecordedDevice:
    assert isinstance(device, RecordedDevice)
    return device


def _number(value: DecodedValue) -> int:
    assert isinstance(value, int)
    return value
