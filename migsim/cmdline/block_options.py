"""``-drive``, ``-hda`` and their like, ``-blockdev``: images, and where they are plugged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..errors import ConfigError, ParameterError
from .block_nodes import (
    KIND,
    PROTOCOLS,
    checked_name,
    drivers,
    from_filename,
    from_members,
    references,
    walk,
)
from .draft import Draft, Given
from .jsonform import is_json, parse_object
from .keyval import nest, parse_keyval
from .model import Family, Info, MachineOption
from .options import Kind, Options, check_known, parse_options
from .parts import BlockNode, DriveOption
from .schema import check_object, member_names
from .text import shorten

INTERFACES: Final = ("none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen")
SHORT_DRIVES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "hda": (("index", "0"), ("media", "disk")),
    "hdb": (("index", "1"), ("media", "disk")),
    "hdc": (("index", "2"), ("media", "disk")),
    "hdd": (("index", "3"), ("media", "disk")),
    "cdrom": (("index", "2"), ("media", "cdrom")),
    "fda": (("if", "floppy"), ("index", "0")),
    "fdb": (("if", "floppy"), ("index", "1")),
    "sd": (("if", "sd"),),
    "mtdblock": (("if", "mtd"),),
    "pflash": (("if", "pflash"),),
}
"""What the short options for drives stand for; a word without a dash is ``-hda``."""

_PLACE: Final[Mapping[str, Kind]] = {
    "if": Kind.TEXT,
    "bus": Kind.NUMBER,
    "unit": Kind.NUMBER,
    "index": Kind.NUMBER,
    "media": Kind.TEXT,
    "file": Kind.TEXT,
    "format": Kind.TEXT,
    "snapshot": Kind.SWITCH,
    "copy-on-read": Kind.SWITCH,
    "werror": Kind.TEXT,
    "rerror": Kind.TEXT,
    "cache": Kind.TEXT,
    "aio": Kind.TEXT,
    "read-only": Kind.SWITCH,
    "cache.direct": Kind.SWITCH,
    "cache.no-flush": Kind.SWITCH,
    "cache.writeback": Kind.SWITCH,
    "stats-account-invalid": Kind.SWITCH,
    "stats-account-failed": Kind.SWITCH,
    "auto-read-only": Kind.SWITCH,
    "force-share": Kind.SWITCH,
    "discard": Kind.TEXT,
    "detect-zeroes": Kind.TEXT,
    "throttling.group": Kind.TEXT,
}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "if": INTERFACES,
    "media": ("disk", "cdrom"),
    "cache": ("none", "off", "writeback", "unsafe", "directsync", "writethrough"),
    "aio": ("threads", "native", "io_uring"),
    "discard": ("ignore", "off", "unmap", "on"),
    "detect-zeroes": ("off", "on", "unmap"),
    "werror": ("ignore", "stop", "report", "enospc"),
    "rerror": ("ignore", "stop", "report"),
}
# Old names of limits, which QEMU renames before it looks at them.
_LIMITS: Final = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "iops_size", "group")
_PLACES_ON_BOARD: Final[Mapping[Family, Mapping[str, tuple[int, int]]]] = {
    Family.PC: {"ide": (2, 2), "floppy": (1, 2), "pflash": (1, 2)},
    Family.Q35: {"ide": (6, 1), "floppy": (1, 2), "pflash": (1, 2)},
    Family.ISAPC: {"ide": (2, 2), "floppy": (1, 2), "pflash": (1, 2)},
}
# Units of a bus, where the interface has buses of a fixed size.
_UNITS: Final[Mapping[str, int]] = {"ide": 2, "scsi": 7}


def take_drive(draft: Draft, text: str) -> None:
    """Keep one ``-drive``."""
    _keep_drive(draft, "drive", text, parse_options(text))


def take_short_drive(name: str, draft: Draft, text: str) -> None:
    """Keep one of the short options for drives, as the ``-drive`` that it stands for."""
    file = (("file", text),) if text else ()
    _keep_drive(draft, name, text, Options((*SHORT_DRIVES[name], *file)))


def _keep_drive(draft: Draft, name: str, text: str, options: Options) -> None:
    if options.help or options.get("format") in ("help", "?"):
        draft.ask(Info("drive"))
        return
    draft.keep(Given(name, text, options), "drive")


def take_blockdev(draft: Draft, text: str) -> None:
    """Keep one ``-blockdev``."""
    if is_json(text):
        members = check_object(KIND, parse_object(text, "-blockdev"))
    else:
        parsed = parse_keyval(text, "driver")
        if parsed.help:
            draft.ask(Info("blockdev"))
            return
        members = check_object(KIND, parsed.members, textual=True)
    draft.keep(Given("blockdev", text, members=members))


class Blocks:
    """Drives and block nodes put together from all options.

    Attributes:
        drives: in order, with their places.
        blockdevs: in order.
    """

    def __init__(self, draft: Draft, machine: MachineOption) -> None:
        self.drives: list[DriveOption] = []
        self.blockdevs: list[BlockNode] = []
        self._machine = machine
        self._names: set[str] = set()
        self._ids: set[str] = set()
        self._taken: set[tuple[str, int, int]] = set()
        for given in draft.all("blockdev"):
            self._add_blockdev(given)
        for given in draft.all("drive"):
            assert given.options is not None
            self._add_drive(given.option, given.options, "snapshot" in draft.flags)
        for drive in self.drives:
            if drive.interface == "pflash":
                draft.refuse("-drive if=pflash", "flash memory adds RAM blocks")

    def _add_blockdev(self, given: Given) -> None:
        assert given.members is not None
        node = from_members(given.members)
        if node.name is None:
            raise ConfigError("-blockdev", "node-name= is missing")
        self._claim(node)
        self.blockdevs.append(node)

    def _claim(self, node: BlockNode) -> None:
        """Check that names are new, and that nodes that are referred to exist."""
        for one in walk(node):
            if one.name in self._names:
                raise ConfigError(f"block node {one.name}", "another node has that name")
        for name in references(node):
            if name not in self._names:
                raise ConfigError("block node", f"there is no node {shorten(name)!r} to put it on")
        names = [one.name for one in walk(node) if one.name is not None]
        if len(set(names)) < len(names):
            raise ConfigError("block node", "two nodes of one tree have the same name")
        self._names.update(names)

    def _add_drive(self, option: str, options: Options, snapshot: bool) -> None:
        pairs = [("read-only" if n == "readonly" else n, v) for n, v in options.pairs]
        values = dict(pairs)
        check_known([(n, v) for n, v in pairs if n in _PLACE], _PLACE)
        for name, choices in _CHOICES.items():
            if name in values and values[name] not in choices:
                raise ParameterError(name, shorten(values[name]), f"one of {', '.join(choices)}")
        interface = values.get("if", self._default_interface())
        bus, unit = self._place(interface, options)
        identifier = options.id or self._derived_id(interface, bus, unit, values)
        if identifier in self._ids:
            raise ConfigError(f"-{option}", f"there are two drives {identifier}")
        node = _drive_node(f"-{option}", pairs)
        if node is not None:
            self._claim(node)
            if identifier in self._names:
                raise ConfigError(f"-{option}", f"drive {identifier} has the name of a node")
        drive = DriveOption(
            identifier,
            interface,
            bus,
            unit,
            node,
            values.get("media", "disk"),
            snapshot or options.switch("snapshot"),
            f"-{option}",
        )
        self._check_place(drive)
        self._ids.add(identifier)
        self._taken.add((interface, bus, unit))
        self.drives.append(drive)

    def _default_interface(self) -> str:
        return "ide" if self._machine.family in _PLACES_ON_BOARD else "none"

    def _units(self, interface: str) -> int:
        if interface == "ide" and self._machine.family is Family.Q35:
            return 1
        return _UNITS.get(interface, 0)

    def _place(self, interface: str, options: Options) -> tuple[int, int]:
        """Return bus and unit: as given, or the first free place."""
        index, bus, unit = (options.number(name) for name in ("index", "bus", "unit"))
        units = self._units(interface)
        if index is not None:
            if bus is not None or unit is not None:
                raise ConfigError("-drive", "index= cannot be combined with bus= and unit=")
            bus, unit = divmod(index, units) if units else (0, index)
        bus = bus or 0
        if unit is None:
            unit = 0
            while (interface, bus, unit) in self._taken:
                bus, unit = (bus + 1, 0) if units and unit + 1 >= units else (bus, unit + 1)
        if units and unit >= units:
            raise ConfigError("-drive", f"a bus of interface {interface} has {units} units")
        if (interface, bus, unit) in self._taken:
            raise ConfigError("-drive", f"{interface} bus {bus} unit {unit} has a drive already")
        return bus, unit

    def _derived_id(self, interface: str, bus: int, unit: int, values: Mapping[str, str]) -> str:
        kind = "-cd" if values.get("media") == "cdrom" else "-hd"
        if self._units(interface):
            return f"{interface}{bus}{kind}{unit}"
        return f"{interface}{unit}"

    def _check_place(self, drive: DriveOption) -> None:
        """Check that the machine has the place, and that a disk there is not empty."""
        if drive.interface in ("none", "virtio"):
            return
        places = _PLACES_ON_BOARD.get(self._machine.family, {})
        buses, units = places.get(drive.interface, (0, 0))
        if drive.bus >= buses or drive.unit >= units:
            what = f"{drive.interface} bus {drive.bus} unit {drive.unit}"
            raise ConfigError(drive.option, f"machine {self._machine.name} has no {what}")
        if drive.interface == "ide" and drive.media == "disk" and drive.node is None:
            raise ConfigError(drive.option, "a disk needs file=")


def _drive_node(option: str, pairs: Sequence[tuple[str, str]]) -> BlockNode | None:
    """Return what a drive opens; None for an empty one."""
    values = dict(pairs)
    if "driver" in values and "format" in values:
        raise ConfigError(option, "format= and driver= are two words for one thing")
    driver = values.get("driver", values.get("format"))
    if driver is not None and driver not in drivers():
        raise ConfigError(option, f"there is no block driver {shorten(driver)!r}")
    filename = values.get("file") or None
    rest = [(n, v) for n, v in pairs if n not in _PLACE and n not in ("driver", "node-name")]
    for name, _ in rest:
        _check_block_key(option, name, driver)
    members = nest([(n, v) for n, v in rest if n not in _LIMITS])
    node = from_members(members)
    read_only = values.get("read-only") in ("on", "yes", "true", "y")
    node = replace(
        node, name=checked_name(values.get("node-name")), read_only=read_only or node.read_only
    )
    if filename is None and "file" not in members and driver is None:
        if rest:
            raise ConfigError(option, "file= or driver= is missing")
        return None
    return _with_file(option, node, driver, filename)


def _with_file(option: str, node: BlockNode, driver: str | None, filename: str | None) -> BlockNode:
    """Return ``node`` with its driver, on top of the node that ``filename`` stands for."""
    if driver in PROTOCOLS:
        name = node.filename if filename is None else filename
        writable = driver == "vvfat" and node.options.get("rw") in ("on", "yes", "true", "y")
        read_only = (driver == "vvfat" and not writable) or node.read_only
        return replace(node, driver=driver, filename=name, read_only=read_only)
    if filename is not None:
        below: BlockNode | str = from_filename(filename)
        return replace(node, driver=driver, children={**node.children, "file": below})
    if "file" not in node.children:
        raise ConfigError(option, f"driver {driver} needs file=")
    return replace(node, driver=driver)


def _check_block_key(option: str, name: str, driver: str | None) -> None:
    top = name.partition(".")[0]
    if name in _LIMITS or top == "throttling":
        return
    if top not in member_names(KIND, driver) and top not in ("file", "backing"):
        raise ConfigError(option, f"there is no key {shorten(name)!r} for driver {driver or 'any'}")
