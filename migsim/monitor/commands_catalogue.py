"""QMP commands about what there is to choose from: machines, processors, devices, options.

An orchestrator asks them once, of a process that runs nothing (spec monitor.md section 2,
QEMU 10.0.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ..cmdline import facts
from ..cmdline.chardev_options import BACKENDS
from ..cmdline.schema import cases, member_names
from ..qapi.capabilities import CAPABILITIES
from ..qapi.release import Release
from .errors import DEVICE_NOT_FOUND, QmpError
from .schema import Arguments, Command, fixed
from .vocabulary import command_line_options

if TYPE_CHECKING:
    from ..machine.machine import Machine

_CPU = "x86_64-cpu"
DEFAULT_CPU: Final = f"qemu64-{_CPU}"
_VERSIONED = re.compile(r"(pc-i440fx|pc-q35)-(\d+\.\d+)(?:\.\d+)?")
_ALIASES: Final = {"pc-i440fx": "pc", "pc-q35": "q35"}
_PLAIN_RAM: Final = {"none": "ram", "microvm": "microvm.ram", "isapc": "pc.ram"}
_DEPRECATED_BEFORE: Final = Release(7, 1)
"""Versioned machines older than this are marked as deprecated in QEMU 10.0."""
_NO_NUMA_RAM: Final = Release(5, 1)
"""From this version on, RAM of NUMA nodes has to come from memory backends."""
_FAMILY_LIMITS: Final = {"pc-i440fx": 255, "pc-q35": 4096}
_LOADABLE: Final = frozenset({"braille", "spicevmc", "spiceport", "dbus"})
_STATS: Final = tuple(
    f"{kind}-{operation}-{unit}"
    for unit in ("bytes", "ops")
    for kind, operations in (
        ("asym", ("verify", "sign", "decrypt", "encrypt")),
        ("sym", ("decrypt", "encrypt")),
    )
    for operation in operations
)
_BASES: Final = {
    "PCI": "pci-device",
    "System": "sys-bus-device",
    "ISA": "isa-device",
    "usb-bus": "usb-device",
    "SCSI": "scsi-device",
    "virtio-bus": "virtio-device",
}
"""Abstract types of devices by the kind of bus that they need; others are plain devices."""


def _machine_names(release: Release) -> dict[str, int]:
    """Return the machine types of ``release`` with the most processors of each."""
    names = {
        name: limit
        for name, limit in facts.machine_names().items()
        if (match := _VERSIONED.fullmatch(name)) is None or Release.parse(match[2]) <= release
    }
    return names | {f"{family}-{release}": limit for family, limit in _FAMILY_LIMITS.items()}


def _machine(name: str, limit: int, release: Release) -> dict[str, object]:
    match = _VERSIONED.fullmatch(name)
    version = Release.parse(match[2]) if match else None
    row: dict[str, object] = {
        "name": name,
        "cpu-max": limit,
        "hotpluggable-cpus": match is not None or name == "isapc",
        "numa-mem-supported": version is not None and version < _NO_NUMA_RAM,
        "deprecated": version is not None and version < _DEPRECATED_BEFORE,
        "acpi": match is not None or name == "microvm",
    }
    if match is not None and name == f"{match[1]}-{release}":
        row["alias"] = _ALIASES[match[1]]
        if match[1] == "pc-i440fx":
            row["is-default"] = True
    if match is not None or name in ("microvm", "isapc"):
        row["default-cpu-type"] = f"486-{_CPU}" if name == "isapc" else DEFAULT_CPU
    ram = "pc.ram" if match is not None else _PLAIN_RAM.get(name)
    return row | ({"default-ram-id": ram} if ram else {})


def _machines(vm: Machine, _arguments: Arguments) -> object:
    names = _machine_names(vm.release)
    return [_machine(name, limit, vm.release) for name, limit in sorted(names.items())]


def _cpu_definitions(_vm: Machine, _arguments: Arguments) -> object:
    return [
        {
            "name": name,
            "typename": f"{name}-{_CPU}",
            "unavailable-features": ["kvm"] if name == "host" else [],
            "static": name == "base",
            "migration-safe": name not in ("max", "host"),
            "deprecated": False,
        }
        for name in sorted(facts.cpu_models())
    ]


def _expand_cpu(_vm: Machine, arguments: Arguments) -> object:
    model = arguments["model"]
    assert isinstance(model, dict)
    name, given = str(model["name"]), model.get("props", {})
    if name not in facts.cpu_models():
        raise QmpError(f"query-cpu-model-expansion: there is no processor model {name!r}")
    if not isinstance(given, dict):
        raise QmpError("query-cpu-model-expansion: 'props' has to be an object")
    static = arguments["type"] == "static"
    return {"model": {"name": "base" if static else name, "props": given}}


def _types(release: Release) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the concrete types: name, and the types that it is one of, the nearest first."""
    for name in facts.device_names():
        device = facts.device(name)
        base = _BASES.get(device.bus if device else "", "device")
        yield name, (base, *([] if base == "device" else ["device"]), "object")
    for name in sorted(facts.cpu_models()):
        yield f"{name}-{_CPU}", (_CPU, "cpu", "device", "object")
    for name in sorted(_machine_names(release)):
        yield f"{name}-machine", ("machine", "object")
    for name in ("kvm", "qtest", "tcg"):
        yield f"{name}-accel", ("accel", "object")
    for name in cases("object"):
        family = "memory-backend" if name.startswith("memory-backend-") else "object"
        yield name, (family, *(["object"] if family != "object" else []))
    for name in sorted(BACKENDS - _LOADABLE):
        yield f"chardev-{name}", ("chardev", "object")


