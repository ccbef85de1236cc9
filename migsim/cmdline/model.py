"""What a command line says, as values; nothing here has looked at a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..qapi.release import Release
    from .parts import (
        BlockNode,
        Chardev,
        DeviceOption,
        DriveOption,
        IncomingOption,
        MonitorOption,
    )
    from .schema import Value

DEFAULT_RAM_BYTES: Final = 128 << 20
"""RAM of a machine without ``-m``; machine ``none`` has none (seen on QEMU 10.0.2)."""


class Family(StrEnum):
    """Kinds of machines that a command line can name; the value is the concrete name's stem."""

    NONE = "none"
    MICROVM = "microvm"
    PC = "pc-i440fx"
    Q35 = "pc-q35"
    ISAPC = "isapc"
    REMOTE = "x-remote"

    @property
    def modelled(self) -> bool:
        """Whether migsim can run such a machine."""
        return self not in (Family.ISAPC, Family.REMOTE)

    @property
    def firmware(self) -> bool:
        """Whether the machine has firmware, and RAM when none is asked for."""
        return self not in (Family.NONE, Family.REMOTE)


@dataclass(frozen=True, slots=True)
class MachineOption:
    """``-machine``, merged from all its occurrences.

    Attributes:
        name: type or alias as given.
        concrete: the concrete type, such as ``pc-q35-10.0``.
        family: its family.
        properties: everything else, by name with ``-`` for ``_``; text, or members.
    """

    name: str
    concrete: str
    family: Family
    properties: Mapping[str, object]

    def switch(self, name: str, default: bool = False) -> bool:
        """Return whether the property ``name`` is on."""
        value = self.properties.get(name)
        return default if value is None else value in ("on", "yes", "true", "y")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """``-accel`` or ``-machine accel=``: one entry of the list of preferences."""

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CpuOption:
    """``-cpu``.

    Attributes:
        model: model name, or None for the machine's own.
        flags: what the flags amount to: property names with ``-`` for ``_``, and text.
    """

    model: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)

    def on(self, name: str) -> bool:
        """Return whether a flag is switched on explicitly."""
        return self.flags.get(name) in ("on", "yes", "true", "y")

    def off(self, name: str) -> bool:
        """Return whether a flag is switched off explicitly."""
        return self.flags.get(name) in ("off", "no", "false", "n")


@dataclass(frozen=True, slots=True)
class ObjectOption:
    """``-object``: a user creatable object with checked properties."""

    qom_type: str
    id: str
    properties: Mapping[str, Value]

    @property
    def is_memory(self) -> bool:
        """Whether it is a memory backend."""
        return self.qom_type.startswith("memory-backend-")


@dataclass(frozen=True, slots=True)
class NumaNode:
    """``-numa node``: what a node's memory is."""

    node_id: int
    memdev: str | None = None
    mem_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryOption:
    """The guest's RAM, from ``-m``, ``-mem-path``, ``-machine`` and ``-numa``.

    Attributes:
        size_bytes: what ``-m`` asks for, a multiple of 8192; None when it says nothing.
        slots, max_bytes: room for hot plugging.
        path: ``-mem-path``.
        prealloc: ``-mem-prealloc``.
        backend: id of the object that is all RAM, by ``memory-backend=``; or None.
        nodes: ``-numa node``.
        aux_ram_share: RAM that belongs to the machine comes from shareable descriptors.
    """

    size_bytes: int | None = None
    slots: int = 0
    max_bytes: int | None = None
    path: str | None = None
    prealloc: bool = False
    backend: str | None = None
    nodes: tuple[NumaNode, ...] = ()
    aux_ram_share: bool = False

    @property
    def node_backends(self) -> tuple[str, ...]:
        """Ids of the objects that are the RAM of nodes, in order."""
        return tuple(node.memdev for node in self.nodes if node.memdev is not None)


@dataclass(frozen=True, slots=True)
class GlobalOption:
    """``-global DRIVER.PROPERTY=VALUE``."""

    driver: str
    property: str
    value: str


