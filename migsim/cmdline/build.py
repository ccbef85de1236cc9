"""A `CommandLine` to a `MachineConfig`, and what to register once the machine is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..blockers.catalogue import blocked_modes, row
from ..blockers.device_rows import section_name
from ..blockers.rows import Kind, Scope, modes_at
from ..errors import ConfigError, MigsimError
from ..guest.devices import Device, DeviceBlocker
from ..machine.config import MachineConfig, Profile
from ..ram.block import RAMBlock
from ..vmstate.fields import VMStateDescription
from .blockers import (
    applied_to,
    device_features,
    features,
    register_features,
)
from .facts import device as device_facts
from .layout import BlockPlan, backend_spec, plan_blocks
from .parts import DeviceOption
from .placement import place
from .probe import probe_file
from .sections import BOARDS, StatePlaces, board_is_complete, board_of

if TYPE_CHECKING:
    from ..blockers.registry import Blocker, BlockerRegistry, UnmigratableDevice
    from ..channel.uri import ChannelAddress
    from ..qapi.release import Release
    from .applied import AppliedFeature
    from .images import Look
    from .model import CommandLine

DeviceFactory = Callable[[DeviceOption, str, "Release"], Device | None]
"""Makes the device of an option at a path in a release; None for one without saved state."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a command line comes to.

    Attributes:
        line: the command line.
        config: the machine; its devices bring their own blockers.
        features: everything that blocks or may block a migration, in QEMU's order.
        registered: those of them that `register` registers: all but the devices' own.
    """

    line: CommandLine
    config: MachineConfig
    features: tuple[AppliedFeature, ...]
    registered: tuple[AppliedFeature, ...]

    def register(
        self, registry: BlockerRegistry
    ) -> dict[AppliedFeature, Blocker | UnmigratableDevice]:
        """Register what the machine has from its start; return the handles, to lift them later.

        Raises:
            OnlyMigratableError: the machine was started with ``-only-migratable``.
        """
        safe = self.config.profile is Profile.SAFE
        return register_features(registry, self.registered, self.config.release, safe=safe)


def build(
    line: CommandLine,
    base: MachineConfig | None = None,
    *,
    look: Look = probe_file,
    device_factory: DeviceFactory | None = None,
    handed: Mapping[str, int] | None = None,
) -> Built:
    """Return the machine that ``line`` describes; disk images are looked at, memory is mapped.

    ``handed`` has descriptors of memory that another process handed over, by block name, or is None
    if no process was to; they are duplicated.  ``base`` has what no option says: workload, profile,
    seed, timing.  RAM blocks besides the main one are made here, so the caller has to close them
    if it does not make a machine.

    Raises:
        ConfigError: an image or a memory backend is not there or does not fit, or migsim does not
            model something that would change the outcome.
    """
    if line.info is not None:
        raise ConfigError(f"option {line.info.kind}", "asks for a text, not for a machine")
    if line.refused:
        first = line.refused[0]
        raise ConfigError(first.option, f"migsim does not model it: {first.reason}")
    found = features(line, look)
    paths = place(line)
    devices = make_devices(line, paths, device_factory)
    plans = [_with_memory(plan, handed or {}) for plan in plan_blocks(line)]
    main = next((p for p in plans if p.main), None)
    _touch_memory(line, plans)
    blocks = _make_blocks([p for p in plans if p is not main])
    config = replace(
        base or MachineConfig(),
        machine=line.machine.name,
        memory=None if main is None else main.backing,
        ram_name=None if main is None else main.name,
        extra_blocks=blocks,
        devices=devices,
        board=board_of(line),
        board_is_complete=line.machine.family in BOARDS and board_is_complete(line),
        incoming=incoming_of(line),
        handed_over=handed is not None,
        start_stopped=line.start_stopped,
        only_migratable=line.only_migratable,
        name=line.name,
        uuid=line.uuid,
        release=line.release,
        globals=line.migration_globals(),
        suppress_vmdesc=line.machine.switch("suppress-vmdesc"),
    )
    own = {name for d in line.devices for name in device_features(d)}
    return Built(line, config, found, tuple(f for f in found if f.feature not in own))


def _with_memory(plan: BlockPlan, handed: Mapping[str, int]) -> BlockPlan:
    """Return the plan with the memory that was handed over for it, if any was."""
    fd = handed.get(plan.name)
    return plan if fd is None else replace(plan, backing=replace(plan.backing, fd=fd))


def incoming_of(line: CommandLine) -> str | ChannelAddress | None:
    """Return where the machine loads from: None, ``defer``, a URI as given, or an address."""
    incoming = line.incoming
    if incoming is None:
        return None
    if incoming.main is None:
        return "defer"
    return incoming.main.uri or incoming.main.parsed()


def _make_blocks(plans: Iterable[BlockPlan]) -> tuple[RAMBlock, ...]:
    made: list[RAMBlock] = []
    try:
        for plan in plans:
            made.append(
                RAMBlock(
                    plan.name,
                    plan.backing.create(),
                    plan.used_bytes,
                    address=plan.address,
                    resizable=plan.resizable,
                    firmware=plan.firmware,
                )
            )
    except MigsimError:
        for block in made:
            block.backend.close()
        raise
    return tuple(made)


def make_devices(
    line: CommandLine, paths: Iterable[str], factory: DeviceFactory | None = None
) -> tuple[Device, ...]:
    """Return the devices of ``line`` that carry state, or bring blockers.

    Equal names get instance numbers.  ``factory`` makes them; without one they have the state that
    real ones have, where it is known.
    """
    devices: list[Device] = []
    instances: Counter[str] = Counter()
    places = StatePlaces(line)
    for option, path in zip(line.devices, paths, strict=True):
        made = _made(line, option, path, places, factory)
        for device in made:
            if device.name not in instances:
                instances[device.name] = places.on_board_already(device.name)
            device.instance_id = instances[device.name]
            instances[device.name] += 1
        if made:
            made[0].blockers = (*made[0].blockers, *_blockers_of(option, line.release))
        devices += made
    return tuple(devices)


def _made(
    line: CommandLine,
    option: DeviceOption,
    path: str,
    places: StatePlaces,
    factory: DeviceFactory | None,
) -> list[Device]:
    if factory is None and places.on_board(option):
        return []
    recorded = places.devices(option, path) if factory is None else []
    if recorded:
        return [*recorded]
    plain = (factory or plain_device)(option, path, line.release)
    return [] if plain is None else [plain]


def plain_device(option: DeviceOption, path: str, release: Release) -> Device | None:
    """Return a device with the real section name and version of its model, and no fields.

    None for a model that has no saved state of its own, such as a disk on an IDE bus.
    """
    facts = device_facts(option.driver)
    found = device_features(option)
    flagged = any(row(f).kind is Kind.DEVICE and blocked_modes(f, release) for f in found)
    if facts is None or (facts.state is None and not found):
        return None
    name, version, least = facts.state or (option.driver, 0, 0)
    description = VMStateDescription(name, version, (), least)
    return Device(section_name(name, path), description, migratable=not flagged)


def _blockers_of(option: DeviceOption, release: Release) -> tuple[DeviceBlocker, ...]:
    """Return the reasons of a device that can be saved all the same (ivshmem, vhost-scsi)."""
    found = []
    for feature in device_features(option):
        entry, scope = row(feature), row(feature).scope(release)
        applied = applied_to(option, feature)
        if entry.kind is Kind.DEVICE or not applied.at_start or scope is Scope.NOTHING:
            continue
        every = scope is Scope.EVERY_MODE
        modes = None if every else tuple(mode for mode in modes_at(release) if scope.blocks(mode))
        found.append(DeviceBlocker(entry.reason(applied.name), modes))
    return tuple(found)


def _touch_memory(line: CommandLine, plans: Iterable[BlockPlan]) -> None:
    """Make the memory backends that are not RAM, and let go of them: their files stay.

    Raises:
        ConfigError: one cannot be made, or one that is RAM begins inside its file.
    """
    used = {plan.backing.id for plan in plans}
    for memory in line.objects:
        if not memory.is_memory:
            continue
        inside = bool(memory.properties.get("offset"))
        if memory.id in used and inside:
            raise ConfigError(f"{memory.qom_type} {memory.id}", "migsim does not model offset=")
        if memory.id not in used and not inside:
            backend_spec(memory).create().close()
