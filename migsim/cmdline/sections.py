"""A `CommandLine` to the devices of its board: which of the recorded settings apply."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from ..boards import archive
from ..boards.board import BoardSpec, board_devices, power_on
from ..boards.recorded import RecordedDevice
from .blockers import device_features
from .facts import device as device_facts
from .model import DEFAULT_RAM_BYTES, Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from .model import CommandLine
    from .parts import DeviceOption

BOARDS: Final = {Family.MICROVM: "microvm", Family.PC: "pc", Family.Q35: "q35"}
"""Families whose boards were recorded, and their names there."""
_KVM_DEVICE: Final = "/dev/kvm"
_PORTS: Final = {"serial": 4, "parallel": 3}
_SWITCHED_OFF: Final = (
    *("acpi", "hpet", "vmport", "smm", "pit", "pic", "i8042", "smbus", "sata"),
    *("fd-bootchk", "ioapic2", "rtc"),
)
_SWITCHED_ON: Final = ("pcie", "rtc", "usb")
_OFF: Final = ("off", "no", "false", "n")
_IRQCHIP: Final = {"split": "split", "off": "irqchip-off"}
BOARD_OPTIONS: Final = ("-vga", "-parallel")
"""Options whose devices sit among those of the board."""
_VGA: Final = {
    "VGA": "vga-std",
    "cirrus-vga": "vga-cirrus",
    "vmware-svga": "vga-vmware",
    "virtio-vga": "vga-virtio",
}
_MMIO_FIRST: Final = 0xFEB00000
_MMIO_STEP: Final = 0x200
_MMIO_LAST: Final = 23
"""Slot of the first virtio device of a microvm; the next ones come below (QEMU 10.0.2)."""
_BEHIND_PORT: Final = "port"
_PORTS_OF_PCIE: Final = ("pcie-root-port", "ioh3420", "xio3130-downstream", "cxl-rp")
_SCSI_PLACE: Final = "{}/0:0:0/"
_STATELESS: Final = ("ide-hd", "ide-cd", "virtserialport", "virtconsole", "isa-debugcon")


def board_of(line: CommandLine) -> Callable[..., tuple[RecordedDevice, ...]] | None:
    """Return what makes the devices of the machine's board, or None where they are not known."""
    machine = BOARDS.get(line.machine.family)
    if machine is None:
        return None
    spec = BoardSpec(
        machine,
        accelerator_of(line),
        line.memory.size_bytes or DEFAULT_RAM_BYTES,
        line.cpus,
        tuple(_settings(line, machine)),
    )
    return partial(board_devices, spec)


def board_is_complete(line: CommandLine) -> bool:
    """Return whether the sections of all devices of the machine are known."""
    return all(sections_known(line, option) for option in line.devices)


def sections_known(line: CommandLine, option: DeviceOption) -> bool:
    """Return whether it is known which sections the device of ``option`` brings."""
    facts = device_facts(option.driver)
    if option.option in BOARD_OPTIONS or option.driver in _STATELESS or facts is None:
        return True
    machine = BOARDS[line.machine.family]
    if archive.model(option.driver, machine) is not None or device_features(option):
        return True
    return facts.state is None


class StatePlaces:
    """The recorded state of the devices of a command line, one after another."""

    def __init__(self, line: CommandLine) -> None:
        self._line = line
        self._machine = BOARDS.get(line.machine.family)
        self._on_mmio = 0
        self._targets: Counter[str] = Counter()

    def on_board(self, option: DeviceOption) -> bool:
        """Return whether the board has the device of ``option`` already."""
        known = option.driver in _VGA or option.option == "-parallel"
        return self._machine is not None and option.option in BOARD_OPTIONS and known

    def on_board_already(self, name: str) -> int:
        """Return how many sections of that name the board has; none with a path in theirs."""
        make = None if "/" in name else board_of(self._line)
        return 0 if make is None else sum(device.name == name for device in make())

    def devices(self, option: DeviceOption, path: str) -> list[RecordedDevice]:
        """Return the devices that ``option`` brings at ``path``; none where they are not known."""
        if self._machine is None or device_features(option):
            return []
        facts = device_facts(option.driver)
        if facts is not None and facts.bus == "virtio-bus":
            address = _MMIO_FIRST + (_MMIO_LAST - self._on_mmio) * _MMIO_STEP
            path = f"virtio-mmio@{address:016x}"
            self._on_mmio += 1
        port = any(d.id == option.bus and d.driver in _PORTS_OF_PCIE for d in self._line.devices)
        rows = archive.model(option.driver, _BEHIND_PORT if port else self._machine) or ()
        return [self._device(row, path) for row in rows]

    def _device(self, row: archive.ModelRow, path: str) -> RecordedDevice:
        name = row.name
        if name.startswith(_SCSI_PLACE):
            name = name.replace("0:0:0", f"0:{self._targets[path]}:0")
            self._targets[path] += 1
        state = partial(power_on, row.state)
        title = name.replace("{}", path)
        return RecordedDevice(title, row.version, state, priority=int(row.early))


def accelerator_of(line: CommandLine) -> str:
    """Return the accelerator that a real machine would take: ``kvm`` or ``tcg``.

    KVM counts where the host has it; what is neither has the sections of ``tcg``.
    """
    for accelerator in line.accelerators:
        if accelerator.name != "kvm":
            return "tcg"
        if os.access(_KVM_DEVICE, os.R_OK | os.W_OK):
            return "kvm"
    return "tcg"


def _settings(line: CommandLine, machine: str) -> Iterator[str]:
    properties = line.machine.properties
    for name in _SWITCHED_OFF:
        if properties.get(name) in _OFF:
            yield "acpi-off-microvm" if (name, machine) == ("acpi", "microvm") else f"{name}-off"
    for name in _SWITCHED_ON:
        if line.machine.switch(name):
            yield _on_name(name, machine)
    irqchip = _IRQCHIP.get(str(properties.get("kernel-irqchip")))
    if irqchip is not None:
        yield irqchip
    if not line.nodefaults:
        yield "defaults"
    if line.user_networks:
        yield "slirp"
    yield from _display(line)
    yield from _ports(line, machine)


def _on_name(name: str, machine: str) -> str:
    if name == "usb":
        return "usb-microvm" if machine == "microvm" else "usb"
    return f"{name}-on"


def _display(line: CommandLine) -> Iterator[str]:
    for option in line.devices:
        if option.option == "-vga" and option.driver in _VGA:
            yield _VGA[option.driver]


def _ports(line: CommandLine, machine: str) -> Iterator[str]:
    """Yield the settings of serial and parallel ports; the last one holds those before it."""
    parallels = _count(line.parallels, line, "isa-parallel")
    if machine == "microvm":
        serials = _count(line.serials, line, "")
        if line.machine.properties.get("isa-serial") not in _OFF and serials:
            yield "serial0-microvm"
        return
    # Parallel ports go behind the serial ones, and both behind the same device of the board.
    if parallels:
        yield f"parallel{min(parallels, _PORTS['parallel']) - 1}"
    serials = _count(line.serials, line, "isa-serial")
    if serials:
        yield f"serial{min(serials, _PORTS['serial']) - 1}"


def _count(ports: tuple[str | None, ...], line: CommandLine, device: str) -> int:
    """Return how many ports of a kind the board has; one when nothing is said of them."""
    if ports or line.nodefaults:
        return sum(port is not None for port in ports)
    return int(all(option.driver != device for option in line.devices))
