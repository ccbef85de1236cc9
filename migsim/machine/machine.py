"""One virtual machine: run state, RAM, devices, guest, blockers and both ends of migration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..blockers.registry import BlockerRegistry, refuses_blockers
from ..channel.descriptors import DescriptorTable
from ..clock import VirtualClock, WallClock
from ..errors import AbortError, ChannelError, DeviceError, StateError
from ..guest.guest import Guest
from ..guest.workloads import Idle
from ..migration.incoming import MigrationIncoming
from ..migration.modes import POLICIES, policy_for
from ..migration.notifiers import NotifierLists
from ..migration.report import query_migrate
from ..migration.source import MigrationSource
from ..qapi.capability_rules import CapabilityContext
from ..qapi.enums import Capability, MigrationStatus, RunState
from ..qapi.migrate_rules import End, MigrateRequest, Transport, check_compatible, check_transport
from ..qapi.properties import MigrationProperties, compat_properties
from ..ram.backends import BackendKind
from ..ram.block import RAMBlock, RAMList
from .addresses import Connector, FileConnector, Origin, Target
from .devices import DeviceTree
from .driver import VirtualDriver, WallDriver
from .events import Event
from .process import ProcessExit, command
from .runstate import RunStateMachine
from .types import machine_type
from .unmodelled import check_modelled

if TYPE_CHECKING:
    from ..channel.base import InputChannel, OutputChannel
    from ..channel.uri import ChannelAddress
    from ..guest.devices import Device
    from ..migration.environment import SavedSection
    from ..migration.work import Work
    from ..qapi.capabilities import CapabilitySet
    from ..qapi.parameters import MigrationParameters
    from ..qapi.release import Release
    from ..stream.items import DeviceSection
    from .config import MachineConfig

RUN_LIMIT_S = 30 * 86_400.0
"""Longest time for which `Machine.save` and `Machine.load` wait, in seconds of the clock."""


class Machine:
    """A machine with a guest: everything a QEMU process is, as far as migration goes.

    Commands have the names of their QMP counterparts and raise typed errors; ``migsim.vm.VM``
    adds QMP and HMP themselves.  Time passes only in `advance` and `run_until`.  Use it as a
    context manager, or call `quit`, so that its memory is let go.

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
        self.events: list[Event] = []
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
        self.devices = DeviceTree(self.guest, config.devices, self.blockers, self._check_may_plug)
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
            self._exit(ProcessExit(None, str(error), error.signal))
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

    # Guest commands.

    @command
    def stop(self) -> None:
        """Pause the guest."""
        self.run.command_stop()

    @command
    def cont(self) -> None:
        """Let the guest run.

        Raises:
            StateError: a reset is needed first, or a migration is finishing.
            AbortError: strict profile: QEMU aborts for a suspended guest after a migration.
        """
        try:
            self.run.command_cont()
        except AbortError as error:
            self._exit(ProcessExit(None, str(error), error.signal))
            raise

    @command
    def system_reset(self) -> None:
        """Reset the guest."""
        self.run.command_reset()
        self.guest.reset()

    @command
    def system_powerdown(self) -> None:
        """Press the power button."""
        self.emit("POWERDOWN", {})

    @command
    def system_wakeup(self) -> None:
        """Wake a suspended guest.

        Raises:
            StateError: it is not suspended.
        """
        self.wake_guest()

    @command
    def suspend(self) -> None:
        """The guest suspends itself (S3), as if its operating system had.

        Raises:
            StateError: it is not running.
        """
        self.run.guest_suspends()

    @command
    def quit(self, reason: str = "host-qmp-quit") -> None:
        """End the process; a migration that runs is cancelled.

        ``reason`` is why, as the event SHUTDOWN has it.
        """
        self.emit("SHUTDOWN", {"guest": False, "reason": reason})
        if self.source.running:
            self.source.cancel()
        self._exit(ProcessExit(0, "quit"))

    def kill(self) -> None:
        """End the process as the host's reboot or a SIGKILL does: at once, without an event."""
        if self.exited is None:
            self._exit(ProcessExit(None, "killed", "SIGKILL"))

    # Migration commands.

    @command
    def set_parameters(self, changes: Mapping[str, object]) -> None:
        """Set migration parameters by QMP name: all of them, or none.

        Raises:
            ParameterError: a name or value was refused.
        """
        self.parameters = self.parameters.updated(changes, capabilities=self.capabilities.enabled)

    @command
    def set_capabilities(self, changes: Iterable[tuple[str, bool]]) -> None:
        """Switch migration capabilities by QMP name: all of them, or none.

        Raises:
            ParameterError: no such capability.
            CapabilityError: the resulting set breaks a rule, or a migration runs.
        """
        self.capabilities = self.capabilities.updated(changes, self._capability_context())

    @command
    def migrate(self, target: str | ChannelAddress | OutputChannel) -> None:
        """Begin to save or send the guest to a URI, an address or an open channel.

        The transfer goes on while time passes.

        Raises:
            ParameterError: the URI is malformed.
            CapabilityError: capabilities, parameters, mode and transport do not go together.
            StateError: a migration runs, or the run state forbids one.
            BlockedError: something blocks migration in this mode.
            ChannelError: the target cannot be opened; the status is ``failed``.
        """
        to = Target.of(target, self.connector)
        request = self._request(End.SOURCE, to.transport)
        check_transport(request)
        self._check_may_migrate()
        self.blockers.check(self.parameters.mode)
        check_compatible(request)
        policy_for(self.parameters.mode)
        check_modelled(End.SOURCE, self.capabilities)
        to.check_fits(self.ram, mapped_ram=Capability.MAPPED_RAM in self.capabilities)
        self.source.prepare(self.clock.now)
        try:
            channel = to.open(self.connector)
        except ChannelError as error:
            self.source.fail_early(error)
            raise
        if channel is not None:
            self.source.connect(channel, self.clock.now)

    @command
    def migrate_incoming(
        self, origin: str | ChannelAddress | InputChannel, *, exit_on_error: bool = True
    ) -> None:
        """Begin to load the guest from a URI, an address or an open channel.

        With ``exit_on_error`` a failed load ends the process with status 1, as it does in QEMU.

        Raises:
            ParameterError: the URI is malformed.
            CapabilityError: capabilities and transport do not go together.
            StateError: the machine does not wait for a migration, or has begun to load.
            ChannelError: the source cannot be opened.
        """
        if self.config.incoming != "defer":
            if self.config.incoming is None:
                hint = "start the machine with incoming 'defer'"
                raise StateError("migrate-incoming", self.run.state.value, ["inmigrate"], hint)
            raise StateError("migrate-incoming", "started", hint="the URI was given at start")
        source = Origin.of(origin, self.connector)
        self._check_may_load()
        self._start_incoming(source, exit_on_error=exit_on_error)

    @command
    def migrate_cancel(self) -> None:
        """Cancel the outgoing migration; nothing happens when none runs.

        Raises:
            StateError: postcopy cannot be cancelled.
        """
        self.source.cancel()
        if not self.source.running:
            self.connector.abandon()

    def outgoing_ready(self, channel: OutputChannel) -> None:
        """Go on with the migration that waited for ``channel``; for connectors."""
        self.driver.catch_up()
        self.source.connect(channel, self.clock.now)

    def outgoing_failed(self, error: ChannelError) -> None:
        """End the migration that waited for a channel; for connectors."""
        self.source.fail_early(error)

    def incoming_ready(self, channel: InputChannel) -> None:
        """Begin the load that waited for ``channel``; for connectors."""
        self.incoming.connect(channel, exit_on_error=self._exit_on_error)

    @command
    def migrate_continue(self, state: MigrationStatus) -> None:
        """Go on behind ``state``, which is pre-switchover.

        Raises:
            StateError: the migration is in another status.
        """
        self.source.resume_from(state)

    @command
    def query_migrate(self) -> dict[str, object]:
        """Return what ``query-migrate`` answers, by member."""
        total = sum(block.used_bytes for block in self.ram if self._copies(block))
        reasons = self.blockers.reasons(self.parameters.mode)
        xbzrle = Capability.XBZRLE in self.capabilities
        return query_migrate(
            self.source,
            self.incoming,
            reasons,
            total,
            self.clock.now,
            xbzrle_cache_bytes=self.parameters.xbzrle_cache_size if xbzrle else None,
        )

    @command
    def query_status(self) -> dict[str, object]:
        """Return run state and whether the guest's processors run."""
        state = self.run.state
        return {"running": state is RunState.RUNNING, "status": state.value}

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

    # What the engines ask for.

    def wake_guest(self) -> None:
        """Make a suspended guest run again, or raise `StateError`; for the sending engine too."""
        self.run.command_wakeup()
        if self.guest.asleep:
            self.guest.wakeup()

    def emit(self, name: str, data: Mapping[str, object]) -> None:
        """Emit an event under its QMP name; for engines and devices."""
        self.events.append(Event(name, data, self.clock.now))

    def save_sections(self, stored_state: str, was_suspended: bool) -> Sequence[SavedSection]:
        """Return the state of every device; for the sending engine."""
        if self.restless:
            raise DeviceError(self.restless[0], "inactivate", "the drive cannot be put to rest")
        store = self.switches.store_global_state
        return self.devices.save(
            stored_state, was_suspended=was_suspended, store_global_state=store
        )

    def find_device(self, name: str, instance_id: int) -> Device | None:
        """Return the device of that section, or None; for the loader."""
        return self.devices.find(name, instance_id)

    @property
    def adopts_devices(self) -> bool:
        """Whether devices of a stream that are not modelled are carried; for the loader.

        A machine ``none`` has no devices of its own, so a section that it does not know is wrong.
        """
        return self.machine_name != "none"

    def adopt_devices(self, sections: Sequence[DeviceSection]) -> None:
        """Carry the devices of a stream from now on; for the loader."""
        self.devices.adopt(sections)

    def guest_arrived(self) -> None:
        """Let a guest that arrived suspended sleep on; for the receiving engine."""
        if self.run.was_suspended:
            self.guest.stay_asleep()

    def load_failed(self, *, exit_on_error: bool) -> None:
        """End the process if a failed load is to do that; for the receiving engine."""
        if exit_on_error:
            self._exit(ProcessExit(1, f"incoming migration failed: {self.incoming.error}"))

    # Private parts.

    def _check_may_plug(self, command: str) -> None:
        if self.source.running:
            hint = "wait for the migration to end, or cancel it"
            raise StateError(command, self.source.status.value, hint=hint)

    def _check_may_migrate(self) -> None:
        if self.source.running:
            hint = "wait for it to end, or cancel it"
            raise StateError("migrate", self.source.status.value, hint=hint)
        if self.run.state in (RunState.INMIGRATE, RunState.POSTMIGRATE):
            hint = "a guest has to be here: load one, or cont"
            raise StateError("migrate", self.run.state.value, hint=hint)

    def _check_may_load(self) -> None:
        if self._incoming_started:
            raise StateError("migrate-incoming", self.incoming.status.value.value, ["none"])

    @property
    def _incoming_started(self) -> bool:
        """Whether there has been a load that allows no other; in QEMU a failed one does not."""
        forgives = self.config.profile.forgives
        failed = forgives and self.incoming.status.value is MigrationStatus.FAILED
        return not failed and self.incoming.status.value is not MigrationStatus.NONE

    def _copies(self, block: RAMBlock) -> bool:
        """Whether a migration with the mode and capabilities of this moment copies ``block``."""
        mode = self.parameters.mode
        if mode not in POLICIES:
            return False  # the new process gets the memory itself
        ignore = Capability.X_IGNORE_SHARED in self.capabilities
        return POLICIES[mode].copies(block, ignore_shared=ignore)

    def _start_incoming(self, origin: Origin, *, exit_on_error: bool) -> None:
        check_transport(self._request(End.TARGET, origin.transport))
        check_modelled(End.TARGET, self.capabilities)
        self.incoming.prepare()
        try:
            channel = origin.open(self.connector)
        except ChannelError:
            # QEMU stays in setup for good and refuses every further attempt.
            if self.config.profile.forgives:
                self.incoming.give_up()
            raise
        self._exit_on_error = exit_on_error
        if channel is not None:
            self.incoming.connect(channel, exit_on_error=exit_on_error)

    def _request(self, end: End, transport: Transport) -> MigrateRequest:
        return MigrateRequest(
            end=end,
            transport=transport,
            parameters=self.parameters,
            capabilities=self.capabilities.enabled,
        )

    def _capability_context(self) -> CapabilityContext:
        mapped_files = any(b.backend.kind is BackendKind.FILE for b in self.ram)
        return CapabilityContext(
            status=self.source.status.value,
            inmigrate=self.run.state is RunState.INMIGRATE,
            incoming_started=self._incoming_started,
            parameters=self.parameters,
            ram_write_tracking=not mapped_files,
        )

    def _refuses_blockers(self) -> bool:
        return refuses_blockers(self.run.state, self.source.status.value)

    def _exit(self, how: ProcessExit) -> None:
        """End the process: a migration dies with it, and memory that is nowhere else is gone."""
        self.exited = how
        self.source.abandon()
        self.incoming.abandon()
        self.connector.abandon()
        self.descriptors.close()
        self.ram.close()

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
