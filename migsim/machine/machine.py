"""One virtual machine: run state, RAM, devices, guest, blockers and both ends of migration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..blockers.registry import BlockerRegistry, refuses_blockers
from ..channel.descriptors import DescriptorTable
from ..clock import VirtualClock, WallClock
from ..errors import AbortError, StateError
from ..guest.guest import Guest
from ..guest.workloads import Idle
from ..migration.incoming import MigrationIncoming
from ..migration.notifiers import NotifierLists
from ..migration.source import MigrationSource
from ..qapi.enums import MigrationStatus, RunState
from ..qapi.properties import MigrationProperties, compat_properties
from ..ram.block import RAMBlock, RAMList
from .addresses import Connector, FileConnector, Origin
from .devices import DeviceTree
from .driver import VirtualDriver, WallDriver
from .engine_view import EngineView
from .guest_commands import GuestCommands
from .migration_commands import MigrationCommands
from .process import ProcessExit
from .runstate import RunStateMachine
from .types import machine_type

if TYPE_CHECKING:
    from ..channel.base import InputChannel, OutputChannel
    from ..migration.work import Work
    from ..qapi.capabilities import CapabilitySet
    from ..qapi.parameters import MigrationParameters
    from ..qapi.release import Release
    from .config import MachineConfig

RUN_LIMIT_S = 30 * 86_400.0
"""Longest time for which `Machine.save` and `Machine.load` wait, in seconds of the clock."""


class Machine(GuestCommands, MigrationCommands, EngineView):
    """A machine with a guest: everything a QEMU process is, as far as migration goes.

    Commands have the names of their QMP counterparts and raise typed errors; ``migsim.vm.VM``
    adds QMP and HMP themselves.  Time passes only in `advance` and `run_until`.  Use it as a
    context manager, or call `quit`, so that its memory is let go.

    Attributes: those of `MachineParts`.
    """

    def __init__(
        self,
        config: MachineConfig,
        *,
        clock: VirtualClock | WallClock | None = None,
        connect: Callable[[Machine], Connector] | None = None,
    ) -> None:
        self.config: MachineConfig = config
        self.release: Release = config.release
        self.strict = config.profile.aborts
        self.uuid = config.uuid
        self.suppress_vmdesc = config.suppress_vmdesc
        kind = machine_type(config.machine, config.release)
        self.machine_name = kind.name
        self.exited: ProcessExit | None = None
        self.events = []
        self.clock = VirtualClock() if clock is None else clock
        self.descriptors: DescriptorTable = DescriptorTable()
        self.connector: Connector = (
            FileConnector(self.descriptors) if connect is None else connect(self)
        )
        self.restless: tuple[str, ...] = ()
        self._exit_on_error = True
        self.ram = _build_ram(config, kind.ram_id)
        compat = compat_properties(kind.version, config.release) if kind.version else ()
        properties = MigrationProperties.from_globals((*compat, *config.globals), config.release)
        self.parameters: MigrationParameters = properties.parameters
        self.capabilities: CapabilitySet = properties.capabilities
        self.switches = properties.switches
        self.run: RunStateMachine = RunStateMachine(
            self.emit,
            RunState.PRELAUNCH if config.incoming is None else RunState.INMIGRATE,
            autostart=not config.start_stopped,
            strict=self.strict,
            release=config.release,
        )
        self.blockers = BlockerRegistry(config.only_migratable, self._refuses_blockers)
        self.notifiers = NotifierLists(per_mode=config.release.has("9.0"))
        self.guest = Guest(config.workload or Idle(), _main_block(self.ram, config, kind.ram_id))
        self.source = MigrationSource(self)
        self.incoming = MigrationIncoming(self)
        self.devices = DeviceTree(
            self.guest, config.devices, self.blockers, self._check_may_plug, config.board
        )
        self.driver: VirtualDriver | WallDriver = (
            VirtualDriver(self, self.clock, config.timing)
            if isinstance(self.clock, VirtualClock)
            else WallDriver(self, self.clock)
        )
        if config.incoming not in (None, "defer"):
            assert config.incoming is not None
            origin = Origin.of(config.incoming, self.connector)
            self._start_incoming(origin, exit_on_error=True)
        elif config.incoming is None and not config.start_stopped:
            self.run.set(RunState.RUNNING)

    # Time.

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of the machine's time pass: the guest runs, engines work.

        Raises:
            AbortError: strict profile, where QEMU itself aborts; the process has ended then.
        """
        self.driver.advance(seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float = RUN_LIMIT_S) -> None:
        """Let time pass until ``done()``, which is asked after every step of an engine.

        Raises:
            StateError: it was not done within ``limit_s`` seconds, or never can be.
            AbortError: as `advance`.
        """
        self.driver.run_until(done, limit_s)

    @property
    def busy(self) -> bool:
        """Whether an engine has something to do."""
        return self.exited is None and (self.source.running or self.incoming.running)

    def step(self, now: float, max_pages: int) -> Work:
        """Do one piece of engine work; for drivers."""
        try:
            if self.incoming.running:
                return self.incoming.step()
            return self.source.step(now, max_pages)
        except AbortError as error:
            self.end_process(ProcessExit(None, str(error), error.signal))
            raise

    def run_guest(self, span_ps: int) -> int | None:
        """Let the guest run for ``span_ps`` picoseconds if its run state lets it; for drivers.

        Returns after how many of them it put itself to sleep, or None if it did not.
        """
        if self.exited is not None or self.run.state is not RunState.RUNNING:
            return None
        percent = 100 - self.source.throttle_percentage
        begin_ps = self.guest.time_ps
        self.guest.run_ps(span_ps, percent)
        if not self.guest.asleep:
            return None
        return min(span_ps, -(-(self.guest.time_ps - begin_ps) * 100 // percent))

    def guest_slept(self) -> None:
        """The guest has put itself to sleep at this moment; for drivers."""
        self.run.guest_suspends()

    # Both at once.

    def save(self, target: str | OutputChannel, limit_s: float = RUN_LIMIT_S) -> dict[str, object]:
        """Migrate to ``target`` and let time pass until that has ended; return query-migrate.

        Raises:
            MigsimError: whatever `migrate` raises, or what made the migration fail.
            StateError: it was cancelled, or did not end within ``limit_s`` seconds.
        """
        self.migrate(target)
        self.run_until(lambda: not self.source.running, limit_s)
        if self.source.error is not None:
            raise self.source.error
        if self.source.status.value is not MigrationStatus.COMPLETED:
            raise StateError("save", self.source.status.value, [MigrationStatus.COMPLETED.value])
        return self.query_migrate()

    def load(self, origin: str | InputChannel) -> None:
        """Load from ``origin`` and let time pass until that has ended.

        Raises:
            MigsimError: whatever `migrate_incoming` raises, or what made the load fail; the
                machine is as it was.
        """
        self.migrate_incoming(origin, exit_on_error=False)
        self.run_until(lambda: not self.incoming.running)
        if self.incoming.error is not None:
            raise self.incoming.error

    def ram_sha256(self) -> dict[str, str]:
        """Return the SHA-256 of every migratable block's content in hex, by block name."""
        return {
            block.name: hashlib.sha256(block.view().data).hexdigest()
            for block in self.ram.migratable()
        }

    def _check_may_plug(self, command: str) -> None:
        if self.source.running:
            hint = "wait for the migration to end, or cancel it"
            raise StateError(command, self.source.status.value, hint=hint)

    def _refuses_blockers(self) -> bool:
        return refuses_blockers(self.run.state, self.source.status.value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


def _build_ram(config: MachineConfig, default_id: str) -> RAMList:
    blocks = list(config.extra_blocks)
    if config.memory is not None:
        backend = config.memory.create()
        blocks.insert(0, RAMBlock(config.ram_name or config.memory.id or default_id, backend))
    return RAMList(blocks)


def _main_block(ram: RAMList, config: MachineConfig, default_id: str) -> RAMBlock | None:
    if config.memory is None:
        return None
    return ram[config.ram_name or config.memory.id or default_id]
