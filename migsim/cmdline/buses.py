"""The buses that a machine and its devices offer, and where on them a device ends up.

Paths are those that section names and RAM block names begin with: ``0000:00:02.0`` on PCI,
``0000:00:02.0/1`` for port 1 of a USB controller there (seen on QEMU 10.0.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, ParameterError
from .model import Family, MachineOption
from .text import shorten, words

if TYPE_CHECKING:
    from .parts import DeviceOption

PCI: Final = "PCI"
USB: Final = "usb-bus"
USB_HUB: Final = "usb-hub"
HUB_PORTS: Final = 8
MOST_PORTS: Final = 15
SLOTS: Final = 32
FUNCTIONS: Final = 8

# What devices offer: kind of bus, how many, and whether the bus has the device's own name.
_USB_HOSTS: Final = words(
    "qemu-xhci nec-usb-xhci usb-ehci ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2"
    " ich9-usb-uhci3 ich9-usb-uhci4 ich9-usb-uhci5 ich9-usb-uhci6 piix3-usb-uhci piix4-usb-uhci"
    " pci-ohci"
)
_SCSI_HOSTS: Final = words(
    "virtio-scsi-pci virtio-scsi-pci-transitional virtio-scsi-pci-non-transitional"
    " virtio-scsi-device lsi53c810 lsi53c895a megasas megasas-gen2 mptsas1068 pvscsi am53c974 dc390"
    " usb-uas usb-bot"
)
_SERIAL_HOSTS: Final = words(
    "virtio-serial-pci virtio-serial-pci-transitional virtio-serial-pci-non-transitional"
    " virtio-serial-device"
)
_BRIDGES: Final = words(
    "pcie-root-port ioh3420 cxl-rp pci-bridge pci-bridge-seat i82801b11-bridge pcie-pci-bridge"
    " x3130-upstream xio3130-downstream pxb pxb-pcie pxb-cxl cxl-upstream cxl-downstream"
)
OFFERS: Final[Mapping[str, tuple[str, int]]] = {
    **dict.fromkeys(_USB_HOSTS, (USB, 1)),
    **dict.fromkeys(_SCSI_HOSTS, ("SCSI", 1)),
    **dict.fromkeys(_SERIAL_HOSTS, ("virtio-serial-bus", 1)),
    **dict.fromkeys(_BRIDGES, (PCI, 1)),
    "ich9-ahci": ("IDE", 6),
    "piix3-ide": ("IDE", 2),
    "piix4-ide": ("IDE", 2),
    "isa-ide": ("IDE", 1),
    "intel-hda": ("HDA", 1),
    "ich9-intel-hda": ("HDA", 1),
    "sdhci-pci": ("sd-bus", 1),
    "usb-ccid": ("ccid-bus", 1),
    "nvme": ("nvme-bus", 1),
    "nvme-subsys": ("nvme-bus", 1),
    "ufs": ("ufs-bus", 1),
    "tpci200": ("IndustryPack", 1),
    "vmbus-bridge": ("vmbus", 1),
    "isa-fdc": ("floppy-bus", 1),
}
"""The buses that a device model brings: their kind, and how many."""


_USB_PORTS: Final[Mapping[str, int]] = {
    **{name: 2 if "uhci" in name else 6 for name in _USB_HOSTS},
    "qemu-xhci": 4,
    "nec-usb-xhci": 4,
    "pci-ohci": 3,
}


@dataclass(slots=True)
class Bus:
    """A bus while devices are put on it.

    Attributes:
        kind: as device models name the kind they need.
        name: what ``bus=`` calls it.
        path: where it is, for paths of devices on it; empty where these have none.
        taken: PCI: device numbers with their functions, and what is there.
        ports: USB: free ports in the order in which they are handed out.
    """

    kind: str
    name: str
    path: str = ""
    taken: dict[tuple[int, int], str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)


_PC_ON_BOARD: Final = {(0, 0): "host bridge", (1, 0): "ISA bridge", (1, 1): "IDE", (1, 3): "ACPI"}
_Q35_ON_BOARD: Final = {
    (0, 0): "host bridge",
    (31, 0): "ISA bridge",
    (31, 2): "AHCI",
    (31, 3): "SMBus",
}
_VIRTIO_MMIO_BUSES: Final = 8


def board_buses(machine: MachineOption) -> Iterator[Bus]:
    """Yield the buses of a machine without any device given by the user."""
    family = machine.family
    if family in (Family.PC, Family.Q35):
        is_pc = family is Family.PC
        on_board = dict(_PC_ON_BOARD if is_pc else _Q35_ON_BOARD)
        if machine.switch("usb"):
            on_board |= dict.fromkeys(_BOARD_USB_PLACES[family], "USB controller")
        yield Bus(PCI, "pci.0" if is_pc else "pcie.0", "0000:00", on_board)
        yield from (Bus("IDE", f"ide.{n}") for n in range(2 if is_pc else 6))
        yield Bus("i2c-bus", "i2c")
        yield Bus("floppy-bus", "floppy-bus.0")
    if family is Family.MICROVM:
        yield from (Bus("virtio-bus", f"virtio-mmio-bus.{n}") for n in range(_VIRTIO_MMIO_BUSES))
        if machine.switch("pcie"):
            yield Bus(PCI, "pcie.0", "0000:00", {(0, 0): "host bridge"})
    if family not in (Family.NONE, Family.REMOTE):
        yield Bus("ISA", "isa.0")
        if machine.switch("usb"):
            path, count = _BOARD_USB[family]
            yield Bus(USB, "usb-bus.0", path, ports=[str(n) for n in range(1, count + 1)])
    if family is Family.REMOTE:
        yield Bus(PCI, "pcie.0", "0000:00")


_BOARD_USB_PLACES: Final = {
    Family.PC: ((1, 2),),
    Family.Q35: ((29, 0), (29, 1), (29, 2), (29, 7)),
}
_BOARD_USB: Final = {
    Family.PC: ("0000:00:01.2", 2),
    Family.Q35: ("0000:00:1d.7", 6),
    Family.MICROVM: ("", 8),
    Family.ISAPC: ("", 2),
}


class Topology:
    """All buses of a machine, growing with every device that is plugged in."""

    def __init__(self, machine: MachineOption) -> None:
        self._machine = machine.name
        self._buses: dict[str, Bus] = {}
        self._by_kind: dict[str, list[Bus]] = {}
        for bus in board_buses(machine):
            self._add(bus)

    def _add(self, bus: Bus) -> None:
        self._buses.setdefault(bus.name, bus)
        self._by_kind.setdefault(bus.kind, []).append(bus)

    def find(self, device: DeviceOption, kind: str) -> Bus:
        """Return the bus that ``device``, which needs one of ``kind``, goes onto.

        Raises:
            ConfigError: there is no such bus, or it is of another kind.
        """
        what = f"{device.option} {device.driver}"
        if device.bus is not None:
            bus = self._buses.get(device.bus)
            if bus is None:
                raise ConfigError(what, f"there is no bus {shorten(device.bus)!r}")
            if bus.kind != kind:
                raise ConfigError(what, f"it needs a bus of kind {kind}, not {bus.name}")
            return bus
        found = self._by_kind.get(kind)
        if not found:
            raise ConfigError(what, f"machine {self._machine} has no bus of kind {kind}")
        if kind == "virtio-bus":  # one device each
            return next((b for b in found if not b.taken), found[0])
        return found[0]

    def plug(self, device: DeviceOption, kind: str) -> str:
        """Put ``device`` onto a bus of ``kind``; return its path, empty where it has none.

        Raises:
            ConfigError: there is no such bus, or its place is taken.
            ParameterError: a malformed address.
        """
        path = ""
        if kind:
            bus = self.find(device, kind)
            if kind == PCI:
                path = _plug_pci(bus, device)
            elif kind == USB:
                path = _plug_usb(bus, device)
            else:
                if kind == "virtio-bus":
                    bus.taken[0, 0] = device.driver
                path = bus.path
        self._offer(device, path)
        return path

    def _offer(self, device: DeviceOption, path: str) -> None:
        """Add the buses that ``device`` brings."""
        kind, count = OFFERS.get(device.driver, ("", 0))
        for number in range(count):
            bus = Bus(kind, self._bus_name(device, kind, number), path)
            bus.ports = _port_names(device)
            self._add(bus)

    def _bus_name(self, device: DeviceOption, kind: str, number: int) -> str:
        if device.id is not None:
            return device.id if kind == PCI else f"{device.id}.{number}"
        same = len(self._by_kind.get(kind, ()))
        return f"{_STEMS.get(kind, kind.lower())}.{same}"


_STEMS: Final = {"IDE": "ide", "SCSI": "scsi", "HDA": "hda", PCI: "pci"}


def _plug_pci(bus: Bus, device: DeviceOption) -> str:
    """Return the path of ``device`` after putting it into its slot, or the first free one."""
    given = device.text("addr")
    place = _free_slot(bus, device) if given is None else _parse_addr(given)
    if place in bus.taken:
        other = bus.taken[place]
        what = f"{device.option} {device.driver}"
        raise ConfigError(what, f"slot {place[0]:02x}.{place[1]} has a device already: {other}")
    bus.taken[place] = device.driver
    return f"{bus.path}:{place[0]:02x}.{place[1]}"


def _free_slot(bus: Bus, device: DeviceOption) -> tuple[int, int]:
    used = {slot for slot, _ in bus.taken}
    for slot in range(SLOTS):
        if slot not in used:
            return slot, 0
    raise ConfigError(f"{device.option} {device.driver}", f"bus {bus.name} is full")


def _parse_addr(text: str) -> tuple[int, int]:
    """Return device and function of ``5``, ``05.1``, ``0x1d.0x2`` or a decimal device+function."""
    slot_text, _, function_text = text.partition(".")
    try:
        slot, function = int(slot_text, 16), int(function_text or "0", 16)
    except ValueError:
        slot = function = -1
    if not (0 <= slot < SLOTS and 0 <= function < FUNCTIONS):
        expected = f"a slot below {SLOTS:#x}, with a function below {FUNCTIONS} behind a point"
        raise ParameterError("addr", shorten(text), expected)
    return slot, function


def _plug_usb(bus: Bus, device: DeviceOption) -> str:
    """Return the path of ``device`` after putting it into its port, or the first free one.

    Before the last free port is taken by anything but a hub, a hub is put there (QEMU 10.0).
    """
    what = f"{device.option} {device.driver}"
    port = device.text("port")
    if port is None:
        if len(bus.ports) == 1 and device.driver != USB_HUB:
            bus.ports += _hub_ports(bus.ports.pop())
        if not bus.ports:
            raise ConfigError(what, f"bus {bus.name} has no free port")
        port = bus.ports.pop(0)
    elif port in bus.ports:
        bus.ports.remove(port)
    else:
        raise ConfigError(what, f"bus {bus.name} has no free port {shorten(port)!r}")
    if device.driver == USB_HUB:
        bus.ports += _hub_ports(port)
    return f"{bus.path}/{port}" if bus.path else port


def _hub_ports(port: str) -> list[str]:
    return [f"{port}.{number}" for number in range(1, HUB_PORTS + 1)]


def _port_names(device: DeviceOption) -> list[str]:
    """Return the ports of a USB controller, or none for other devices."""
    count = _USB_PORTS.get(device.driver, 0)
    given = device.text("p2") or ""
    if given.isdecimal() and count:
        count = min(int(given), MOST_PORTS)
    return [str(number) for number in range(1, count + 1)]
