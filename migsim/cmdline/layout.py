"""The RAM blocks of a machine by name, size and backing, in the order of their registration.

Names and sizes were seen on QEMU 10.0.2 (monitor command ``info ramblock``); the naming rules are
those of spec stream.md section 8.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..machine.types import MachineType, machine_type
from ..qapi.release import Release
from ..ram.spec import BackendKind, BackendSpec
from ..units import KIB, MIB, PAGE_SIZE
from .memory_options import total_bytes
from .model import CommandLine, Family, ObjectOption
from .placement import place

if TYPE_CHECKING:
    from .parts import DeviceOption

_UNMODELLED_RAM: Final = "pc.ram"
CANONICAL_UNTIL: Final = Release(3, 1)
"""Last machine version whose file and memfd backends name their blocks by object path."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """A RAM block to be made.

    Attributes:
        name: its name in the stream.
        backing: its memory.
        used_bytes: length in use; the backing may be larger.
        address: guest physical address of its region in its container.
        resizable: the incoming side may change the length in use.
        main: it is what ``-m`` asks for, or a part of it.
        firmware: it holds code and tables that every such machine has.
    """

    name: str
    backing: BackendSpec
    used_bytes: int
    address: int = 0
    resizable: bool = False
    main: bool = False
    firmware: bool = False

    @property
    def usable_in_place(self) -> bool:
        """Whether another process can be handed the memory: shared, with a descriptor."""
        share = self.backing.share
        return self.backing.qom_type is BackendKind.MEMFD if share is None else share


@dataclass(frozen=True, slots=True)
class _Row:
    """A block that belongs to the machine or to a device."""

    name: str
    used_bytes: int
    max_bytes: int
    address: int = 0
    resizable: bool = False
    firmware: bool = True


def _fixed(name: str, size: int, address: int = 0, *, firmware: bool = True) -> _Row:
    return _Row(name, size, size, address, firmware=firmware)


def _tables(acpi_bytes: int) -> tuple[_Row, ...]:
    return (
        _Row("/rom@etc/acpi/tables", acpi_bytes, 2 * MIB, resizable=True),
        _Row("/rom@etc/table-loader", 4 * KIB, 64 * KIB, resizable=True),
        _Row("/rom@etc/acpi/rsdp", 4 * KIB, 4 * KIB, resizable=True),
    )


_PC_FIRMWARE: Final = (
    _fixed("pc.bios", 256 * KIB, 0xFFFC0000),
    _fixed("pc.rom", 128 * KIB, 0xC0000),
)
_FIRMWARE: Final[Mapping[Family, tuple[_Row, ...]]] = {
    Family.PC: _PC_FIRMWARE,
    Family.Q35: _PC_FIRMWARE,
    Family.MICROVM: (_fixed("pc.bios", 128 * KIB, 0xFFFE0000),),
}
_MICROVM_WITHOUT_ACPI: Final = (_fixed("pc.bios", 64 * KIB, 0xFFFF0000),)
_TABLES: Final[Mapping[Family, tuple[_Row, ...]]] = {
    Family.PC: _tables(128 * KIB),
    Family.Q35: _tables(128 * KIB),
    Family.MICROVM: _tables(4 * KIB),
}

_VGA: Final = ("vga.vram", 16 * MIB)
_DEVICE_RAM: Final[Mapping[str, tuple[str, int]]] = {
    "VGA": _VGA,
    "secondary-vga": _VGA,
    "ati-vga": _VGA,
    "cirrus-vga": ("vga.vram", 4 * MIB),
    "virtio-vga": ("vga.vram", 8 * MIB),
    "vmware-svga": _VGA,
    "bochs-display": ("bochs-display-vram", 16 * MIB),
    "isa-vga": ("vga.vram", 8 * MIB),
}
_DEVICE_ROMS: Final[Mapping[str, tuple[str, int]]] = {
    "VGA": ("vga.rom", 64 * KIB),
    "ati-vga": ("ati-vga.rom", 64 * KIB),
    "cirrus-vga": ("cirrus_vga.rom", 64 * KIB),
    "virtio-vga": ("virtio-vga.rom", 64 * KIB),
    "vmware-svga": ("vmware_vga.rom", 64 * KIB),
    "bochs-display": ("bochs-display.rom", 32 * KIB),
    "ne2k_pci": ("ne2000.rom", 256 * KIB),
    "i82559er": ("i82559er.rom", 128 * KIB),
    "i82801": ("i82801.rom", 128 * KIB),
    **{
        name: (f"{name}.rom", 256 * KIB)
        for name in ("e1000", "e1000e", "rtl8139", "virtio-net-pci", "vmxnet3", "pcnet")
    },
}
_SVGA_FIFO: Final = _fixed("vmsvga.fifo", 64 * KIB, firmware=False)
# How devices name the block of their memory backend: below their own path, or by its id alone.
_BY_PATH: Final = ("ivshmem-plain", "virtio-mem-pci")
_BY_ID: Final = ("pc-dimm", "nvdimm", "acpi-erst")


def plan_blocks(line: CommandLine) -> tuple[BlockPlan, ...]:
    """Return the RAM blocks of the machine in the order of their registration.

    Raises:
        ConfigError: a memory backend that migsim does not model.
    """
    blocks = [*_main_blocks(line)]
    share = line.memory.aux_ram_share
    family, acpi = line.machine.family, line.machine.properties.get("acpi") != "off"
    firmware = _FIRMWARE.get(family, ())
    if family is Family.MICROVM and not acpi:
        firmware = _MICROVM_WITHOUT_ACPI
    blocks += [_aux(row, share) for row in firmware]
    for device, path in zip(line.devices, place(line), strict=True):
        blocks += _device_blocks(line, device, path, share)
    if acpi:
        blocks += [_aux(row, share) for row in _TABLES.get(family, ())]
    return tuple(blocks)


def _aux(row: _Row, share: bool) -> BlockPlan:
    """Return a block that QEMU makes itself: from a memfd with ``aux-ram-share=on``."""
    backing = BackendSpec(BackendKind.RAM, row.name, row.max_bytes, share=share)
    address, resizable = row.address, row.resizable
    return BlockPlan(row.name, backing, row.used_bytes, address, resizable, firmware=row.firmware)


def _main_blocks(line: CommandLine) -> Iterator[BlockPlan]:
    memory = line.memory
    names = [memory.backend] if memory.backend is not None else list(memory.node_backends)
    for name in names:
        found = line.object(name)
        if found is None:
            raise ConfigError(f"memory backend {name}", "there is no such object")
        spec = backend_spec(found)
        yield BlockPlan(_block_name(line, found), spec, spec.size, main=True)
    if names:
        return
    backends = {o.id: o for o in line.objects if o.is_memory}
    size = total_bytes(memory, line.machine, backends)
    if size:
        spec = _default_backend(line, size)
        yield BlockPlan(spec.id, spec, size, main=True)


def _default_backend(line: CommandLine, size: int) -> BackendSpec:
    """Return what the RAM is without a backend: private, in the file of ``-mem-path`` if given."""
    kind = _machine_type(line)
    name = _UNMODELLED_RAM if kind is None else kind.ram_id
    if line.memory.path is None:
        return BackendSpec(BackendKind.RAM, name, size)
    return BackendSpec(BackendKind.FILE, name, size, mem_path=line.memory.path)


def _machine_type(line: CommandLine) -> MachineType | None:
    """Return the type of the machine, or None for one that migsim does not model."""
    if not line.machine.family.modelled:
        return None
    return machine_type(line.machine.name, line.release)


def _block_name(line: CommandLine, memory: ObjectOption) -> str:
    by_path = memory.properties.get("x-use-canonical-path-for-ramblock-id")
    if by_path is None:
        plain = memory.qom_type == "memory-backend-ram"
        kind = _machine_type(line)
        version = None if kind is None else kind.version
        by_path = not plain and version is not None and version <= CANONICAL_UNTIL
    return f"/objects/{memory.id}" if by_path else memory.id


def backend_spec(memory: ObjectOption) -> BackendSpec:
    """Return the description of a memory backend, its size rounded up to whole pages.

    Raises:
        ConfigError: a type, or a property of it, that migsim does not model.
    """
    p = memory.properties
    size, share = p["size"], p.get("share")
    assert isinstance(size, int)
    assert share is None or isinstance(share, bool)
    size = -(-size // PAGE_SIZE) * PAGE_SIZE
    what = f"{memory.qom_type} {memory.id}"
    match memory.qom_type:
        case "memory-backend-ram":
            return BackendSpec(BackendKind.RAM, memory.id, size, share=share)
        case "memory-backend-memfd" | "memory-backend-shm":
            return BackendSpec(BackendKind.MEMFD, memory.id, size, share=share)
        case "memory-backend-file":
            path, readonly = str(p["mem-path"]), p.get("readonly") is True
            return BackendSpec(
                BackendKind.FILE, memory.id, size, mem_path=path, share=share, readonly=readonly
            )
    raise ConfigError(what, "migsim does not model this type")


def _device_blocks(
    line: CommandLine, device: DeviceOption, path: str, share: bool
) -> Iterator[BlockPlan]:
    prefix = f"{path}/" if path else ""
    if device.driver == "vmware-svga":
        yield _aux(_SVGA_FIFO, share)
    if ram := _DEVICE_RAM.get(device.driver):
        name, size = ram
        megabytes = device.text("vgamem_mb") or ""
        if megabytes.isdecimal() and 0 < int(megabytes) <= 512:
            size = int(megabytes) * MIB
        yield _aux(_fixed(prefix + name, size, firmware=False), share)
    rom = _DEVICE_ROMS.get(device.driver)
    if rom and device.text("rombar") != "0" and device.text("romfile") != "":
        yield _aux(_fixed(prefix + rom[0], rom[1]), share)
    memdev = device.text("memdev")
    if memdev is None or device.driver not in (*_BY_PATH, *_BY_ID):
        return
    memory = line.object(memdev)
    if memory is not None:
        spec = backend_spec(memory)
        name = f"{prefix}{memdev}" if device.driver in _BY_PATH else memdev
        yield BlockPlan(name, spec, spec.size)