def _list_types(vm: Machine, arguments: Arguments) -> object:
    wanted = arguments.get("implements")
    return [
        {"name": name, "parent": parents[0]}
        for name, parents in _types(vm.release)
        if wanted in (None, name, *parents)
        or (wanted == "user-creatable" and name in cases("object"))
    ]


def _device_properties(vm: Machine, arguments: Arguments) -> object:
    name = str(arguments["typename"])
    if name == "migration":
        return list(_migration_properties(vm))
    found: dict[str, str] | None = None
    device = facts.device(name)
    if device is not None:
        found = dict(device.properties or {})
    elif name.endswith(f"-{_CPU}"):
        found = facts.cpu_properties(name.removesuffix(f"-{_CPU}"))
    if found is None:
        known = any(name == one for one, _ in _types(vm.release))
        problem = None if known else DEVICE_NOT_FOUND
        text = f"device-list-properties: {name!r} is no device"
        raise QmpError(text, *([problem] if problem else []))
    return [{"name": one, "type": kind} for one, kind in found.items()]


def _migration_properties(vm: Machine) -> Iterable[dict[str, object]]:
    for row in vm.parameters.rows():
        if row.global_name:
            yield {"name": row.global_name, "type": row.type.qmp_type}
    for one in CAPABILITIES:
        if one.global_name and one.exists_in(vm.release):
            yield {"name": one.global_name, "type": "bool"}


def _properties(vm: Machine, arguments: Arguments) -> object:
    name = str(arguments["typename"])
    if all(name != one for one, _ in _types(vm.release)):
        text = f"qom-list-properties: there is no type {name!r}"
        raise QmpError(text, DEVICE_NOT_FOUND)
    return [{"name": "type", "type": "string"}, *_rows_of(name)]


def _rows_of(name: str) -> Iterator[dict[str, object]]:
    if name.endswith("-machine"):
        family = name.removesuffix("-machine")
        match = _VERSIONED.fullmatch(family)
        known = facts.load("machines.json")["properties"]
        family = match[1] if match else family
        rows = facts.machine_properties(family) if family in known else {}
    elif name in cases("object"):
        rows = dict.fromkeys(sorted(member_names("object", name) - {"qom-type", "id"}), "any")
    elif name.endswith(f"-{_CPU}"):
        rows = facts.cpu_properties(name.removesuffix(f"-{_CPU}")) or {}
    else:
        device = facts.device(name)
        rows = dict(device.properties or {}) if device else {}
        if device:
            rows |= dict.fromkeys(("realized", "hotplugged"), "bool")
    for one, kind in rows.items():
        yield {"name": one, "type": kind}


def _options(_vm: Machine, arguments: Arguments) -> object:
    options = command_line_options()
    wanted = arguments.get("option")
    if wanted is not None and wanted not in options:
        raise QmpError(f"query-command-line-options: there is no option {wanted!r}")
    return [
        {"option": name, "parameters": [_key(word) for word in keys.split()]}
        for name, keys in options.items()
        if wanted in (None, name)
    ]


def _key(word: str) -> dict[str, object]:
    name, _, kind = word.rpartition(":")
    return {"name": name, "type": kind}


def _stats_schemas(_vm: Machine, arguments: Arguments) -> object:
    if arguments.get("provider") not in (None, "cryptodev"):
        return []
    stats = [{"name": name, "type": "cumulative", "exponent": 0} for name in _STATS]
    return [{"provider": "cryptodev", "target": "cryptodev", "stats": stats}]


CATALOGUE_COMMANDS: Final = (
    Command("query-machines", _machines, "List the machine types."),
    Command("query-cpu-definitions", _cpu_definitions, "List the processor models."),
    Command("query-cpu-model-expansion", _expand_cpu, "Show a processor model with its flags."),
    Command("qom-list-types", _list_types, "List object types."),
    Command("device-list-properties", _device_properties, "List the properties of a device."),
    Command("qom-list-properties", _properties, "List the properties of a type."),
    Command("query-command-line-options", _options, "List the options of the command line."),
    Command("query-stats-schemas", _stats_schemas, "List the statistics that there could be."),
    fixed("query-stats", [], "List statistics; nothing counts here."),
    fixed(
        "query-chardev-backends",
        [{"name": name} for name in sorted(BACKENDS - _LOADABLE)],
        "List the kinds of character devices.",
    ),
    fixed("query-tpm-models", ["tpm-crb", "tpm-tis"], "List the TPM models."),
    fixed("query-tpm-types", ["passthrough", "emulator"], "List the TPM back ends."),
)
"""The commands of this module."""
