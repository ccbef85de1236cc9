"""What a command line that asks for a text is answered: version, options, lists of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ..qapi.release import Release
from .block_nodes import drivers
from .chardev_options import BACKENDS
from .cpu_options import model_names
from .facts import device, device_names, machine_names
from .machine_options import DEFAULT_MACHINE
from .model import Family, Info
from .object_options import creatable_types
from .schema import cases
from .table import OPTIONS, Handling

_STABLE: Final[Mapping[Release, str]] = {Release.V10_0: "10.0.2", Release.V11_1: "11.1.3"}
_FAMILY_TITLES: Final[Mapping[Family, str]] = {
    Family.NONE: "empty machine",
    Family.MICROVM: "microvm (i386)",
    Family.PC: "PC with an i440FX chipset",
    Family.Q35: "PC with a Q35 chipset",
    Family.ISAPC: "PC with an ISA bus only (not modelled)",
    Family.REMOTE: "remote device process (not modelled)",
}


def info_text(info: Info, release: Release = Release.DEFAULT) -> str:
    """Return the text that ``info`` asks for, with a line end.

    The first line of the version text has the form that management programs look for.
    """
    if info.kind == "device" and info.subject is not None:
        return _lines(f"{info.subject} options:", _properties(info.subject))
    return _TEXTS.get(info.kind, _nothing)(release)


def _lines(title: str, names: Iterable[str]) -> str:
    return "\n".join([title, *names]) + "\n"


def _nothing(release: Release) -> str:
    return "There is no help for this option.\n"


def _version(release: Release) -> str:
    number = _STABLE.get(release, str(release))
    return (
        f"QEMU emulator version {number} (migsim)\n"
        "migsim is not QEMU: it answers for QEMU's migration core and runs no guest code.\n"
    )


def _help(release: Release) -> str:
    rows = (
        f"-{row.name}{' ARG' if row.argument else ''}  ({row.handling.value})"
        for row in OPTIONS.values()
        if row.handling is not Handling.ABSENT
    )
    return _lines(f"Options of QEMU {release}, and what migsim does with each:", rows)


def _machines(release: Release) -> str:
    rows = []
    for family in (Family.NONE, Family.MICROVM, Family.ISAPC, Family.REMOTE):
        rows.append((family.value, _FAMILY_TITLES[family]))
    for alias, family in (("pc", Family.PC), ("q35", Family.Q35)):
        newest, title = f"{family.value}-{release}", _FAMILY_TITLES[family]
        older = {n for n in machine_names() if n.startswith(f"{family.value}-")} - {newest}
        rows.append((alias, f"{title} (alias of {newest})"))
        rows.append((newest, f"{title} (default)" if alias == DEFAULT_MACHINE else title))
        rows += [(name, title) for name in sorted(older)]
    return _lines("Supported machines are:", (f"{name:20} {title}" for name, title in rows))


def _devices(release: Release) -> str:
    rows = []
    for name in device_names():
        facts = device(name)
        bus = f", bus {facts.bus}" if facts is not None and facts.bus else ""
        rows.append(f'name "{name}"{bus}')
    return _lines("Devices:", rows)


def _properties(name: str) -> list[str]:
    facts = device(name)
    known = {} if facts is None or facts.properties is None else facts.properties
    return [f"  {prop}=<{kind}>" for prop, kind in sorted(known.items())]


_TEXTS: Final[Mapping[str, Callable[[Release], str]]] = {
    "version": _version,
    "help": _help,
    "machine": _machines,
    "device": _devices,
    "accel": lambda _: _lines("Accelerators supported in QEMU binary:", ("tcg", "kvm", "qtest")),
    "cpu": lambda _: _lines("Available CPUs:", (f"  {name}" for name in model_names())),
    "object": lambda _: _lines(
        "List of user creatable objects:", (f"  {name}" for name in creatable_types())
    ),
    "chardev": lambda _: _lines(
        "Available chardev backend types:", (f"  {name}" for name in sorted(BACKENDS))
    ),
    "drive": lambda _: _lines("Supported formats:", (f"  {name}" for name in drivers())),
    "netdev": lambda _: _lines("Available netdev backend types:", cases("netdev")),
    "audiodev": lambda _: _lines("Available audio drivers:", cases("audiodev")),
    "display": lambda _: _lines("Available display backend types:", ("none",)),
}
