"""QMP commands about the process around the guest: descriptors, identity, what else there is."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast

from .errors import DEVICE_NOT_FOUND, QmpError
from .schema import Arguments, Command

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


def _migration_threads(vm: Machine, _arguments: Arguments) -> object:
    return [{"name": "mig/src/main", "thread-id": 1}] if vm.source.running else []


def yankable(vm: Machine) -> list[dict[str, object]]:
    """Return what every machine lists as yankable: a migration under way."""
    return [{"type": "migration"}] if vm.source.running or vm.incoming.running else []


def _yank(vm: Machine, arguments: Arguments) -> object:
    instances = cast("list[object]", arguments["instances"])
    for instance in instances:
        if instance not in yankable(vm):
            raise QmpError(f"yank: there is no instance {instance}", DEVICE_NOT_FOUND)
    if instances and vm.source.running:
        vm.migrate_cancel()
    return {}


PROCESS_COMMANDS = (
    Command("getfd", _getfd, "Name the descriptor that came along."),
    Command("closefd", _closefd, "Close a named descriptor."),
    Command("add-fd", _add_fd, "Put the descriptor that came along into a set."),
    Command("remove-fd", _remove_fd, "Close descriptors of a set."),
    Command("query-fdsets", lambda vm, _: vm.descriptors.query(), "List the descriptor sets."),
    Command("query-uuid", _uuid, "Show the guest's UUID."),
    Command("query-memdev", _memdev, "List the memory backends."),
    Command("query-memory-size-summary", _memory_summary, "Show how much RAM there is."),
    Command("query-migrationthreads", _migration_threads, "List the migration threads."),
    Command("query-yank", lambda vm, _: yankable(vm), "List what can be yanked."),
    Command("yank", _yank, "Cut the connections of instances."),
)
"""The commands of this module."""
