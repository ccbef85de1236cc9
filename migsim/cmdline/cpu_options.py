"""``-cpu`` and ``-smp``: the virtual processors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, ParameterError
from ..qapi.release import Release
from .facts import cpu_models, cpu_properties, machine_names
from .keyval import merge, parse_keyval
from .model import CpuOption, Family, Info, MachineOption
from .text import parse_number, shorten
from .values import check_property

if TYPE_CHECKING:
    from .draft import Draft

NEEDS_KVM: Final = "host"
_HELP: Final = ("help", "?")
_TOPOLOGY: Final = ("drawers", "books", "dies", "clusters", "modules")
_UNSUPPORTED: Final = ("drawers", "books", "clusters")
_MEMBERS: Final = ("cpus", "maxcpus", "sockets", "cores", "threads", *_TOPOLOGY)
_LARGEST: Final[Mapping[Family, int]] = {
    Family.NONE: 1,
    Family.ISAPC: 1,
    Family.REMOTE: 1,
    Family.MICROVM: 288,
    Family.PC: 255,
    Family.Q35: 4096,
}
# Text names of properties that -cpu spells in its own way.
_SPELLINGS: Final[Mapping[str, str]] = {"tsc-freq": "tsc-frequency"}


def take_smp(draft: Draft, text: str) -> None:
    """Merge one ``-smp``."""
    parsed = parse_keyval(text, "cpus")
    if parsed.help:
        draft.ask(Info("smp"))
        return
    draft.smp = merge(draft.smp, parsed.members)


def resolve_smp(draft: Draft, machine: MachineOption) -> tuple[int, int]:
    """Return the numbers of processors at the start and at most.

    Parts of the topology that are not given follow from the others: cores first, as machine types
    since 6.2 have it.

    Raises:
        ConfigError: the numbers contradict each other, or the machine cannot have so many.
    """
    members = machine.properties.get("smp", {})
    assert isinstance(members, dict)
    wanted = _numbers(merge(members, draft.smp))
    cpus, most, total = _topology(wanted)
    limit = machine_names().get(machine.concrete, _LARGEST[machine.family])
    if total != most or most < cpus:
        raise ConfigError("-smp", f"{total} processors in the topology, {cpus} to {most} wanted")
    if most > limit:
        raise ConfigError("-smp", f"machine {machine.concrete} has at most {limit} processors")
    return cpus, most


def _numbers(members: Mapping[str, object]) -> dict[str, int]:
    numbers = {}
    for name, value in members.items():
        if name not in _MEMBERS or not isinstance(value, str):
            raise ConfigError("-smp", f"there is no member {name[:60]!r}")
        number = parse_number(name, value)
        if number == 0 or (number > 1 and name in _UNSUPPORTED):
            raise ParameterError(name, value, "a number that x86 machines can have")
        numbers[name] = number
    return numbers


def _topology(wanted: Mapping[str, int]) -> tuple[int, int, int]:
    """Return processors at the start, at most, and in the whole topology."""
    cpus, most = wanted.get("cpus", 0), wanted.get("maxcpus", 0)
    sockets, cores = wanted.get("sockets", 0), wanted.get("cores", 0)
    threads, others = wanted.get("threads", 0), 1
    for name in _TOPOLOGY:
        others *= wanted.get(name, 1)
    if not cpus and not most:
        sockets, cores, threads = sockets or 1, cores or 1, threads or 1
    else:
        most = most or cpus
        if not cores:
            sockets, threads = sockets or 1, threads or 1
            cores = most // (others * sockets * threads)
        elif not sockets:
            threads = threads or 1
            sockets = most // (others * cores * threads)
        threads = threads or most // max(others * sockets * cores, 1)
    total = others * sockets * cores * threads
    most = most or total
    return cpus or most, most, total


def resolve_cpu(draft: Draft, machine: MachineOption, accelerator: str) -> CpuOption:
    """Return the processor that the last ``-cpu`` describes.

    Raises:
        ConfigError: no such model or flag, or one that this machine cannot have.
        ParameterError: a value that is not of its type.
    """
    text = draft.texts.get("cpu")
    if text is None:
        return CpuOption()
    model, *words = text.split(",")
    if not text:
        raise ConfigError("-cpu", "a model name is missing")
    if model in _HELP:
        draft.ask(Info("cpu"))
        return CpuOption()
    properties = cpu_properties(model)
    if properties is None and (draft.release <= Release.V10_0 or not model):
        raise ConfigError("-cpu", f"there is no model {shorten(model)!r}")
    if machine.family is Family.NONE:
        raise ConfigError("-cpu", "machine none has no place for a processor")
    if model == NEEDS_KVM and accelerator != "kvm":
        raise ConfigError(f"-cpu {NEEDS_KVM}", "it needs -accel kvm")
    return CpuOption(model, _flags(model, words, properties))


def _flags(model: str, words: list[str], properties: Mapping[str, str] | None) -> dict[str, str]:
    """Return what flags amount to: assignments first, then what ``+`` adds and ``-`` removes."""
    assigned: dict[str, str] = {}
    added: dict[str, str] = {}
    removed: dict[str, str] = {}
    for word in words:
        if word[:1] in ("+", "-"):
            name = _known(model, word[1:], properties)
            (added if word[0] == "+" else removed)[name] = "on" if word[0] == "+" else "off"
        elif word:
            name, equals, value = word.partition("=")
            name = _known(model, name, properties)
            assigned[name] = value if equals else "on"
            _check_flag(name, assigned[name], properties)
    return {**assigned, **added, **removed}


def _known(model: str, name: str, properties: Mapping[str, str] | None) -> str:
    """Return the property that a flag names; raises ConfigError if the model has none."""
    spelled = name.replace("_", "-")
    spelled = _SPELLINGS.get(spelled, spelled)
    if properties is None or spelled in properties:
        return spelled
    if name in properties:
        return name
    raise ConfigError(f"-cpu {model}", f"there is no flag {shorten(name)!r}")


def _check_flag(name: str, value: str, properties: Mapping[str, str] | None) -> None:
    kind = None if properties is None else properties.get(name)
    if name == "vendor" and len(value) != 12:
        raise ParameterError(name, shorten(value), "exactly 12 characters")
    if kind is not None and name != "tsc-frequency":
        check_property(name, value, kind)


def model_names() -> tuple[str, ...]:
    """Return the names of all processor models, sorted."""
    return tuple(sorted(cpu_models()))
