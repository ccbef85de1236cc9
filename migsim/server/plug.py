"""What comes and goes while a machine runs: block nodes, drives, devices, objects, chardevs.

A command that adds something is read as one more option of the command line that the machine was
started with, so everything that options are checked for is checked here, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..blockers.catalogue import register
from ..blockers.registry import Blocker
from ..cmdline.blockers import features
from ..cmdline.build import _devices, plain_device
from ..cmdline.layout import backend_spec
from ..cmdline.placement import place
from ..errors import ConfigError
from ..monitor.errors import DEVICE_NOT_FOUND, QmpError
from ..monitor.hmp import HmpCommand
from ..monitor.schema import ArgType, Argument, Arguments, Command

if TYPE_CHECKING:
    from ..blockers.registry import UnmigratableDevice
    from ..cmdline.applied import AppliedFeature
    from ..cmdline.build import Built
    from ..cmdline.model import CommandLine
    from ..guest.devices import Device
    from ..machine.machine import Machine
    from ..ram.backends import MemoryBackend

Handles = dict["AppliedFeature", "Blocker | UnmigratableDevice"]
Reader = Callable[[Sequence[str]], "CommandLine"]
_VVFAT = "vvfat"


class Plugger:
    """Adds to and removes from one machine.

    ``argv`` is the command line that it was built from, ``read`` what parses one.
    """

    def __init__(self, machine: Machine, built: Built, argv: Sequence[str], read: Reader) -> None:
        self._machine = machine
        self._read = read
        self._argv = list(argv)
        self._added: dict[tuple[str, str], list[str]] = {}
        self._handles: Handles = built.register(machine.blockers)
        self._devices = _by_id(built)
        self._ids = {kind: set[str]() for kind in ("object", "node", "device")}
        self._ids["object"].update(o.id for o in built.line.objects)
        self._ids["node"].update(d.id for d in built.line.drives)
        self._ids["node"].update(n.name for n in built.line.blockdevs if n.name)
        self._ids["device"].update(d.id for d in built.line.devices if d.id)
        self._backends: dict[str, MemoryBackend] = {}
        self._note_restless()

    # Block nodes and drives.

    def blockdev_add(self, _vm: Machine, arguments: Arguments) -> object:
        """``blockdev-add``: a block node with a name."""
        name = arguments.get("node-name")
        if not isinstance(name, str) or not name:
            raise QmpError("blockdev-add: a node of its own needs 'node-name'")
        self._add_features("node", name, ["-blockdev", json.dumps(arguments)])
        return {}

    def blockdev_del(self, _vm: Machine, arguments: Arguments) -> object:
        """``blockdev-del``: remove a node that was added."""
        self._remove("node", str(arguments["node-name"]), "blockdev-del")
        return {}

    def drive_add(self, vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
        """``drive_add`` of the human monitor."""
        name = _member(words[1], "id")
        if name is None:
            raise ConfigError("drive_add", "id= is missing")
        self._add_features("node", name, ["-drive", words[1]])
        return ["OK"]

    def drive_del(self, vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
        """``drive_del`` of the human monitor."""
        self._remove("node", words[0], "drive_del")
        return ()

    # Devices, objects, character devices.

    def device_add(self, vm: Machine, arguments: Arguments) -> object:
        """``device_add``: plug a device in."""
        name = arguments.get("id")
        if name is not None and name in self._ids["device"]:
            raise QmpError(f"device_add: id '{name}' is taken")
        words = ["-device", json.dumps(arguments)]
        line = self._extended(words)
        option, path = line.devices[-1], list(place(line))[-1]
        made = _devices(replace(line, devices=(option,)), (path,), plain_device)
        for device in made:
            while vm.devices.find(device.name, device.instance_id) is not None:
                device.instance_id += 1
            vm.devices.add(device)
        if isinstance(name, str):
            self._added["device", name] = words
            self._ids["device"].add(name)
            self._devices[name] = list(made)
        else:
            self._argv += words
        return {}

    def device_del(self, vm: Machine, arguments: Arguments) -> object:
        """``device_del``: unplug a device; the synthetic guest lets go at once."""
        name = str(arguments["id"])
        if name not in self._ids["device"]:
            raise QmpError(f"device_del: there is no device '{name}'", DEVICE_NOT_FOUND)
        for device in self._devices.pop(name, []):
            vm.devices.remove(device)
        self._forget("device", name)
        vm.emit("DEVICE_DELETED", {"device": name, "path": f"/machine/peripheral/{name}"})
        return {}

    def object_add(self, _vm: Machine, arguments: Arguments) -> object:
        """``object-add``: make an object."""
        name = arguments.get("id")
        if not isinstance(name, str) or name in self._ids["object"]:
            raise QmpError(f"object-add: an id that is not taken is needed, not {name!r}")
        words = ["-object", json.dumps(arguments)]
        made = self._extended(words).object(name)
        if made is not None and made.is_memory:
            self._backends[name] = backend_spec(made).create()
        self._ids["object"].add(name)
        self._added["object", name] = words
        return {}

    def object_del(self, vm: Machine, arguments: Arguments) -> object:
        """``object-del``: remove an object that nobody uses."""
        name = str(arguments["id"])
        if name not in self._ids["object"]:
            raise QmpError(f"object-del: there is no object '{name}'")
        if name in vm.ram:
            raise QmpError(f"object-del: '{name}' is in use")
        backend = self._backends.pop(name, None)
        if backend is not None:
            backend.close()
        self._forget("object", name)
        return {}

    def chardev_remove(self, _vm: Machine, arguments: Arguments) -> object:
        """``chardev-remove``: remove a character device."""
        name = str(arguments["id"])
        if all(c.id != name for c in self._read(self._argv).chardevs):
            raise QmpError(f"chardev-remove: there is no chardev '{name}'")
        self._lift(name)
        return {}

    @property
    def commands(self) -> tuple[Command, ...]:
        """The QMP commands of this object."""
        text = ArgType.STRING
        return (
            Command("blockdev-add", self.blockdev_add, "Add a block node.", None),
            Command(
                "blockdev-del",
                self.blockdev_del,
                "Remove a block node.",
                (Argument("node-name", text, required=True),),
            ),
            Command("device_add", self.device_add, "Plug a device in.", None),
            Command("device_del", self.device_del, "Unplug a device.", _ID),
            Command("object-add", self.object_add, "Make an object.", None),
            Command("object-del", self.object_del, "Remove an object.", _ID),
            Command("chardev-remove", self.chardev_remove, "Remove a character device.", _ID),
        )

    @property
    def hmp_commands(self) -> Mapping[str, HmpCommand]:
        """The commands of the human monitor of this object."""
        rows = (
            HmpCommand("drive_add", "pci-address options", self.drive_add, "n", (2, 2)),
            HmpCommand("drive_del", "id", self.drive_del, "", (1, 1)),
        )
        return {row.name: row for row in rows}

    # Parts.

    def _extended(self, words: Sequence[str]) -> CommandLine:
        """Return the command line with one more option."""
        added = [word for pair in self._added.values() for word in pair]
        return self._read([*self._argv, *added, *words])

    def _add_features(self, kind: str, name: str, words: list[str]) -> None:
        """Add a block node, with the blockers of all formats in its tree; all or nothing."""
        if name in self._ids[kind]:
            raise QmpError(f"the name '{name}' is taken")
        line = self._extended(words)
        new: Handles = {}
        registry, release = self._machine.blockers, self._machine.release
        try:
            for one in features(line):
                if one.owner == name:
                    handle = register(registry, one.feature, one.name, release)
                    if handle is not None:
                        new[one] = handle
        except Exception:
            for handle in new.values():
                self._unregister(handle)
            raise
        self._handles.update(new)
        self._ids[kind].add(name)
        self._added[kind, name] = words
        self._note_restless()

    def _remove(self, kind: str, name: str, command: str) -> None:
        if name not in self._ids[kind]:
            raise QmpError(f"{command}: there is no '{name}'")
        self._lift(name)
        self._forget(kind, name)

    def _forget(self, kind: str, name: str) -> None:
        self._ids[kind].discard(name)
        self._added.pop((kind, name), None)

    def _lift(self, owner: str) -> None:
        for one in [one for one in self._handles if one.owner == owner]:
            self._unregister(self._handles.pop(one))
        self._note_restless()

    def _unregister(self, handle: Blocker | UnmigratableDevice) -> None:
        registry = self._machine.blockers
        if isinstance(handle, Blocker):
            registry.remove(handle)
        else:
            registry.unregister(handle)

    def _note_restless(self) -> None:
        """Tell the machine of drives that cannot be put to rest at the end of a save."""
        names = [one.name for one in self._handles if one.feature == _VVFAT]
        self._machine.restless = tuple(names)


_ID = (Argument("id", ArgType.STRING, required=True),)


def _by_id(built: Built) -> dict[str, list[Device]]:
    """Return the machine's devices by the id of the option that made them."""
    found: dict[str, list[Device]] = {}
    devices = iter(built.config.devices)
    for option, path in zip(built.line.devices, place(built.line), strict=True):
        for _ in _devices(replace(built.line, devices=(option,)), (path,), plain_device):
            device = next(devices)
            if option.id is not None:
                found[option.id] = [device]
    return found


def _member(text: str, name: str) -> str | None:
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None
