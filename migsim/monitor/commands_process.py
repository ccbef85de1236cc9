"""QMP commands about the process around the guest: descriptors, identity, what else there is."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast

from ..machine.types import machine_types
from ..ram.backends import BackendKind
from .errors import DEVICE_NOT_FOUND, QmpError
from .schema import ArgType, Argument, Arguments, Command

if TYPE_CHECKING:
    from ..machine.machine import Machine


def _getfd(vm: Machine, arguments: Arguments) -> object:
    vm.descriptors.name(str(arguments["fdname"]), vm.descriptors.accept("getfd"))
    return {}


def _closefd(vm: Machine, arguments: Arguments) -> object:
    name = str(arguments["fdname"])
    if not vm.descriptors.close_name(name):
        # Clients compare this text byte by byte (spec frontend.md section 4).
        raise QmpError(f"File descriptor named '{name}' not found")
    return {}


def _add_fd(vm: Machine, arguments: Arguments) -> object:
    number = cast("int | None", arguments.get("fdset-id"))
    if number is not None and number < 0:
        raise QmpError("add-fd: 'fdset-id' is not negative")
    fd = vm.descriptors.accept("add-fd")
    opaque = cast("str | None", arguments.get("opaque"))
    return {"fdset-id": vm.descriptors.add(number, opaque, fd), "fd": fd}


def _remove_fd(vm: Machine, arguments: Arguments) -> object:
    number, fd = cast("int", arguments["fdset-id"]), cast("int | None", arguments.get("fd"))
    if not vm.descriptors.remove(number, fd):
        raise QmpError(f"remove-fd: there is no such descriptor in set {number}")
    return {}


def _uuid(vm: Machine, _arguments: Arguments) -> object:
    return {"UUID": str(uuid.UUID(bytes=vm.uuid or bytes(16)))}


def _memdev(vm: Machine, _arguments: Arguments) -> object:
    spec = vm.config.memory
    if spec is None:
        return []
    return [
        {
            "id": vm.config.ram_name or spec.id or "ram",
            "size": spec.size,
            "merge": True,
            "dump": True,
            "prealloc": False,
            "share": bool(spec.share),
            "reserve": True,
            "host-nodes": [],
            "policy": "default",
        }
    ]


def _memory_summary(vm: Machine, _arguments: Arguments) -> object:
    spec = vm.config.memory
    return {"base-memory": spec.size if spec else 0, "plugged-memory": 0}


def _machines(vm: Machine, _arguments: Arguments) -> object:
    return [
        {
            "name": kind.name,
            "cpu-max": 1 if kind.name == "none" else 255,
            "hotpluggable-cpus": kind.version is not None,
            "numa-mem-supported": kind.version is not None,
            "deprecated": False,
            "acpi": kind.version is not None,
            **({"alias": kind.alias} if kind.alias else {}),
            **({"is-default": True} if kind.alias == "pc" else {}),
        }
        for kind in machine_types(vm.release)
    ]


_TYPES = {
    "accel": ("tcg-accel", "kvm-accel", "qtest-accel"),
    "memory-backend": ("memory-backend-file", "memory-backend-memfd", "memory-backend-ram"),
    "machine": (),
}


def _types(_vm: Machine, arguments: Arguments) -> object:
    parents = [arguments["implements"]] if "implements" in arguments else list(_TYPES)
    return [
        {"name": name, "parent": parent}
        for parent in parents
        for name in _TYPES.get(str(parent), ())
    ]


def _dirty_rate(_vm: Machine, _arguments: Arguments) -> object:
    return {
        "status": "unstarted",
        "start-time": 0,
        "calc-time": 0,
        "calc-time-unit": "second",
        "sample-pages": 0,
        "mode": "page-sampling",
    }


def _migration_threads(vm: Machine, _arguments: Arguments) -> object:
    return [{"name": "mig/src/main", "thread-id": 1}] if vm.source.running else []


def _yankable(vm: Machine) -> list[dict[str, object]]:
    return [{"type": "migration"}] if vm.source.running or vm.incoming.running else []


def _yank(vm: Machine, arguments: Arguments) -> object:
    instances = cast("list[object]", arguments["instances"])
    for instance in instances:
        if instance not in _yankable(vm):
            raise QmpError(f"yank: there is no instance {instance}", DEVICE_NOT_FOUND)
    if instances and vm.source.running:
        vm.migrate_cancel()
    return {}


def _machine_properties(vm: Machine) -> dict[str, tuple[str, object]]:
    """Name to type and value of what ``qom-get`` finds on /machine."""
    spec = vm.config.memory
    backend = "/objects/" + (vm.config.ram_name or spec.id) if spec and spec.id else ""
    shared = spec is not None and spec.qom_type is BackendKind.MEMFD
    return {
        "type": ("string", f"{vm.machine_name}-machine"),
        "memory-backend": ("string", backend),
        "aux-ram-share": ("bool", shared and vm.release.has("10.0")),
    }


def _qom_list(vm: Machine, arguments: Arguments) -> object:
    match arguments["path"]:
        case "/":
            children = ("backend", "machine", "objects", "chardevs")
            rows = [{"name": name, "type": "child<container>"} for name in children]
            return [{"name": "type", "type": "string"}, *rows]
        case "/machine":
            return [{"name": name, "type": row[0]} for name, row in _machine_properties(vm).items()]
        case "/objects":
            spec = vm.config.memory
            child = {"name": spec.id, "type": f"child<{spec.qom_type}>"} if spec else None
            return [{"name": "type", "type": "string"}, *([child] if child else [])]
        case path:
            raise QmpError(f"there is no object at {path!r}", DEVICE_NOT_FOUND)


def _qom_get(vm: Machine, arguments: Arguments) -> object:
    path, name = arguments["path"], str(arguments["property"])
    if path != "/machine":
        raise QmpError(f"there is no object at {path!r}", DEVICE_NOT_FOUND)
    properties = _machine_properties(vm)
    if name not in properties:
        raise QmpError(f"the machine has no property '{name}'")
    return properties[name][1]


def _qom_set(vm: Machine, arguments: Arguments) -> object:
    _qom_get(vm, arguments)
    raise QmpError(f"property '{arguments['property']}' cannot be set now")


def _fixed(name: str, value: object, doc: str) -> Command:
    return Command(name, lambda _vm, _arguments: value, doc)


_TEXT, _INT = ArgType.STRING, ArgType.INTEGER
_PATH = Argument("path", _TEXT, required=True)
_PROPERTY = Argument("property", _TEXT, required=True)
_FDNAME = (Argument("fdname", _TEXT, required=True),)

PROCESS_COMMANDS = (
    Command("getfd", _getfd, "Name the descriptor that came along.", _FDNAME),
    Command("closefd", _closefd, "Close a named descriptor.", _FDNAME),
    Command(
        "add-fd",
        _add_fd,
        "Put the descriptor that came along into a set.",
        (Argument("fdset-id", _INT), Argument("opaque", _TEXT)),
    ),
    Command(
        "remove-fd",
        _remove_fd,
        "Close descriptors of a set.",
        (Argument("fdset-id", _INT, required=True), Argument("fd", _INT)),
    ),
    Command("query-fdsets", lambda vm, _: vm.descriptors.query(), "List the descriptor sets."),
    Command("query-uuid", _uuid, "Show the guest's UUID."),
    Command("query-memdev", _memdev, "List the memory backends."),
    Command("query-memory-size-summary", _memory_summary, "Show how much RAM there is."),
    Command(
        "query-machines",
        _machines,
        "List the machine types.",
        (Argument("compat-props", ArgType.BOOLEAN),),
    ),
    Command(
        "qom-list-types",
        _types,
        "List object types.",
        (Argument("implements", _TEXT), Argument("abstract", ArgType.BOOLEAN)),
    ),
    Command("qom-list", _qom_list, "List properties of an object.", (_PATH,)),
    Command("qom-get", _qom_get, "Read a property of an object.", (_PATH, _PROPERTY)),
    Command(
        "qom-set",
        _qom_set,
        "Set a property of an object.",
        (_PATH, _PROPERTY, Argument("value", ArgType.ANY, required=True)),
    ),
    Command(
        "query-dirty-rate",
        _dirty_rate,
        "Show the last measurement of the dirty rate.",
        (Argument("calc-time-unit", _TEXT),),
    ),
    Command("query-migrationthreads", _migration_threads, "List the migration threads."),
    Command("query-yank", lambda vm, _: _yankable(vm), "List what can be yanked."),
    Command(
        "yank",
        _yank,
        "Cut the connections of instances.",
        (Argument("instances", ArgType.ARRAY, required=True),),
    ),
    _fixed("query-kvm", {"enabled": False, "present": True}, "Show whether KVM is in use."),
    _fixed("query-target", {"arch": "x86_64"}, "Show the architecture."),
    _fixed("query-cpus-fast", [], "List the virtual processors."),
    _fixed("query-memory-devices", [], "List pluggable memory."),
    _fixed("query-vcpu-dirty-limit", [], "List the limits of dirty rates."),
    _fixed("query-iothreads", [], "List the I/O threads."),
    _fixed("query-jobs", [], "List background jobs."),
    _fixed("query-block-jobs", [], "List jobs of the block layer."),
    _fixed("query-pci", [], "List the PCI devices."),
    _fixed("query-vnc", {"enabled": False}, "Show the VNC server."),
)
"""The commands of this module."""
