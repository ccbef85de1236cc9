"""What a machine is made of, as its command line says: drives, processors, character devices.

The answers have the members of QEMU 10.0.2.  Drives have no content here, so sizes are those of
the files, and nothing has been read or written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ..cmdline.layout import backend_spec
from ..machine.types import machine_type
from .commands_catalogue import DEFAULT_CPU
from .commands_process import yankable
from .object_tree import ObjectTree, cpu_names
from .schema import Arguments, Command

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine
    from ..cmdline.parts import BlockNode, Chardev
    from ..machine.machine import Machine

_THROTTLE: Final = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
_CACHE: Final = {"writeback": True, "direct": False, "no-flush": False}
_OPERATIONS: Final = ("rd", "wr", "flush", "unmap", "zone_append")


class Inventory(ObjectTree):
    """Answers about one machine; ``line`` returns its command line as it is at this moment."""

    def __init__(self, line: Callable[[], CommandLine]) -> None:
        self._line = line

    def line(self) -> CommandLine:
        """Return the command line of the machine."""
        return self._line()

    def commands(self) -> tuple[Command, ...]:
        """Return the commands of this object."""
        return (
            *super().commands(),
            Command("query-block", self.block, "List the drives."),
            Command("query-named-block-nodes", self.nodes, "List the block nodes."),
            Command("query-blockstats", self.block_statistics, "Show statistics of drives."),
            Command("query-chardev", self.chardevs, "List the character devices."),
            Command("query-cpus-fast", self.cpus, "List the virtual processors."),
            Command("query-hotpluggable-cpus", self.cpu_slots, "List the places of processors."),
            Command("query-iothreads", self.iothreads, "List the I/O threads."),
            Command("query-kvm", self.kvm, "Show whether KVM is in use."),
            Command("query-memdev", self.memory_backends, "List the memory backends."),
            Command("query-memory-devices", self.dimms, "List pluggable memory."),
            Command("query-yank", self.yankable, "List what can be yanked."),
            Command("query-memory-size-summary", self.memory_sizes, "Show how much RAM there is."),
        )

    # Drives.

    def block(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-block``: the drives, and the nodes that devices use."""
        return [
            {
                "device": drive,
                "type": "unknown",
                "removable": False,
                "locked": False,
                **({"qdev": path} if path else {}),
                **({"inserted": _inserted(node, name), "io-status": "ok"} if node else {}),
            }
            for drive, name, node, path in self._drives()
        ]

    def nodes(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-named-block-nodes``: every node of every tree."""
        line = self.line()
        roots = [drive.node for drive in line.drives if drive.node] + list(line.blockdevs)
        names = _node_names(roots)
        return [_inserted(node, names[id(node)]) for root in roots for node in _below(root)]

    def block_statistics(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-blockstats``: all zero."""
        return [
            {
                "device": drive,
                "stats": _no_statistics(),
                **({"node-name": name} if node else {}),
                **({"qdev": path} if path else {}),
            }
            for drive, name, node, path in self._drives()
        ]

    def _drives(self) -> Iterator[tuple[str, str, BlockNode | None, str | None]]:
        """Return drive, name of its node, node, and path of the device that uses it."""
        line = self.line()
        users = {
            str(device.properties["drive"]): f"/machine/peripheral/{device.id}"
            for device in line.devices
            if "drive" in device.properties and device.id is not None
        }
        names = _node_names([drive.node for drive in line.drives if drive.node])
        for drive in line.drives:
            name = names[id(drive.node)] if drive.node else ""
            yield drive.id, name, drive.node, users.get(drive.id)
        for node in line.blockdevs:
            if node.name in users:
                yield "", node.name or "", node, users[node.name]

    # Processors and memory.

    def cpus(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-cpus-fast``: the virtual processors, all in one thread."""
        line = self.line()
        if line.machine.name == "none":
            return []
        return [
            {
                "cpu-index": number,
                "qom-path": f"/machine/unattached/{name}",
                "thread-id": os.getpid(),
                "target": "x86_64",
                "props": _cpu_place(number),
            }
            for number, name in enumerate(cpu_names(line.cpus))
        ]

    def cpu_slots(self, vm: Machine, _arguments: Arguments) -> object:
        """``query-hotpluggable-cpus``: the places for processors, the last one first."""
        line = self.line()
        if machine_type(line.machine.name, vm.release).version is None:
            return []
        kind = f"{line.cpu.model}-x86_64-cpu" if line.cpu.model else DEFAULT_CPU
        names = cpu_names(line.cpus)
        return [
            {
                "type": kind,
                "vcpus-count": 1,
                "props": _cpu_place(number),
                **(
                    {"qom-path": f"/machine/unattached/{names[number]}"}
                    if number < line.cpus
                    else {}
                ),
            }
            for number in reversed(range(line.max_cpus))
        ]

    def kvm(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-kvm``: whether it was asked for; nothing here needs it."""
        return {"enabled": self.line().accelerator == "kvm", "present": True}

    def iothreads(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-iothreads``: the I/O threads that were asked for."""
        return [
            {
                "id": one.id,
                "thread-id": os.getpid(),
                "poll-max-ns": one.properties.get("poll-max-ns", 32768),
                "poll-grow": one.properties.get("poll-grow", 0),
                "poll-shrink": one.properties.get("poll-shrink", 0),
                "aio-max-batch": one.properties.get("aio-max-batch", 0),
            }
            for one in self.line().objects
            if one.qom_type == "iothread"
        ]

    def memory_backends(self, vm: Machine, _arguments: Arguments) -> object:
        """``query-memdev``: the memory backends, the last one first."""
        found: dict[str, dict[str, object]] = {}
        spec = vm.config.memory
        if spec is not None:
            name = spec.id or vm.config.ram_name or "ram"
            found[name] = _backend(name, spec.size, bool(spec.share))
        for one in self.line().objects:
            if one.is_memory and one.id not in found:
                made = backend_spec(one)
                found[one.id] = _backend(one.id, made.size, bool(made.share))
        return list(reversed(found.values()))

    def dimms(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-memory-devices``: the DIMMs that were plugged in."""
        return [row for _, row in self._dimms()]

    def memory_sizes(self, vm: Machine, _arguments: Arguments) -> object:
        """``query-memory-size-summary``: RAM of the machine, and of DIMMs."""
        spec = vm.config.memory
        plugged = sum(size for size, _ in self._dimms())
        return {"base-memory": spec.size if spec else 0, "plugged-memory": plugged}

    def _dimms(self) -> Iterator[tuple[int, dict[str, object]]]:
        """Return size in bytes and description of every DIMM."""
        line = self.line()
        address = 1 << 32
        for slot, device in enumerate(d for d in line.devices if d.driver == "pc-dimm"):
            backend = line.object(str(device.properties.get("memdev")))
            size = backend_spec(backend).size if backend else 0
            data: dict[str, object] = {
                **({"id": device.id} if device.id else {}),
                "addr": address,
                "size": size,
                "slot": slot,
                "node": 0,
                "memdev": f"/objects/{device.properties.get('memdev')}",
                "hotplugged": False,
                "hotpluggable": True,
            }
            address += size
            yield size, {"type": "dimm", "data": data}

    # Character devices.

    def yankable(self, vm: Machine, _arguments: Arguments) -> object:
        """``query-yank``: sockets of character devices, and a migration under way."""
        sockets = [one.id for one in self.line().chardevs if one.backend == "socket"]
        return [*yankable(vm), *({"type": "chardev", "id": name} for name in sockets)]

    def chardevs(self, _vm: Machine, _arguments: Arguments) -> object:
        """``query-chardev``: all character devices."""
        line = self.line()
        used = {one.chardev for one in line.monitors} | set(line.serials) | {line.qtest}
        return [
            {"label": one.id, "filename": _filename(one), "frontend-open": one.id in used}
            for one in line.chardevs
        ]


def _cpu_place(number: int) -> dict[str, object]:
    return {"socket-id": 0, "core-id": number, "thread-id": 0}


def _backend(name: str, size_bytes: int, share: bool) -> dict[str, object]:
    return {
        "id": name,
        "size": size_bytes,
        "merge": True,
        "dump": True,
        "prealloc": False,
        "share": share,
        "reserve": True,
        "host-nodes": [],
        "policy": "default",
    }


def _below(node: BlockNode) -> Iterator[BlockNode]:
    yield node
    for child in node.children.values():
        if not isinstance(child, str):
            yield from _below(child)


def _node_names(roots: list[BlockNode]) -> dict[int, str]:
    """Return the names of all nodes below ``roots``; QEMU makes up others for nameless ones."""
    names: dict[int, str] = {}
    for number, node in enumerate(node for root in roots for node in _below(root)):
        names[id(node)] = node.name or f"#block{number:03}"
    return names


def _filename_of(node: BlockNode) -> str:
    files = (one.filename for one in _below(node) if one.filename)
    return next(files, "")


def _inserted(node: BlockNode, name: str) -> dict[str, object]:
    filename, driver = _filename_of(node), node.driver or "raw"
    try:
        size = os.stat(filename).st_size
    except (OSError, ValueError):
        size = 0
    return {
        "file": filename,
        "node-name": name,
        "ro": node.read_only,
        "drv": driver,
        "backing_file_depth": 0,
        "active": True,
        "encrypted": False,
        "detect_zeroes": "off",
        "write_threshold": 0,
        "image": {
            "filename": filename,
            "format": driver,
            "virtual-size": size,
            "actual-size": size,
            "dirty-flag": False,
        },
        "cache": _CACHE,
        **_THROTTLE,
    }


def _no_statistics() -> dict[str, object]:
    numbers: dict[str, object] = {"wr_highest_offset": 0, "timed_stats": []}
    for operation in _OPERATIONS:
        numbers[f"{operation}_operations"] = 0
        numbers[f"{operation}_total_time_ns"] = 0
        numbers[f"failed_{operation}_operations"] = 0
        numbers[f"invalid_{operation}_operations"] = 0
        if operation != "flush":
            numbers[f"{operation}_bytes"] = 0
            numbers[f"{operation}_merged"] = 0
    return {**numbers, "account_invalid": True, "account_failed": True}


def _filename(chardev: Chardev) -> str:
    """Return how QEMU describes a character device."""
    p, backend = chardev.properties, chardev.backend
    if backend == "socket":
        server = ",server=on" if p.get("server") else ""
        if "path" in p:
            return f"unix:{p['path']}{server}"
        if "port" in p:
            return f"tcp:{p.get('host', '0.0.0.0')}:{p['port']}{server}"
        return f"fd:{p.get('fd', '')}"
    return str(p.get("path", backend)) if backend in ("file", "pipe") else backend
