"""What a machine consists of; its commands are added by the classes above this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .events import Event

if TYPE_CHECKING:
    from ..blockers.registry import BlockerRegistry
    from ..channel.descriptors import DescriptorTable
    from ..clock import VirtualClock, WallClock
    from ..guest.guest import Guest
    from ..migration.incoming import MigrationIncoming
    from ..migration.notifiers import NotifierLists
    from ..migration.source import MigrationSource
    from ..qapi.capabilities import CapabilitySet
    from ..qapi.parameters import MigrationParameters
    from ..qapi.properties import StreamSwitches
    from ..qapi.release import Release
    from ..ram.block import RAMList
    from .addresses import Connector
    from .config import MachineConfig
    from .devices import DeviceTree
    from .driver import VirtualDriver, WallDriver
    from .process import ProcessExit
    from .runstate import RunStateMachine


class MachineParts:
    """The parts of a machine, and the end of its process.

    Attributes:
        config: what it was built from.
        release, strict, machine_name, uuid: from the configuration.
        clock, driver: its time, and who makes it pass.
        events: every event so far, oldest first.
        run: the guest's run state.
        ram, devices, guest: what migrates.
        blockers, notifiers: who may forbid it, and who is told.
        parameters, capabilities, switches: settings of migration.
        source, incoming: the two engines.
        descriptors: descriptors that monitors were given.
        restless: names of drives that cannot be put to rest, so that a save fails at its end.
        connector: who opens the addresses of migrations.
        exited: how the process ended, or None while it lives.
    """

    config: MachineConfig
    release: Release
    strict: bool
    machine_name: str
    uuid: bytes | None
    suppress_vmdesc: bool
    clock: VirtualClock | WallClock
    driver: VirtualDriver | WallDriver
    events: list[Event]
    run: RunStateMachine
    ram: RAMList
    devices: DeviceTree
    guest: Guest
    blockers: BlockerRegistry
    notifiers: NotifierLists
    parameters: MigrationParameters
    capabilities: CapabilitySet
    switches: StreamSwitches
    source: MigrationSource
    incoming: MigrationIncoming
    descriptors: DescriptorTable
    restless: tuple[str, ...]
    connector: Connector
    exited: ProcessExit | None

    def emit(self, name: str, data: Mapping[str, object]) -> None:
        """Emit an event under its QMP name; for engines and devices."""
        self.events.append(Event(name, data, self.clock.now))

    def end_process(self, how: ProcessExit) -> None:
        """End the process: a migration dies with it, and memory that is nowhere else is gone."""
        self.exited = how
        self.source.abandon()
        self.incoming.abandon()
        self.connector.abandon()
        self.descriptors.close()
        self.ram.close()
