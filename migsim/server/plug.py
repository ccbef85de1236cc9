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
from ..cmdline.build import make_devices
from ..cmdline.layout import backend_spec
from ..cmdline.placement import place
from ..errors import ConfigError, MigsimError
from ..monitor.errors import DEVICE_NOT_FOUND, QmpError
from ..monitor.hmp import HmpCommand
from ..monitor.schema import Arguments, Command

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
_CONNECTED = ("socket", "udp", "stdio", "pty", "mux", "hub")
_CHARDEV_KEYS = {"out": "path", "in": "input-path", "device": "path", "append": "append"}


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
        self._ids = {kind: set[str]() for kind in ("object", "node", "device", "chardev")}
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
        try:
            self._add_features("node", name, ["-drive", words[1]])
        except MigsimError as error:
            return [str(error)]
        return ["OK"]

    def drive_del(self, vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
        """``drive_del`` of the human monitor."""
        if words[0] not in self._ids["node"]:
            return [f"there is no device '{words[0]}'"]
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
        made = make_devices(replace(line, devices=(option,)), (path,))
        for device in made:
            device.order = _PLUGGED_LATER
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

    def netdev_add(self, _vm: Machine, arguments: Arguments) -> object:
        """``netdev_add``: add a network backend, of which nothing but the name counts."""
        name = str(arguments["id"])
        if ("netdev", name) in self._added or name in self.line().netdevs:
            raise QmpError(f"netdev_add: id '{name}' is taken")
        words = ["-netdev", json.dumps(arguments)]
        self._extended(words)
        self._added["netdev", name] = words
        return {}

    def netdev_del(self, _vm: Machine, arguments: Arguments) -> object:
        """``netdev_del``: remove a network backend that was added."""
        name = str(arguments["id"])
        if ("netdev", name) not in self._added:
            raise QmpError(f"netdev_del: there is no '{name}'", DEVICE_NOT_FOUND)
        del self._added["netdev", name]
        return {}

    def chardev_add(self, _vm: Machine, arguments: Arguments) -> object:
        """``chardev-add``: add a character device that nobody has to connect to."""
        name, backend = str(arguments["id"]), arguments["backend"]
        assert isinstance(backend, dict)
        if any(one.id == name for one in self.line().chardevs):
            raise QmpError(f"chardev-add: id '{name}' is taken")
        kind, data = str(backend["type"]), backend.get("data", {})
        if kind in _CONNECTED:
            raise QmpError(f"chardev-add: {kind} devices come from the command line")
        words = ["-chardev", _chardev_text(kind, name, data)]
        line = self._extended(words)
        self._add_features("chardev", name, words, line)
        return {}

    def chardev_remove(self, _vm: Machine, arguments: Arguments) -> object:
        """``chardev-remove``: remove a character device."""
        name = str(arguments["id"])
        line = self.line()
        if all(one.id != name for one in line.chardevs):
            raise QmpError(f"chardev-remove: there is no chardev '{name}'")
        if any(one.chardev == name for one in line.monitors):
            raise QmpError(f"chardev-remove: chardev '{name}' is in use")
        self._lift(name)
        self._forget("chardev", name)
        return {}

    @property
    def commands(self) -> tuple[Command, ...]:
        """The QMP commands of this object."""
        return (
            Command("blockdev-add", self.blockdev_add, "Add a block node."),
            Command("blockdev-del", self.blockdev_del, "Remove a block node."),
            Command("device_add", self.device_add, "Plug a device in.", more=True),
            Command("device_del", self.device_del, "Unplug a device."),
            Command("object-add", self.object_add, "Make an object."),
            Command("object-del", self.object_del, "Remove an object."),
            Command("netdev_add", self.netdev_add, "Add a network backend."),
            Command("netdev_del", self.netdev_del, "Remove a network backend."),
            Command("chardev-add", self.chardev_add, "Add a character device."),
            Command("chardev-remove", self.chardev_remove, "Remove a character device."),
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

    def line(self) -> CommandLine:
        """Return the command line of the machine as it is now, with what was plugged in."""
        return self._extended(())

    def _extended(self, words: Sequence[str]) -> CommandLine:
        """Return the command line with one more option."""
        added = [word for pair in self._added.values() for word in pair]
        return self._read([*self._argv, *added, *words])

    def _add_features(
        self, kind: str, name: str, words: list[str], line: CommandLine | None = None
    ) -> None:
        """Add a block node or character device with all its blockers; all or nothing."""
        if name in self._ids[kind]:
            raise QmpError(f"the name '{name}' is taken")
        line = line or self._extended(words)
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


_PLUGGED_LATER = 2
"""Order of devices that come behind everything that a machine was started with."""


def _chardev_text(kind: str, name: str, data: object) -> str:
    """Return the option that makes the character device which ``chardev-add`` describes."""
    parts = [kind, f"id={name}"]
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, dict | list):
            raise QmpError(f"chardev-add: {key!r} is not modelled")
        text = ("off", "on")[value] if isinstance(value, bool) else str(value)
        parts.append(f"{_CHARDEV_KEYS.get(key, key)}={text}")
    return ",".join(part.replace(",", ",,") for part in parts)


def _by_id(built: Built) -> dict[str, list[Device]]:
    """Return the machine's devices by the id of the option that made them."""
    found: dict[str, list[Device]] = {}
    devices = iter(built.config.devices)
    for option, path in zip(built.line.devices, place(built.line), strict=True):
        for _ in make_devices(replace(built.line, devices=(option,)), (path,)):
            device = next(devices)
            if option.id is not None:
                found.setdefault(option.id, []).append(device)
    return found


def _member(text: str, name: str) -> str | None:
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None
