"""What on a command line forbids migration: features of the blocker catalogue, and who has them.

This is what a dry run of a command line shows, and what a machine registers when it is built.
Conditions that a command line cannot tell (what a host device can do, what the guest will mount)
give features that *depend*; the catalogue says on what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ..blockers.catalogue import register, row
from ..blockers.device_rows import DEVICE_ROWS, section_name
from ..blockers.rows import Kind
from ..qapi.release import Release
from .applied import AppliedFeature, Certainty
from .images import Look, image_features
from .layout import plan_blocks
from .machine_options import CONFIDENTIAL
from .placement import place, state_name
from .probe import probe_file

if TYPE_CHECKING:
    from ..blockers.registry import Blocker, BlockerRegistry, UnmigratableDevice
    from .model import CommandLine
    from .parts import DeviceOption

_VARIANTS: Final = ("-non-transitional", "-transitional", "-pci", "-device")
_UNMIGRATABLE: Final = frozenset(device_row.feature for device_row in DEVICE_ROWS)
# Models whose names differ from those in the catalogue.
_RENAMED: Final[Mapping[str, str]] = {"usb-braille": "usb-serial", "hv-syndbg": "hyperv-syndbg"}
_HOST_DEVICE: Final = ("vfio-pci", "vfio-pci-nohotplug")
_MODELS: Final[Mapping[str, str]] = {
    "vfio": "vfio",
    "vfio-pci-nohotplug": "vfio",
    "vhost-scsi": "vhost-scsi",
    "virtio-9p": "9p",
    "virtio-gpu-gl": "virtio-gpu-virgl",
    "virtio-vga-gl": "virtio-gpu-virgl",
    "x-pci-proxy-dev": "pci-proxy",
}
_INVTSC_MODELS: Final = ("host", "max")


def features(line: CommandLine, look: Look = probe_file) -> tuple[AppliedFeature, ...]:
    """Return what on ``line`` blocks migration, in the order in which QEMU registers it.

    ``look`` is asked about images: those without a format, and those of formats that have images
    below them.  Where it returns None, an image is what its option says, else raw.

    Raises:
        ConfigError: an image cannot be opened, or is not of the format that its option says.
    """
    found = [
        AppliedFeature("vdagent", c.id, c.option, c.id)
        for c in line.chardevs
        if c.backend == "qemu-vdagent"
    ]
    found += image_features(line, look)
    found += _of_processors(line)
    found += _of_memory(line)
    found += _of_devices(line)
    found += [
        AppliedFeature("tcg-plugin-time", "plugin", r.option, certainty=Certainty.DEPENDS)
        for r in line.refused
        if r.option == "-plugin"
    ]
    return tuple(found)


def register_features(
    registry: BlockerRegistry,
    found: Iterable[AppliedFeature],
    release: Release = Release.DEFAULT,
    *,
    safe: bool = False,
) -> dict[AppliedFeature, Blocker | UnmigratableDevice]:
    """Register the features of ``found`` that a machine has from its start; return the handles.

    Raises:
        OnlyMigratableError: the machine must stay migratable; those before it are registered.
    """
    handles = {}
    for one in found:
        if one.at_start:
            handle = register(registry, one.feature, one.name, release, safe=safe)
            if handle is not None:
                handles[one] = handle
    return handles


# Processors and the accelerator.


def _of_processors(line: CommandLine) -> Iterator[AppliedFeature]:
    accelerator = line.accelerator
    if accelerator in ("nvmm", "whpx"):
        yield AppliedFeature(accelerator, accelerator, "-accel")
    if accelerator in ("kvm", "hvf") and _has_invtsc(line):
        yield AppliedFeature(f"invtsc-{accelerator}", line.cpu.model or "cpu", "-cpu")
    if accelerator == "kvm":
        for flag in ("hv-passthrough", "hv-no-nonarch-coresharing"):
            value = line.cpu.flags.get(flag)
            if value == "auto" or (flag == "hv-passthrough" and line.cpu.on(flag)):
                yield AppliedFeature(flag, flag, "-cpu", certainty=Certainty.DEPENDS)
    guests = {o.id for o in line.objects if o.qom_type in CONFIDENTIAL}
    chosen = line.machine.properties.get("confidential-guest-support")
    chosen = chosen or line.machine.properties.get("memory-encryption")
    if isinstance(chosen, str) and chosen in guests:
        yield AppliedFeature("sev", chosen, "-machine")


def _has_invtsc(line: CommandLine) -> bool:
    """Return whether the invariant TSC is on, and no frequency is given that a target could set."""
    if line.machine.family.value == "none" or "tsc-frequency" in line.cpu.flags:
        return False
    if line.cpu.on("invtsc"):
        return True
    if line.cpu.off("invtsc"):
        return False
    if line.cpu.model in _INVTSC_MODELS and line.cpu.off("migratable"):
        return True
    drivers = (f"{line.cpu.model or 'qemu64'}-x86_64-cpu", "x86_64-cpu")
    values = [g.value for g in line.globals if g.driver in drivers and g.property == "invtsc"]
    return bool(values) and values[-1] in ("on", "yes", "true", "y")


# Memory.


def _of_memory(line: CommandLine) -> Iterator[AppliedFeature]:
    for block in plan_blocks(line):
        if not block.usable_in_place:
            option = "-m" if block.main else "-machine"
            yield AppliedFeature("ram-block", block.name, option)


# Devices.


def _of_devices(line: CommandLine) -> Iterator[AppliedFeature]:
    hosts = 0
    for device, path in zip(line.devices, place(line), strict=True):
        yield from (applied_to(device, feature, path) for feature in device_features(device))
        name = device.id or device.driver
        hosts += device.driver in _HOST_DEVICE
        if device.driver in _HOST_DEVICE and hosts == 2:
            yield AppliedFeature("vfio-multiple", name, device.option, name, Certainty.DEPENDS)
    for identifier, kind in line.tpmdevs:
        if kind == "emulator":
            yield AppliedFeature(
                "tpm-emulator", identifier, "-tpmdev", identifier, Certainty.DEPENDS
            )


def applied_to(device: DeviceOption, feature: str, path: str = "") -> AppliedFeature:
    """Return ``feature`` of a device at ``path``."""
    name = device.id or device.driver
    is_section = row(feature).kind is Kind.DEVICE
    shown = section_name(state_name(device), path) if is_section else name
    return AppliedFeature(feature, shown, device.option, name, _certainty(device, feature))


def device_features(device: DeviceOption) -> tuple[str, ...]:
    """Return the features of the catalogue that a device has, by its model and properties."""
    model = _catalogue_name(device.driver)
    if model.startswith("ivshmem"):
        return () if device.text("master") == "on" else ("ivshmem",)
    if model == "vhost-scsi" and device.text("migratable") in ("on", "yes", "true", "y"):
        return ()
    feature = model if model in _UNMIGRATABLE else _MODELS.get(model)
    return () if feature is None else (feature,)


def _catalogue_name(driver: str) -> str:
    """Return the catalogue's name of a model: without the bus it is made for."""
    name = _RENAMED.get(driver, driver)
    for variant in _VARIANTS:
        if name in _UNMIGRATABLE:
            break
        name = name.removesuffix(variant)
    return name


def _certainty(device: DeviceOption, feature: str) -> Certainty:
    if feature == "vfio" and device.text("enable-migration") != "off":
        return Certainty.DEPENDS
    if feature == "ivshmem" and device.driver == "ivshmem-doorbell":
        return Certainty.SURE if device.text("master") == "off" else Certainty.DEPENDS
    return Certainty.SURE
