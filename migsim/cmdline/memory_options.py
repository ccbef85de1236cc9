"""``-m``, ``-mem-path``, ``-numa``: how much RAM there is, and which objects it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import ConfigError, ParameterError
from ..qapi.release import Release
from .draft import Draft, Given
from .model import (
    DEFAULT_RAM_BYTES,
    Family,
    Info,
    MachineOption,
    MemoryOption,
    NumaNode,
    ObjectOption,
)
from .object_options import flat_tree
from .options import Kind, parse_options
from .schema import check_object
from .text import parse_bytes, parse_number

RAM_ALIGNMENT: Final = 8192
"""``-m`` is rounded up to a multiple of this, in bytes (seen on QEMU 10.0.2)."""
LAST_WITH_NODE_SIZES: Final = Release(5, 0)
"""The last machine version whose nodes can be given a size instead of an object."""

_M: Final = {"size": Kind.TEXT, "slots": Kind.NUMBER, "maxmem": Kind.SIZE}
_MACHINE_MEMORY: Final = {"size": "size", "slots": "slots", "max-size": "maxmem"}
_NODE_LIMIT: Final = 128
_ENDS_IN_DIGIT = re.compile(r".*[0-9]", re.DOTALL)


def take_m(draft: Draft, text: str) -> None:
    """Merge one ``-m``."""
    options = parse_options(text, "size", _M)
    if options.help:
        draft.ask(Info("m"))
        return
    draft.warn_shorthand("m", options)
    draft.memory = options if draft.memory is None else draft.memory.updated(options)
    size = draft.memory.get("size")
    if size is not None:
        ram_size(size)


def take_numa(draft: Draft, text: str) -> None:
    """Keep one ``-numa``."""
    draft.keep(Given("numa", text, parse_options(text, "type")))


def ram_size(text: str) -> int:
    """Return the bytes that ``-m`` asks for with ``text``: MiB unless a suffix says otherwise.

    Raises:
        ParameterError: not a size, or 2^63 bytes and more.
    """
    value = parse_bytes("size", f"{text}M" if _ENDS_IN_DIGIT.fullmatch(text) else text)
    if value >= 1 << 63:
        raise ParameterError("size", text, "a size below 2^63 bytes")
    return -(-value // RAM_ALIGNMENT) * RAM_ALIGNMENT


def resolve_memory(
    draft: Draft, machine: MachineOption, objects: Sequence[ObjectOption], max_cpus: int
) -> MemoryOption:
    """Return the RAM that all options together describe.

    Raises:
        ConfigError: they contradict each other, or name an object that is no memory.
        ParameterError: a value that is not of its type.
    """
    values = _size_values(draft, machine)
    size = ram_size(values["size"]) if "size" in values else 0
    slots = parse_number("slots", values.get("slots", "0"))
    most = parse_bytes("maxmem", values["maxmem"]) if "maxmem" in values else None
    backend = machine.properties.get("memory-backend")
    backends = {o.id: o for o in objects if o.is_memory}
    memory = MemoryOption(
        size_bytes=size or None,
        slots=slots,
        max_bytes=most,
        path=draft.texts.get("mem-path"),
        prealloc="mem-prealloc" in draft.flags,
        backend=backend if isinstance(backend, str) else None,
        nodes=_nodes(draft, machine, max_cpus),
        aux_ram_share=machine.switch("aux-ram-share"),
    )
    _check_room(memory, total_bytes(memory, machine, backends))
    _check_links(memory, backends)
    if memory.nodes:
        _check_nodes(memory, machine, backends)
    return memory


def total_bytes(
    memory: MemoryOption, machine: MachineOption, backends: Mapping[str, ObjectOption]
) -> int:
    """Return the size of all RAM at the start, in bytes; 0 for a machine without RAM.

    Without ``-m`` it is the size of the memory backend, or what the machine has by default.
    """
    if memory.size_bytes is not None:
        return memory.size_bytes
    if memory.backend is not None and memory.backend in backends:
        return object_size(backends[memory.backend])
    return DEFAULT_RAM_BYTES if machine.family.firmware else 0


def object_size(memory: ObjectOption) -> int:
    """Return the size of a memory backend in bytes, as given."""
    size = memory.properties["size"]
    assert isinstance(size, int)
    return size


def _size_values(draft: Draft, machine: MachineOption) -> dict[str, str]:
    """Return size, slots and maxmem as text, from ``-machine memory.x=`` and ``-m``."""
    values: dict[str, str] = {}
    members = machine.properties.get("memory", {})
    assert isinstance(members, dict)
    for name, value in members.items():
        if name not in _MACHINE_MEMORY or not isinstance(value, str):
            raise ConfigError("-machine memory", f"there is no member {name[:60]!r}")
        is_size = name == "size"
        values[_MACHINE_MEMORY[name]] = f"{parse_bytes(name, value)}b" if is_size else value
    if draft.memory is not None:
        values |= draft.memory.values()
    return values


def _check_room(memory: MemoryOption, size: int) -> None:
    if memory.slots and memory.max_bytes is None:
        raise ConfigError("-m", "slots= needs maxmem=")
    if memory.max_bytes is None:
        return
    if memory.max_bytes < size:
        raise ConfigError("-m", f"maxmem is less than the {size} bytes at the start")
    if memory.slots and memory.max_bytes == size and size:
        raise ConfigError("-m", "with slots= maxmem has to be more than the memory at the start")


def _check_links(memory: MemoryOption, backends: Mapping[str, ObjectOption]) -> None:
    for name in filter(None, (memory.backend, *memory.node_backends)):
        if name not in backends:
            raise ConfigError(f"memory backend {name[:60]!r}", "there is no such object")
    if memory.backend is None:
        return
    if memory.path is not None:
        raise ConfigError("-mem-path", "cannot be combined with -machine memory-backend=")
    if memory.node_backends:
        raise ConfigError("-numa", "memdev= cannot be combined with -machine memory-backend=")
    size = object_size(backends[memory.backend])
    if memory.size_bytes not in (None, size):
        raise ConfigError(
            f"memory backend {memory.backend}",
            f"it has {size} bytes, and -m asks for {memory.size_bytes}",
        )


def _nodes(draft: Draft, machine: MachineOption, max_cpus: int) -> tuple[NumaNode, ...]:
    nodes: dict[int, NumaNode] = {}
    for given in draft.all("numa"):
        if given.options is None:
            continue
        members = check_object("numa", flat_tree(given.options, ("cpus",)), textual=True)
        if machine.family is Family.NONE:
            raise ConfigError("-numa", "machine none has no nodes")
        if members["type"] == "node":
            node = _node(members, len(nodes), machine, max_cpus)
            if node.node_id in nodes:
                raise ConfigError("-numa", f"there are two nodes {node.node_id}")
            nodes[node.node_id] = node
        elif not nodes:
            raise ConfigError("-numa", f"type {members['type']} needs nodes before it")
    return tuple(nodes[key] for key in sorted(nodes))


def _node(
    members: Mapping[str, object], position: int, machine: MachineOption, max_cpus: int
) -> NumaNode:
    number, memdev, mem = members.get("nodeid", position), members.get("memdev"), members.get("mem")
    if not isinstance(number, int) or not 0 <= number < _NODE_LIMIT:
        raise ConfigError("-numa", f"a node id is a number below {_NODE_LIMIT}")
    cpus = members.get("cpus", [])
    if isinstance(cpus, list) and any(cpu >= max_cpus for cpu in cpus):
        raise ConfigError("-numa", f"there are {max_cpus} processors")
    if "initiator" in members and not machine.switch("hmat"):
        raise ConfigError("-numa", "initiator= needs -machine hmat=on")
    if mem is not None and (memdev is not None or not _takes_sizes(machine)):
        raise ConfigError("-numa", "mem= belongs to machines up to 5.0 only; use memdev=")
    return NumaNode(
        number,
        memdev if isinstance(memdev, str) else None,
        mem if isinstance(mem, int) else None,
    )


def _takes_sizes(machine: MachineOption) -> bool:
    if machine.family not in (Family.PC, Family.Q35):
        return False
    version = Release.parse(machine.concrete.removeprefix(f"{machine.family.value}-"))
    return version <= LAST_WITH_NODE_SIZES


def _check_nodes(
    memory: MemoryOption, machine: MachineOption, backends: Mapping[str, ObjectOption]
) -> None:
    ids = [node.node_id for node in memory.nodes]
    if ids != list(range(len(ids))):
        raise ConfigError("-numa", "the ids of the nodes leave one out")
    names, sizes = memory.node_backends, [n.mem_bytes for n in memory.nodes if n.mem_bytes]
    if len(set(names)) < len(names):
        raise ConfigError("-numa", "one object cannot be the memory of two nodes")
    if names and sizes:
        raise ConfigError("-numa", "mem= and memdev= cannot be combined")
    if memory.backend is not None:
        return
    have = sum(object_size(backends[name]) for name in names) + sum(sizes)
    want = total_bytes(memory, machine, backends)
    if have != want:
        raise ConfigError("-numa", f"the nodes have {have} bytes together, the machine {want}")
