"""``-device`` and the options that imply devices: models, properties, links, buses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError, ParameterError
from .backend_options import has_default_network
from .buses import Topology
from .draft import Draft, Given
from .facts import DeviceFacts, device
from .jsonform import is_json, parse_object
from .model import Family, Info, MachineOption
from .options import Options, parse_options
from .parts import DeviceOption, DriveOption
from .text import check_identifier, shorten, words
from .values import check_json_property, check_property

VGA_DEVICES: Final[Mapping[str, str]] = {
    "std": "VGA",
    "cirrus": "cirrus-vga",
    "vmware": "vmware-svga",
    "virtio": "virtio-vga",
    "qxl": "qxl-vga",
}
"""What the values of ``-vga`` stand for."""

USB_DEVICES: Final[Mapping[str, str]] = {
    "braille": "usb-braille",
    "keyboard": "usb-kbd",
    "mouse": "usb-mouse",
    "tablet": "usb-tablet",
    "wacom-tablet": "usb-wacom-tablet",
    "ccid": "usb-ccid",
    "u2f-key": "u2f-emulated",
}
"""What the values of ``-usbdevice`` stand for."""

_NO_VGA: Final = ("none", "xenfb", "tcx", "cg3")
_DRIVE: Final = ("drive",)
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "nvme": ("serial",),
    "ivshmem-plain": ("memdev",),
    "ivshmem-doorbell": ("chardev",),
    "usb-serial": ("chardev",),
    "usb-braille": ("chardev",),
    "isa-serial": ("chardev",),
    "isa-debugcon": ("chardev",),
    "isa-parallel": ("chardev",),
    "pc-dimm": ("memdev",),
    "nvdimm": ("memdev",),
    "virtio-pmem-pci": ("memdev",),
    "virtio-mem-pci": ("memdev",),
    "virtio-crypto-pci": ("cryptodev",),
    "virtio-9p-pci": ("fsdev", "mount_tag"),
    "tpm-tis": ("tpmdev",),
    "tpm-crb": ("tpmdev",),
    "ide-hd": _DRIVE,
    "scsi-hd": _DRIVE,
    "scsi-block": _DRIVE,
    "scsi-generic": _DRIVE,
    "usb-storage": _DRIVE,
    "virtio-blk-pci": _DRIVE,
    "virtio-blk-device": _DRIVE,
    "nvme-ns": _DRIVE,
    "ufs-lu": _DRIVE,
    "vfio-pci": ("host|sysfsdev|fd",),
    "vhost-user-fs-pci": ("chardev", "tag"),
    "vhost-user-blk-pci": ("chardev",),
    "vhost-user-gpu-pci": ("chardev",),
    "vhost-scsi-pci": ("wwpn",),
    "pci-bridge": ("chassis_nr",),
}
_AUDIO: Final = words("virtio-sound-pci usb-audio AC97 ES1370 sb16 adlib gus cs4231a")
_PARTS: Final = ("-transitional", "-non-transitional")
# Places on the system bus that only machines with firmware offer.
_NEEDS_FIRMWARE: Final = ("vmgenid", "vmcoreinfo", "vmclock", "tpm-crb", "hv-syndbg")


def take_device(draft: Draft, text: str) -> None:
    """Keep one ``-device``."""
    if is_json(text):
        draft.keep(Given("device", text, members=parse_object(text, "-device")))
        return
    options = parse_options(text, "driver")
    driver = options.get("driver")
    if options.help or driver in ("help", "?"):
        draft.ask(Info("device", None if driver in ("help", "?") else driver))
        return
    draft.keep(Given("device", text, options))


@dataclass(frozen=True, slots=True)
class Links:
    """What properties of devices can refer to, by kind of backend.

    Attributes:
        drives: ids of drives and names of block nodes.
        memory: ids of memory backends.
        objects: ids and types of all objects.
        netdevs, audiodevs, fsdevs, tpmdevs: ids.
    """

    drives: frozenset[str]
    memory: frozenset[str]
    objects: Mapping[str, str]
    netdevs: frozenset[str]
    audiodevs: frozenset[str]
    fsdevs: frozenset[str]
    tpmdevs: frozenset[str]
    default_audio: bool = False


def user_devices(
    draft: Draft, machine: MachineOption, drives: Sequence[DriveOption]
) -> list[DeviceOption]:
    """Return the devices of all options but those of consoles, in the order of creation.

    Raises:
        ConfigError: no such model, a malformed id, or an option that this machine cannot have.
    """
    devices = [*_vga(draft, machine), *_network_card(draft, machine)]
    devices += [
        DeviceOption("virtio-blk-pci", None, None, {"drive": drive.id}, drive.option)
        for drive in drives
        if drive.interface == "virtio"
    ]
    for given in draft.all("virtfs"):
        assert given.options is not None
        links = {"fsdev": given.options.id or "", "mount_tag": given.options.get("mount_tag") or ""}
        devices.append(DeviceOption("virtio-9p-pci", None, None, links, "-virtfs"))
    for given in draft.all("usbdevice"):
        driver = USB_DEVICES.get(given.text.partition(":")[0])
        if driver is None:
            raise ConfigError("-usbdevice", f"there is no USB device {shorten(given.text)!r}")
        devices.append(DeviceOption(driver, None, None, {}, "-usbdevice"))
    devices += [_device(given) for given in draft.all("device")]
    return devices


def _vga(draft: Draft, machine: MachineOption) -> list[DeviceOption]:
    default = "std" if _has_default_display(draft, machine) else "none"
    kind = draft.texts.get("vga", default).partition(",")[0]
    if kind in _NO_VGA:
        return []
    driver = VGA_DEVICES.get(kind)
    if driver is None:
        raise ConfigError("-vga", f"there is no display adapter {shorten(kind)!r}")
    if machine.family not in (Family.PC, Family.Q35):
        draft.warn(f"-vga {kind}: machine {machine.name} has no place for it")
        return []
    return [DeviceOption(driver, None, None, {}, "-vga")]


def _has_default_display(draft: Draft, machine: MachineOption) -> bool:
    """Return whether the machine has a display adapter though nobody asks for one."""
    if "nodefaults" in draft.flags or machine.family not in (Family.PC, Family.Q35):
        return False
    return not any(_named_driver(given) in _DISPLAYS for given in draft.all("device"))


def _named_driver(given: Given) -> object:
    if given.members is not None:
        return given.members.get("driver")
    return given.options.get("driver") if given.options is not None else None


_DISPLAYS: Final = words(
    "VGA isa-vga cirrus-vga isa-cirrus-vga vmware-svga qxl-vga virtio-vga virtio-vga-gl"
    " virtio-vga-rutabaga ati-vga vhost-user-vga"
)
"""Devices that keep a machine from having its own display adapter (QEMU 10.0.2)."""
_NETWORK_CARDS: Final = {Family.PC: "e1000", Family.Q35: "e1000e"}


def _network_card(draft: Draft, machine: MachineOption) -> list[DeviceOption]:
    """Return the network card that a machine has when nobody asks for one."""
    driver = _NETWORK_CARDS.get(machine.family)
    if driver is None or not has_default_network(draft):
        return []
    return [DeviceOption(driver, None, None, {}, "-nic")]


def _device(given: Given) -> DeviceOption:
    """Return the device that one ``-device`` describes, its properties checked by type."""
    members = _members(given)
    driver, identifier, bus = (members.pop(name, None) for name in ("driver", "id", "bus"))
    if not isinstance(driver, str) or not driver:
        raise ConfigError("-device", "a device model is missing")
    facts = device(driver)
    if facts is None:
        raise ConfigError("-device", f"there is no device model {shorten(driver)!r}")
    for text in (identifier, bus):
        if text is not None and not isinstance(text, str):
            raise ParameterError("id", text, "text")
    if isinstance(identifier, str):
        check_identifier(f"-device {driver}", identifier)
    assert identifier is None or isinstance(identifier, str)
    assert bus is None or isinstance(bus, str)
    _check_properties(facts, members, typed=given.options is None)
    return DeviceOption(facts.name, identifier, bus, members)


def _members(given: Given) -> dict[str, object]:
    if given.options is None:
        return dict(given.members or {})
    options: Options = given.options
    members: dict[str, object] = dict(options.values())
    if options.id is not None:
        members["id"] = options.id
    return members


def _check_properties(facts: DeviceFacts, members: Mapping[str, object], *, typed: bool) -> None:
    if facts.properties is None:
        return
    for name, value in members.items():
        kind = facts.properties.get(name)
        if kind is None:
            raise ConfigError(f"-device {facts.name}", f"it has no property {shorten(name)!r}")
        if name == "addr":
            continue
        if typed:
            check_json_property(name, value, kind)
        else:
            check_property(name, str(value), kind)


def plug_all(
    devices: Sequence[DeviceOption], machine: MachineOption, links: Links
) -> tuple[str, ...]:
    """Check that all devices can be created; return their paths.

    Raises:
        ConfigError: an id twice, a property that is missing, or refers to what is not there, no
            bus, or a place that is taken.
    """
    topology, ids, used = Topology(machine), set[str](), set[str]()
    paths = []
    for one in devices:
        facts = device(one.driver)
        assert facts is not None
        what = f"{one.option} {one.driver}"
        if one.id in ids:
            raise ConfigError(what, f"there are two devices {one.id}")
        if one.id is not None:
            ids.add(one.id)
        _check_required(one)
        _check_links(one, links)
        drive = one.text("drive")
        if drive is not None and drive in used:
            raise ConfigError(what, f"drive {drive} has a device already")
        if drive is not None:
            used.add(drive)
        _check_board(one, facts, machine)
        bus = "" if facts.bus == "System" else facts.bus
        paths.append(topology.plug(one, bus))
    return tuple(paths)


def _check_required(one: DeviceOption) -> None:
    model = one.driver
    for part in _PARTS[::-1]:
        model = model.removesuffix(part)
    for names in _REQUIRED.get(model, ()):
        if not any(one.text(name) is not None for name in names.split("|")):
            missing = names.partition("|")[0]
            raise ConfigError(f"{one.option} {one.driver}", f"{missing}= is missing")
    root = one.text("rootdir") or ""
    if model == "usb-mtp" and not root.startswith("/"):
        raise ParameterError("rootdir", root, "an absolute path")
    master = one.text("master")
    if model.startswith("ivshmem") and master not in (None, "on", "off", "auto"):
        raise ParameterError("master", master, "one of on, off, auto")


def _check_links(one: DeviceOption, links: Links) -> None:
    """Check that what a device refers to is there; character devices are checked elsewhere."""
    known = {
        "drive": links.drives,
        "memdev": links.memory,
        "netdev": links.netdevs,
        "audiodev": links.audiodevs,
        "fsdev": links.fsdevs,
        "tpmdev": links.tpmdevs,
        "cryptodev": links.objects.keys(),
        "iothread": links.objects.keys(),
        "rng": links.objects.keys(),
    }
    for name, ids in known.items():
        value = one.text(name)
        if value is not None and value not in ids:
            raise ConfigError(
                f"{one.option} {one.driver}", f"{name}={shorten(value)} refers to nothing"
            )
    if one.driver in _AUDIO and one.text("audiodev") is None and not links.default_audio:
        raise ConfigError(f"{one.option} {one.driver}", "audiodev= is missing")


def _check_board(one: DeviceOption, facts: DeviceFacts, machine: MachineOption) -> None:
    needs = facts.bus == "System" or one.driver in _NEEDS_FIRMWARE
    if needs and not machine.family.firmware:
        what = f"{one.option} {one.driver}"
        raise ConfigError(what, f"machine {machine.name} has no place for it")
