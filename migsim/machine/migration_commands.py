"""Commands that concern migration: its settings, its beginning, its end, and what it reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import ChannelError, MigsimError, StateError
from ..migration.incoming import PAUSABLE
from ..migration.modes import POLICIES, policy_for
from ..migration.report import query_migrate
from ..qapi.capability_rules import CapabilityContext
from ..qapi.enums import Capability, MigMode, MigrationStatus, RunState
from ..qapi.migrate_rules import End, MigrateRequest, Transport, check_compatible, check_transport
from ..ram.backends import BackendKind
from .addresses import Needs, Origin, Target
from .handed import handed_over
from .parts import MachineParts
from .process import command
from .unmodelled import check_modelled

if TYPE_CHECKING:
    from ..channel.base import InputChannel, OutputChannel
    from ..channel.group import InputGroup, OutputGroup
    from ..channel.uri import ChannelAddress
    from ..ram.block import RAMBlock


class MigrationCommands(MachineParts):
    """Both ends of a migration, by command; connectors bring the channels."""

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
    def migrate(
        self,
        target: str | ChannelAddress | OutputChannel | OutputGroup,
        *,
        cpr: ChannelAddress | None = None,
        resume: bool = False,
    ) -> None:
        """Begin to save or send the guest to a URI, an address or open channels.

        The transfer goes on while time passes.  ``cpr`` is where descriptors are handed over in
        mode cpr-transfer; other modes do not look at it.  With ``resume``, a paused postcopy goes
        on over another channel.

        Raises:
            ParameterError: the URI is malformed.
            CapabilityError: capabilities, parameters, mode and transport do not go together.
            StateError: a migration runs, or the run state forbids one.
            BlockedError: something blocks migration in this mode.
            ChannelError: the target cannot be opened; the status is ``failed``.
        """
        to = Target.of(target, self.connector, cpr)
        request = self._request(End.SOURCE, to.transport, cpr_channel=cpr is not None)
        check_transport(request)
        if resume:
            self._resume(to)
            return
        self._check_may_migrate()
        self.blockers.check(self.parameters.mode)
        check_compatible(request)
        policy_for(self.parameters.mode)
        check_modelled(self.capabilities)
        to.check_fits(self.ram, self._needs, mapped_ram=Capability.MAPPED_RAM in self.capabilities)
        self.source.prepare(self.clock.now)
        try:
            if self.parameters.mode is MigMode.CPR_TRANSFER:
                self._hand_over(to)
                return
            channel = to.open(self.connector, self._needs)
        except ChannelError as error:
            self.source.fail_early(error)
            raise
        if channel is not None:
            self.source.connect(channel, self.clock.now, to.further)

    def _resume(self, to: Target) -> None:
        self.source.prepare_resume()
        try:
            channel = to.open(self.connector)
        except ChannelError as error:
            self.source.fail_early(error)
            raise
        if channel is not None:
            self.source.connect(channel, self.clock.now)

    @command
    def migrate_start_postcopy(self) -> None:
        """Have the target run ahead of its RAM.

        Raises:
            StateError: the capability is off, or no migration was ever started.
        """
        self.source.start_postcopy()

    @command
    def migrate_pause(self) -> None:
        """Give up the channel of a postcopy, on either side, to go on over another one.

        Raises:
            StateError: there is no postcopy that could be paused.
        """
        if self.source.status.value in PAUSABLE:
            self.source.pause_postcopy()
        else:
            self.incoming.pause_postcopy()

    @command
    def migrate_recover(self, origin: str | ChannelAddress) -> None:
        """Wait for the source of a paused postcopy to come back.

        Raises:
            ParameterError: the URI is malformed.
            StateError: no postcopy is paused here.
            ChannelError: the address cannot be opened.
        """
        self.incoming.check_recoverable()
        source = Origin.of(origin, self.connector)
        self.connector.abandon()
        channel = source.open(self.connector)
        if channel is not None:
            self.incoming.connect(channel, exit_on_error=False)

    def _hand_over(self, to: Target) -> None:
        """Give the memory away; the stream is begun when the other process listens for it."""
        assert to.cpr is not None

        def listened_for() -> None:
            if not self.source.waits_for_channel:
                return
            try:
                channel = to.open(self.connector, self._needs)
            except ChannelError as error:
                self.outgoing_failed(error)
            else:
                if channel is not None:
                    self.outgoing_ready(channel, to.further)

        self.connector.hand_over(to.cpr, handed_over(self.ram), listened_for)

    @command
    def migrate_incoming(
        self,
        origin: str | ChannelAddress | InputChannel | InputGroup,
        *,
        exit_on_error: bool = True,
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

    def outgoing_ready(
        self, channel: OutputChannel, further: tuple[OutputChannel, ...] = ()
    ) -> None:
        """Go on with the migration that waited for these channels; for connectors."""
        self.driver.catch_up()
        self.source.connect(channel, self.clock.now, further)

    def outgoing_failed(self, error: ChannelError) -> None:
        """End the migration that waited for a channel; for connectors."""
        self.source.fail_early(error)

    def incoming_ready(self, channel: InputChannel | InputGroup) -> None:
        """Begin the load that waited for these channels; for connectors."""
        self.incoming.connect(channel, exit_on_error=self._exit_on_error)

    def incoming_failed(self, error: MigsimError) -> None:
        """End the load that waited for channels; for connectors."""
        self.incoming.fail_early(error, exit_on_error=self._exit_on_error)

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
            return False  # the image that follows keeps the memory
        ignore = Capability.X_IGNORE_SHARED in self.capabilities
        return POLICIES[mode].copies(block, ignore_shared=ignore)

    def _start_incoming(self, origin: Origin, *, exit_on_error: bool) -> None:
        cpr_channel = self.config.handed_over
        check_transport(self._request(End.TARGET, origin.transport, cpr_channel=cpr_channel))
        check_modelled(self.capabilities)
        self.incoming.prepare()
        try:
            channel = origin.open(self.connector, self._needs)
        except ChannelError:
            # QEMU stays in setup for good and refuses every further attempt.
            if self.config.profile.forgives:
                self.incoming.give_up()
            raise
        self._exit_on_error = exit_on_error
        if channel is not None:
            self.incoming.connect(channel, exit_on_error=exit_on_error)

    @property
    def _needs(self) -> Needs:
        return Needs.of(self.capabilities.enabled, self.parameters)

    def _request(
        self, end: End, transport: Transport, *, cpr_channel: bool = False
    ) -> MigrateRequest:
        return MigrateRequest(
            cpr_channel=cpr_channel,
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