@dataclass(frozen=True, slots=True)
class AddFdOption:
    """``-add-fd``: descriptor ``fd`` joins set ``fdset_id``."""

    fd: int
    fdset_id: int
    opaque: str | None = None


@dataclass(frozen=True, slots=True)
class Actions:
    """What happens on events of the guest: ``-action``, ``-no-shutdown``, ``-no-reboot`` ..."""

    reboot: str = "reset"
    shutdown: str = "poweroff"
    panic: str = "shutdown"
    watchdog: str = "reset"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An option that migsim cannot run with, though QEMU could."""

    option: str
    reason: str


@dataclass(frozen=True, slots=True)
class Info:
    """The command line asks for a text instead of a machine.

    Attributes:
        kind: ``version``, ``help``, or the name of the option whose help is wanted.
        subject: what exactly, such as a device model; None for the list of all.
    """

    kind: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A whole command line.

    Attributes:
        release: the release whose rules were applied.
        machine, memory, cpu, accelerators: the machine; the first usable accelerator counts.
        cpus, max_cpus: number of virtual processors.
        objects, devices, drives, blockdevs: in the order given.
        chardevs, monitors, serials, parallels, qtest: who is connected; serials and parallels are
            ids of character devices, or None for a port that is left out.
        audiodevs, netdevs, fsdevs, tpmdevs: ids that devices may refer to.
        user_networks: number of networks that the process itself plays.
        incoming: where to load from, or None.
        globals: default values of properties.
        info: a text is wanted instead of a machine, or None.
        warnings: lines for the standard error stream.
        refused: options that migsim cannot run with; empty unless they were to be collected.
        own: options of the caller, in order.
    """

    release: Release
    machine: MachineOption
    memory: MemoryOption
    cpu: CpuOption = CpuOption()
    accelerators: tuple[Accelerator, ...] = (Accelerator("tcg"),)
    cpus: int = 1
    max_cpus: int = 1
    objects: tuple[ObjectOption, ...] = ()
    devices: tuple[DeviceOption, ...] = ()
    drives: tuple[DriveOption, ...] = ()
    blockdevs: tuple[BlockNode, ...] = ()
    chardevs: tuple[Chardev, ...] = ()
    monitors: tuple[MonitorOption, ...] = ()
    serials: tuple[str | None, ...] = ()
    parallels: tuple[str | None, ...] = ()
    qtest: str | None = None
    qtest_log: str | None = None
    audiodevs: tuple[str, ...] = ()
    netdevs: tuple[str, ...] = ()
    fsdevs: tuple[str, ...] = ()
    tpmdevs: tuple[tuple[str, str], ...] = ()
    user_networks: int = 0
    incoming: IncomingOption | None = None
    globals: tuple[GlobalOption, ...] = ()
    fds: tuple[AddFdOption, ...] = ()
    name: str = ""
    uuid: bytes | None = None
    start_stopped: bool = False
    only_migratable: bool = False
    preconfig: bool = False
    nodefaults: bool = False
    user_config: bool = True
    nographic: bool = False
    daemonize: bool = False
    actions: Actions = Actions()
    loadvm: str | None = None
    dump_vmstate: str | None = None
    pidfile: str | None = None
    info: Info | None = None
    warnings: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    own: tuple[tuple[str, str | None], ...] = ()

    @property
    def accelerator(self) -> str:
        """Name of the accelerator that runs the guest."""
        return self.accelerators[0].name

    def migration_globals(self) -> tuple[tuple[str, str], ...]:
        """Return ``-global migration.NAME=VALUE`` as pairs of property name and text."""
        return tuple((g.property, g.value) for g in self.globals if g.driver == "migration")

    def chardev(self, id: str) -> Chardev | None:
        """Return the character device with this id, or None."""
        return next((c for c in self.chardevs if c.id == id), None)

    def object(self, id: str) -> ObjectOption | None:
        """Return the object with this id, or None."""
        return next((o for o in self.objects if o.id == id), None)
