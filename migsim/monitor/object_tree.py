"""The object tree as far as clients look into it: paths, properties and their values."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..cmdline import facts
from ..ram.backends import BackendKind
from .commands_catalogue import DEFAULT_CPU
from .errors import DEVICE_NOT_FOUND, QmpError
from .schema import Arguments, Command

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
    from ..machine.machine import Machine

Properties = dict[str, tuple[str, object]]
"""Type and value by name; a value of None is one that is not known."""


@dataclass(frozen=True, slots=True)
class Node:
    """An object: its type, its properties, and the objects below it."""

    kind: str
    properties: Properties = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def rows(self) -> Iterator[dict[str, object]]:
        """Return what ``qom-list`` shows of it."""
        yield {"name": "type", "type": "string"}
        for name, (kind, _) in self.properties.items():
            yield {"name": name, "type": kind}
        for name, child in self.children.items():
            yield {"name": name, "type": f"child<{child.kind}>"}


def tree(vm: Machine, line: CommandLine | None = None) -> Node:
    """Return the root; without a command line it knows what every machine has."""
    machine = Node(f"{vm.machine_name}-machine", _machine(vm))
    if line is not None:
        machine.children.update(_devices(line))
    children = {
        "backend": Node("container"),
        "machine": machine,
        "objects": Node("container", children=_objects(vm, line)),
        "chardevs": Node("container", children=_chardevs(line)),
    }
    return Node("container", children=children)


def _machine(vm: Machine) -> Properties:
    spec = vm.config.memory
    backend = "/objects/" + (vm.config.ram_name or spec.id) if spec and spec.id else ""
    shared = spec is not None and spec.qom_type is BackendKind.MEMFD
    now = time.gmtime(vm.clock.now)
    properties: Properties = {
        "memory-backend": ("link<memory-backend>", backend),
        "suppress-vmdesc": ("bool", vm.suppress_vmdesc),
        "rtc-time": ("struct tm", {name: getattr(now, name) for name in _TIME_MEMBERS}),
    }
    if vm.release.has("10.0"):
        properties["aux-ram-share"] = ("bool", shared)
    return properties


_TIME_MEMBERS: Final = ("tm_year", "tm_mon", "tm_mday", "tm_hour", "tm_min", "tm_sec")


def _objects(vm: Machine, line: CommandLine | None) -> dict[str, Node]:
    found: dict[str, Node] = {}
    spec = vm.config.memory
    if spec is not None:
        name = spec.id or vm.config.ram_name or "ram"
        values: Properties = {"size": ("int", spec.size), "share": ("bool", bool(spec.share))}
        found[name] = Node(str(spec.qom_type.value), values)
    for one in line.objects if line else ():
        values = {name: (_type_of(value), value) for name, value in one.properties.items()}
        known = found.get(one.id)
        found[one.id] = Node(one.qom_type, values | (known.properties if known else {}))
    return found


def _devices(line: CommandLine) -> dict[str, Node]:
    named: dict[str, Node] = {}
    nameless: dict[str, Node] = {}
    for one in line.devices:
        device = facts.device(one.driver)
        kinds = dict(device.properties or {}) if device else {}
        values: Properties = {name: (kind, None) for name, kind in kinds.items()}
        values |= {name: (kinds.get(name, "str"), v) for name, v in one.properties.items()}
        values |= {"realized": ("bool", True), "hotplugged": ("bool", False)}
        node = Node(one.driver, values)
        if one.id is not None:
            named[one.id] = node
        else:
            nameless[f"device[{len(nameless)}]"] = node
    cpus = {}
    if line.machine.name != "none":
        model = f"{line.cpu.model}-x86_64-cpu" if line.cpu.model else DEFAULT_CPU
        # The boards put their other devices between the first processor and the second.
        for path in cpu_names(line.cpus):
            cpus[path] = Node(model, {"realized": ("bool", True), "hotplugged": ("bool", False)})
    return {
        "peripheral": Node("container", children=named),
        "peripheral-anon": Node("container", children=nameless),
        "unattached": Node("container", children=cpus),
    }


def cpu_names(count: int) -> list[str]:
    """Return the names below ``/machine/unattached`` of ``count`` virtual processors."""
    return [f"device[{number if number == 0 else number + 1}]" for number in range(count)]


def _chardevs(line: CommandLine | None) -> dict[str, Node]:
    return {one.id: Node(f"chardev-{one.backend}") for one in (line.chardevs if line else ())}


def _type_of(value: object) -> str:
    names: Mapping[type, str] = {bool: "bool", int: "int", str: "string"}
    return names.get(type(value), "any")


class ObjectTree:
    """Answers about the object tree of machines; subclasses know the command line."""

    def line(self) -> CommandLine | None:
        """Return the command line of the machine, or None."""
        return None

    def find(self, vm: Machine, path: str) -> Node:
        """Return the object at ``path``: absolute, or the end of one if there is just one such.

        Raises:
            QmpError: there is none, or more than one.
        """
        root = tree(vm, self.line())
        parts = [part for part in path.split("/") if part]
        found = list(_matches(root, parts, rooted=path.startswith("/")))
        if not parts and not path.startswith("/"):
            raise QmpError("an empty path is ambiguous")
        if len(found) > 1:
            raise QmpError(f"path {path!r} is ambiguous")
        if not found:
            raise QmpError(f"there is no object at {path!r}", DEVICE_NOT_FOUND)
        return found[0]

    def qom_list(self, vm: Machine, arguments: Arguments) -> object:
        """``qom-list``: the properties of an object and the objects below it."""
        return list(self.find(vm, str(arguments["path"])).rows())

    def qom_get(self, vm: Machine, arguments: Arguments) -> object:
        """``qom-get``: the value of a property."""
        path, name = str(arguments["path"]), str(arguments["property"])
        node = self.find(vm, path)
        if name == "type":
            return node.kind
        if name in node.children:
            return f"{path.rstrip('/')}/{name}"
        if name not in node.properties:
            raise QmpError(f"qom-get: {node.kind} has no property {name!r}")
        value = node.properties[name][1]
        if value is None:
            raise QmpError(f"qom-get: the value of {name!r} is not modelled")
        return value

    def qom_set(self, vm: Machine, arguments: Arguments) -> object:
        """``qom-set``: always refused; nothing can be set while the machine is there."""
        name = arguments["property"]
        node = self.find(vm, str(arguments["path"]))
        raise QmpError(f"qom-set: {node.kind} has no property {name!r} that can be set now")

    def commands(self) -> tuple[Command, ...]:
        """Return the commands of this object."""
        return (
            Command("qom-list", self.qom_list, "List an object's properties and children."),
            Command("qom-get", self.qom_get, "Read a property of an object."),
            Command("qom-set", self.qom_set, "Refused: properties are fixed once it runs."),
        )


def _matches(node: Node, parts: list[str], *, rooted: bool) -> Iterator[Node]:
    found: Node | None = node
    for part in parts:
        found = found.children.get(part) if found else None
    if found is not None and (parts or rooted):
        yield found
    if not rooted:
        for child in node.children.values():
            yield from _matches(child, parts, rooted=False)


OBJECT_COMMANDS: Final = ObjectTree().commands()
"""The commands of this module, for machines without a command line."""
