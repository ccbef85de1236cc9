"""``-machine`` and ``-accel``: what kind of machine it is, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, ParameterError
from ..qapi.release import Release
from .draft import Draft, Given
from .facts import accelerator_properties, machine_names, machine_properties
from .keyval import Tree, merge, parse_keyval
from .model import Accelerator, Family, Info, MachineOption, ObjectOption
from .options import Options, parse_options
from .text import parse_number
from .values import check_property

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_MACHINE: Final = "pc"
DEFAULT_ACCELERATOR: Final = "tcg"
CONFIDENTIAL: Final = ("sev-guest", "sev-snp-guest")
"""Types of objects that encrypt the guest's memory."""
_ALIASES: Final = {"pc": Family.PC, "q35": Family.Q35}
_PLAIN: Final = {f.value: f for f in (Family.NONE, Family.MICROVM, Family.ISAPC, Family.REMOTE)}
_ACCELERATORS: Final = ("tcg", "kvm", "qtest")
_OTHER_HOSTS: Final = ("hvf", "whpx", "nvmm", "xen", "hax")
# Members of -machine that QEMU hands on to the accelerator, and those with a language of their own.
_SUGAR: Final = ("accel", "kernel-irqchip", "kvm-shadow-mem", "igd-passthru")
_STRUCTURED: Final = ("smp", "boot", "memory", "sgx-epc", "cxl-fmw", "smp-cache")
_BOOT: Final = ("order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict")
_REFUSED: Final[Mapping[str, str]] = {
    "pflash0": "flash memory adds RAM blocks",
    "pflash1": "flash memory adds RAM blocks",
    "firmware": "other firmware changes the sizes of RAM blocks",
    "kernel": "a kernel adds RAM blocks",
}
# Since when a property exists; the others are older than every release that migsim knows.
_SINCE: Final[Mapping[str, str]] = {"aux-ram-share": "10.0", "smp-cache": "10.0"}


def take_machine(draft: Draft, text: str) -> None:
    """Merge one ``-machine``."""
    parsed = parse_keyval(text, "type")
    if parsed.help or parsed.members.get("type") in ("help", "?"):
        subject = parsed.members.get("type")
        draft.ask(Info("machine", subject if isinstance(subject, str) else None))
        return
    members = {name.replace("_", "-"): value for name, value in parsed.members.items()}
    draft.machine = merge(draft.machine, members)


def take_accel(draft: Draft, text: str) -> None:
    """Add one ``-accel``."""
    options = parse_options(text, "accel")
    if options.help:
        draft.ask(Info("accel", options.get("accel")))
    draft.keep(Given("accel", text, options))


def resolve_machine(draft: Draft) -> MachineOption:
    """Return the machine that all ``-machine`` options describe.

    Raises:
        ConfigError: no such machine type or property.
        ParameterError: a value that is not of its type.
    """
    name = draft.machine.get("type", DEFAULT_MACHINE)
    if not isinstance(name, str):
        raise ConfigError("machine", "its type has members")
    family, concrete = machine_family(name, draft.release)
    properties = {n: v for n, v in draft.machine.items() if n != "type"}
    known = machine_properties(family.value)
    for prop, value in properties.items():
        if prop not in _SUGAR:
            _check_property(f"machine {concrete}", prop, value, known)
        if not draft.release.has(_SINCE.get(prop)):
            raise ConfigError(f"machine {concrete}", f"{prop} came with release {_SINCE[prop]}")
        if prop == "kernel" and not family.firmware:
            raise ConfigError(f"machine {concrete}", "it takes no kernel")
        if prop in _REFUSED and family.firmware:
            draft.refuse(f"-machine {prop}=", _REFUSED[prop])
    if not family.modelled:
        draft.refuse(f"-machine {name}", "migsim has machines none, microvm, pc and q35")
    return MachineOption(name, concrete, family, properties)


def check_guest_support(machine: MachineOption, objects: Iterable[ObjectOption]) -> None:
    """Check that what encrypts the guest's memory is there.

    Raises:
        ConfigError: ``confidential-guest-support=`` names no such object.
    """
    known = {o.id for o in objects if o.qom_type in CONFIDENTIAL}
    for name in ("confidential-guest-support", "memory-encryption"):
        chosen = machine.properties.get(name)
        if chosen is not None and chosen not in known:
            raise ConfigError(f"-machine {name}=", "names no object that encrypts memory")


