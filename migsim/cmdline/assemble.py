"""A draft to a `CommandLine`: the options put together, each step needing only those before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import (
    backend_options,
    cpu_options,
    incoming_options,
    machine_options,
    memory_options,
    misc_options,
    object_options,
)
from .block_nodes import walk
from .block_options import Blocks
from .console_options import Consoles
from .device_options import Links, plug_all, user_devices
from .model import CommandLine, MachineOption, MemoryOption, ObjectOption

if TYPE_CHECKING:
    from .draft import Draft


def information(draft: Draft) -> CommandLine:
    """Return a command line that only asks for a text."""
    family, concrete = machine_options.machine_family("none", draft.release)
    machine = MachineOption("none", concrete, family, {})
    return CommandLine(
        draft.release,
        machine,
        memory=MemoryOption(),
        info=draft.info,
        warnings=tuple(draft.warnings),
        own=tuple(draft.own),
    )


def assemble(draft: Draft) -> CommandLine:
    """Put the options together; each step only needs those before it."""
    machine = machine_options.resolve_machine(_with_usb(draft))
    accelerators = machine_options.resolve_accelerators(draft)
    cpus, max_cpus = cpu_options.resolve_smp(draft, machine)
    objects = object_options.resolve_objects(draft)
    machine_options.check_guest_support(machine, objects)
    consoles = Consoles(draft)
    blocks = Blocks(draft, machine)
    devices = [*consoles.devices, *user_devices(draft, machine, blocks.drives)]
    links = _links(draft, blocks, objects)
    plug_all(devices, machine, links)
    for device in devices[len(consoles.devices) :]:
        if (chardev := device.text("chardev")) is not None:
            consoles.use(chardev, f"{device.option} {device.driver}")
    incoming = incoming_options.resolve_incoming(draft)
    cpu = cpu_options.resolve_cpu(draft, machine, accelerators[0].name)
    if draft.info is not None:
        return information(draft)
    _check_together(draft, incoming is not None and not incoming.deferred, incoming is not None)
    return CommandLine(
        release=draft.release,
        machine=machine,
        memory=memory_options.resolve_memory(draft, machine, objects, max_cpus),
        cpu=cpu,
        accelerators=accelerators,
        cpus=cpus,
        max_cpus=max_cpus,
        objects=objects,
        devices=tuple(devices),
        drives=tuple(blocks.drives),
        blockdevs=tuple(blocks.blockdevs),
        chardevs=tuple(consoles.chardevs),
        monitors=tuple(consoles.monitors),
        serials=tuple(consoles.serials),
        parallels=tuple(consoles.parallels),
        qtest=consoles.qtest,
        qtest_log=draft.texts.get("qtest-log"),
        audiodevs=backend_options.backend_ids(draft, "audiodev"),
        netdevs=backend_options.backend_ids(draft, "netdev"),
        fsdevs=backend_options.backend_ids(draft, "fsdev"),
        tpmdevs=_tpmdevs(draft),
        user_networks=backend_options.user_networks(draft),
        incoming=incoming,
        globals=tuple(draft.globals),
        fds=misc_options.resolve_fds(draft),
        name=draft.texts.get("name", ""),
        uuid=misc_options.resolve_uuid(draft),
        start_stopped="S" in draft.flags,
        only_migratable="only-migratable" in draft.flags,
        preconfig="preconfig" in draft.flags,
        nodefaults="nodefaults" in draft.flags,
        user_config="no-user-config" not in draft.flags,
        nographic="nographic" in draft.flags,
        daemonize="daemonize" in draft.flags,
        actions=misc_options.resolve_actions(draft),
        loadvm=draft.texts.get("loadvm"),
        dump_vmstate=draft.texts.get("dump-vmstate"),
        pidfile=draft.texts.get("pidfile"),
        warnings=tuple(draft.warnings),
        refused=tuple(draft.refused),
        own=tuple(draft.own),
    )


def _with_usb(draft: Draft) -> Draft:
    """Switch the machine's USB controller on where ``-usbdevice`` needs one."""
    if draft.given.get("usbdevice"):
        machine_options.take_machine(draft, "usb=on")
    return draft


def _links(draft: Draft, blocks: Blocks, objects: Iterable[ObjectOption]) -> Links:
    names = {drive.id for drive in blocks.drives if drive.interface in ("none", "virtio")}
    for root in (*blocks.blockdevs, *(d.node for d in blocks.drives if d.node is not None)):
        names.update(node.name for node in walk(root) if node.name is not None)
    made = tuple(objects)
    folders = {g.options.id or "" for g in draft.all("virtfs") if g.options is not None}
    return Links(
        drives=frozenset(names),
        memory=frozenset(o.id for o in made if o.is_memory),
        objects={o.id: o.qom_type for o in made},
        netdevs=frozenset(backend_options.backend_ids(draft, "netdev")),
        audiodevs=frozenset(backend_options.backend_ids(draft, "audiodev")),
        fsdevs=frozenset(backend_options.backend_ids(draft, "fsdev")) | folders,
        tpmdevs=frozenset(backend_options.backend_ids(draft, "tpmdev")),
        default_audio="audio" in draft.texts,
    )


def _tpmdevs(draft: Draft) -> tuple[tuple[str, str], ...]:
    """Return ids and types of TPM back ends."""
    backend_options.backend_ids(draft, "tpmdev")
    return tuple(
        (g.options.id or "", g.options.get("type") or "")
        for g in draft.all("tpmdev")
        if g.options is not None
    )


def _check_together(draft: Draft, loads: bool, waits: bool) -> None:
    """Check what excludes each other (spec monitor.md section 4)."""
    if "loadvm" in draft.texts:
        if waits:
            raise ConfigError("-loadvm", "cannot be combined with -incoming")
        draft.refuse("-loadvm", "there are no images with snapshots inside")
    if "preconfig" in draft.flags and loads:
        raise ConfigError("-preconfig", "only -incoming defer goes with it")
    if "daemonize" in draft.flags and any(
        "stdio" in (given.text, given.text.removeprefix("mon:"))
        for given in draft.all("monitor", "qmp", "qmp-pretty", "serial")
    ):
        raise ConfigError("-daemonize", "a process in the background has no stdio")
