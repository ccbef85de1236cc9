"""Names and types that QEMU's command line knows, read from ``data`` when first asked for.

Everything is of ``qemu-system-x86_64`` 10.0.2, taken by ``tools/cmdline_facts.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

_DATA = Path(__file__).with_name("data")

MODULE_DEVICES: Final[Mapping[str, str]] = {
    "virtio-gpu-gl-pci": "PCI",
    "virtio-gpu-gl-device": "virtio-bus",
    "virtio-vga-gl": "PCI",
    "virtio-gpu-rutabaga-pci": "PCI",
    "virtio-vga-rutabaga": "PCI",
    "qxl": "PCI",
    "qxl-vga": "PCI",
    "ccid-card-emulated": "ccid-bus",
    "u2f-emulated": "usb-bus",
    "usb-smartcard": "usb-bus",
}
"""Devices of loadable modules that the asked binary lacked: name and kind of bus."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What is known about a device model.

    Attributes:
        name: model name.
        bus: kind of bus it needs (``PCI``, ``usb-bus`` ...), empty for none.
        properties: types of its properties by name; None when they are not known.
        state: name, version and least version of its saved state, or None if unknown.
    """

    name: str
    bus: str
    properties: Mapping[str, str] | None
    state: tuple[str, int, int] | None


@cache
def load(name: str) -> dict[str, Any]:
    """Return the content of one data file."""
    content: dict[str, Any] = json.loads((_DATA / name).read_text("ascii"))
    return content


@lru_cache(maxsize=512)
def device(name: str) -> DeviceFacts | None:
    """Return what is known about the device model called ``name`` (or its alias), or None."""
    table = load("devices.json")
    row = table["devices"].get(name)
    if row is None:
        real = _aliases().get(name)
        if real is not None:
            return device(real)
        bus = MODULE_DEVICES.get(name)
        return None if bus is None else DeviceFacts(name, bus, None, None)
    bus = row.get("bus", "")
    types = _property_types()
    properties = {p: types[p] for p in table["bases"].get(bus, "").split()}
    for word in row["properties"].split():
        prop, _, kind = word.partition(":")
        properties[prop] = kind or types[prop]
    state = row.get("state")
    return DeviceFacts(name, bus, properties, tuple(state) if state else None)


def device_names() -> tuple[str, ...]:
    """Return the names of all device models, sorted."""
    return tuple(sorted({*load("devices.json")["devices"], *MODULE_DEVICES}))


@cache
def _aliases() -> dict[str, str]:
    rows = load("devices.json")["devices"]
    return {row["alias"]: name for name, row in rows.items() if "alias" in row}


@cache
def _property_types() -> dict[str, str]:
    return _spread(load("devices.json")["types"])


@lru_cache(maxsize=256)
def cpu_properties(model: str) -> dict[str, str] | None:
    """Return the types of the flags of a processor model by name, or None for no such model."""
    cpus = load("machines.json")["cpus"]
    if model not in cpu_models():
        return None
    special = cpus["special"].get(model, "")
    return {**_spread(cpus["flags"]), **dict.fromkeys(special.split(), "bool")}


@cache
def cpu_models() -> frozenset[str]:
    """Return the names of all processor models; those without version are there as well."""
    return frozenset(load("machines.json")["cpus"]["models"].split())


@cache
def machine_names() -> Mapping[str, int]:
    """Return the concrete machine types with the largest number of processors of each."""
    names: dict[str, int] = load("machines.json")["machines"]
    return names


@cache
def machine_properties(family: str) -> dict[str, str]:
    """Return the types of the properties of a machine family (``none``, ``pc-q35`` ...)."""
    table = load("machines.json")
    return {**table["shared"], **table["properties"][family]}


@lru_cache(maxsize=64)
def accelerator_properties(name: str) -> dict[str, str]:
    """Return the types of the properties of an accelerator; empty if nothing is known."""
    return dict(load("machines.json")["accelerators"].get(name, {}))


def _spread(by_type: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in by_type.items() for name in names.split()}
