"""What ``migrate`` and ``migrate-incoming`` refuse because of mode, capabilities and transport.

The steps have the numbers of the table "Rules at migrate" in spec parameters.md section 4.  Steps
1 to 3 (arguments) and 9 and 10 (state, blockers) need more than values and belong to the machine,
which calls ``check_transport`` before and ``check_compatible`` after its own.  Step 6, direct-io
without a file, cannot be reached: direct-io counts only with mapped-ram, and step 4 comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Final

from ..errors import CapabilityError
from .enums import Capability, MigMode, MultiFDCompression

if TYPE_CHECKING:
    from .parameters import MigrationParameters


class Transport(StrEnum):
    """How the main channel is addressed; the value is the scheme of the URI."""

    TCP = "tcp"
    UNIX = "unix"
    VSOCK = "vsock"
    FD = "fd"
    EXEC = "exec"
    RDMA = "rdma"
    FILE = "file"

    @property
    def is_seekable(self) -> bool:
        """Whether pages can have fixed places."""
        return self is Transport.FILE

    @property
    def is_multi_channel(self) -> bool:
        """Whether a second connection to the same address is possible."""
        return self in (Transport.TCP, Transport.UNIX, Transport.VSOCK)


class End(Enum):
    """Which end of a migration asks."""

    SOURCE = auto()
    TARGET = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateRequest:
    """What the rules look at.

    Attributes:
        end: source for ``migrate``, target for ``migrate-incoming``.
        transport: of the main channel.
        parameters: those in force; ``parameters.mode`` is the mode of a source.
        capabilities: those that are on.
        cpr_channel: a cpr channel was given too, or the process was started with one.
    """

    end: End
    transport: Transport
    parameters: MigrationParameters
    capabilities: AbstractSet[Capability]
    cpr_channel: bool = False

    @property
    def mode(self) -> MigMode:
        """The effective mode: a target started with a cpr channel is in cpr-transfer."""
        if self.end is End.TARGET and self.cpr_channel:
            return MigMode.CPR_TRANSFER
        return self.parameters.mode


_Problem = tuple[str, str, str]
_Test = Callable[[MigrateRequest], _Problem | None]


@dataclass(frozen=True, slots=True)
class MigrateRule:
    """One rule: its step, who follows it, since when, and its test.

    Attributes:
        step: number in the table of the specification.
        ends: the ends that check it.
        test: returns what is wrong (name, conflict, what would be accepted), or None.
        since: first release with the rule, or None for 8.2 and before.
    """

    step: int
    ends: frozenset[End]
    test: _Test
    since: str | None = None


def _mapped_ram_seeks(request: MigrateRequest) -> _Problem | None:
    if Capability.MAPPED_RAM in request.capabilities and not request.transport.is_seekable:
        return "mapped-ram", request.transport.value, "a file: address"
    return None


def _channels_multiply(request: MigrateRequest) -> _Problem | None:
    transport, capabilities = request.transport, request.capabilities
    mapped = transport is Transport.FILE and Capability.MAPPED_RAM in capabilities
    if transport.is_multi_channel or mapped:
        return None
    for capability in (Capability.MULTIFD, Capability.POSTCOPY_PREEMPT):
        if capability in capabilities:
            return capability.value, transport.value, "tcp, unix or vsock, or file with mapped-ram"
    return None


def _cpr_transfer_streams(request: MigrateRequest) -> _Problem | None:
    if request.mode is MigMode.CPR_TRANSFER and request.transport is Transport.FILE:
        return "mode", request.transport.value, "an address that can be streamed to, such as unix"
    return None


def _cpr_transfer_has_channel(request: MigrateRequest) -> _Problem | None:
    if request.parameters.mode is MigMode.CPR_TRANSFER and not request.cpr_channel:
        return "mode", "channels", "a cpr channel beside the main one"
    return None


def _mapped_ram_is_plain(request: MigrateRequest) -> _Problem | None:
    if Capability.MAPPED_RAM not in request.capabilities:
        return None
    if request.parameters.tls:
        return "mapped-ram", "tls-creds", "no TLS"
    if request.parameters.multifd_compression is not MultiFDCompression.NONE:
        return "mapped-ram", "multifd-compression", "no compression"
    return None


def _cpr_stands_alone(request: MigrateRequest) -> _Problem | None:
    if not request.mode.is_cpr:
        return None
    for capability in (
        Capability.POSTCOPY_RAM,
        Capability.DIRTY_BITMAPS,
        Capability.BACKGROUND_SNAPSHOT,
        Capability.X_COLO,
    ):
        if capability in request.capabilities:
            return capability.value, request.mode.value, f"{capability} off, or mode normal"
    return None


def _cpr_exec_has_command(request: MigrateRequest) -> _Problem | None:
    if request.mode is MigMode.CPR_EXEC and not request.parameters.cpr_exec_command:
        return "mode", "cpr-exec-command", "the command line of the new QEMU"
    return None


def _rdma_has_no_cache(request: MigrateRequest) -> _Problem | None:
    if request.transport is Transport.RDMA and Capability.XBZRLE in request.capabilities:
        return "xbzrle", request.transport.value, "xbzrle off, or another transport"
    return None


_BOTH = frozenset(End)
_SOURCE = frozenset({End.SOURCE})
_TARGET = frozenset({End.TARGET})

TRANSPORT_RULES: Final[tuple[MigrateRule, ...]] = (
    MigrateRule(4, _BOTH, _mapped_ram_seeks),
    MigrateRule(5, _BOTH, _channels_multiply),
    MigrateRule(7, _BOTH, _cpr_transfer_streams),
    MigrateRule(8, _SOURCE, _cpr_transfer_has_channel),
)
"""Rules that come before the state of the machine is looked at."""

COMPATIBILITY_RULES: Final[tuple[MigrateRule, ...]] = (
    MigrateRule(11, _SOURCE, _mapped_ram_is_plain),
    MigrateRule(12, _SOURCE, _cpr_stands_alone, since="9.0"),
    MigrateRule(12, _SOURCE, _cpr_exec_has_command),
    MigrateRule(13, _TARGET, _rdma_has_no_cache),
)
"""Rules that come after the blockers.  Step 13 leaves a target in status setup (seen on 10.0.2)."""


def check_transport(request: MigrateRequest) -> None:
    """Do nothing if steps 4 to 8 let the request pass.

    Raises:
        CapabilityError: the first broken rule.
    """
    _check(TRANSPORT_RULES, request)


def check_compatible(request: MigrateRequest) -> None:
    """Do nothing if steps 11 to 13 let the request pass.

    Raises:
        CapabilityError: the first broken rule.
    """
    _check(COMPATIBILITY_RULES, request)


def check_migrate(request: MigrateRequest) -> None:
    """Do nothing if all rules let the request pass.

    Raises:
        CapabilityError: the first broken rule.
    """
    _check(TRANSPORT_RULES + COMPATIBILITY_RULES, request)


def _check(rules: tuple[MigrateRule, ...], request: MigrateRequest) -> None:
    release = request.parameters.release
    for rule in rules:
        if request.end in rule.ends and release.has(rule.since):
            problem = rule.test(request)
            if problem is not None:
                raise CapabilityError(*problem)