def machine_family(name: str, release: Release) -> tuple[Family, str]:
    """Return the family of a machine type, and its concrete name in ``release``.

    Raises:
        ConfigError: the release has no such machine.
    """
    if name in _PLAIN:
        return _PLAIN[name], name
    if name in _ALIASES:
        family = _ALIASES[name]
        return family, f"{family.value}-{release}"
    for family in _ALIASES.values():
        if name.startswith(f"{family.value}-") and _has_version(name, family, release):
            return family, name
    raise ConfigError(f"machine {name[:60]!r}", f"release {release} has no such machine type")


def _has_version(name: str, family: Family, release: Release) -> bool:
    text = name.removeprefix(f"{family.value}-")
    try:
        version = Release.parse(text)
    except ParameterError:
        return False
    if version > release:
        return False
    return name in machine_names() or version > Release.V10_0


def _check_property(what: str, name: str, value: Tree, known: Mapping[str, str]) -> None:
    kind = known.get(name)
    if kind is None:
        raise ConfigError(what, f"it has no property {name!r}")
    if name in _STRUCTURED:
        if isinstance(value, str):
            raise ConfigError(what, f"property {name} has members, such as {name}.x=")
        unknown = [n for n in value if n not in _BOOT] if name == "boot" else []
        if unknown:
            raise ConfigError(what, f"property boot has no member {unknown[0]!r}")
        return
    if not isinstance(value, str):
        raise ConfigError(what, f"property {name} has no members")
    check_property(name, value, kind)


def resolve_accelerators(draft: Draft) -> tuple[Accelerator, ...]:
    """Return the accelerators that could be used, in order of preference.

    Raises:
        ConfigError: there is none among those asked for, or they are asked for in two ways.
    """
    wishes = _wishes(draft)
    found = []
    for name, options in wishes:
        if name in _ACCELERATORS:
            found.append(Accelerator(name, {} if options is None else options.values()))
        elif name in _OTHER_HOSTS:
            draft.refuse(f"-accel {name}", "it belongs to another host system")
            found.append(Accelerator(name))
        else:
            draft.warn(f"-accel: there is no accelerator {name[:60]!r}")
    if not found:
        if wishes:
            names = ", ".join(_ACCELERATORS)
            raise ConfigError(f"accelerator {wishes[0][0][:60]!r}", f"there are {names}")
        return (Accelerator(DEFAULT_ACCELERATOR),)
    _check_accelerator(found[0])
    return tuple(found)


def _wishes(draft: Draft) -> list[tuple[str, Options | None]]:
    """Return names of accelerators with their options, in order of preference."""
    wishes: list[tuple[str, Options | None]] = []
    for given in draft.all("accel"):
        options = given.options
        name = None if options is None else options.get("accel")
        if options is not None and name is not None:
            rest = Options(tuple(p for p in options.pairs if p[0] != "accel"))
            wishes.append((name, rest))
    listed = draft.machine.get("accel")
    if listed is None:
        return wishes
    if wishes:
        raise ConfigError("-accel", "cannot be combined with -machine accel=")
    if not isinstance(listed, str):
        raise ConfigError("-machine accel", "has no members")
    return [(name, None) for name in listed.split(":")]


def _check_accelerator(accelerator: Accelerator) -> None:
    known = accelerator_properties(accelerator.name)
    for name, value in accelerator.properties.items():
        kind = known.get(name)
        if kind is None:
            what = f"accelerator {accelerator.name}"
            raise ConfigError(what, f"it has no property {name[:60]!r}")
        check_property(name, value, kind)
        ring = name == "dirty-ring-size"
        if ring and (size := parse_number(name, value)) & (size - 1):
            raise ParameterError(name, value, "a power of two")


def enable_kvm(draft: Draft) -> None:
    """Take ``-enable-kvm``: the same as ``-accel kvm``."""
    take_accel(draft, "kvm")


def set_machine_switch(name: str, value: str) -> Callable[[Draft], None]:
    """Return a handler that sets one property of the machine (``-usb``)."""

    def handler(draft: Draft) -> None:
        draft.machine = merge(draft.machine, {name: value})

    return handler
