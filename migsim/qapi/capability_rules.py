"""Which capabilities go together, as rows in the order in which QEMU looks.

Only the first broken rule is reported.  The order was found by breaking two rules at a time on
QEMU 10.0.2; the rules are those of spec parameters.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from ..errors import CapabilityError
from .enums import Capability, MigrationStatus, MultiFDCompression
from .parameters import MigrationParameters
from .release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityContext:
    """What the rules ask about the process and its host.

    Attributes:
        status: of the outgoing migration; while one runs nothing can be changed.
        inmigrate: the process waits for an incoming migration.
        incoming_started: its channel listens or is open already.
        parameters: those in force.
        replication: the build has replication, which x-colo needs.
        userfaultfd: the host lets the target of a postcopy catch faults.
        write_tracking: the host lets a background snapshot catch writes.
        ram_write_tracking: all RAM of this guest can be write protected.
        dirty_ring: the accelerator counts dirty pages in rings (``dirty-ring-size``).
    """

    status: MigrationStatus = MigrationStatus.NONE
    inmigrate: bool = False
    incoming_started: bool = False
    parameters: MigrationParameters = MigrationParameters()  # noqa: RUF009 - immutable
    replication: bool = True
    userfaultfd: bool = True
    write_tracking: bool = True
    ram_write_tracking: bool = True
    dirty_ring: bool = False


class Need(StrEnum):
    """What a capability can need besides other capabilities; the value says what lifts it."""

    REPLICATION = "a build with replication"
    USERFAULTFD = "userfaultfd on this host"
    WRITE_TRACKING = "userfaultfd with write protection on this host"
    RAM_WRITE_TRACKING = "RAM that can be write protected, every block of it"
    NO_COMPRESSION = "multifd-compression none"
    NO_TLS = "no tls-creds"
    NOT_LISTENING = "to be set before incoming starts"
    DIRTY_RING = "KVM with dirty-ring-size"


_MET: Final[dict[Need, Callable[[CapabilityContext], bool]]] = {
    Need.REPLICATION: lambda c: c.replication,
    # The probe is made where pages will arrive; a source never needs it.
    Need.USERFAULTFD: lambda c: c.userfaultfd or not c.inmigrate,
    Need.WRITE_TRACKING: lambda c: c.write_tracking,
    Need.RAM_WRITE_TRACKING: lambda c: c.ram_write_tracking,
    Need.NO_COMPRESSION: lambda c: c.parameters.multifd_compression is MultiFDCompression.NONE,
    Need.NO_TLS: lambda c: not c.parameters.tls,
    Need.NOT_LISTENING: lambda c: not c.incoming_started,
    Need.DIRTY_RING: lambda c: c.dirty_ring,
}


class RuleKind(Enum):
    """How the two sides of a rule relate."""

    REQUIRES = auto()
    EXCLUDES = auto()
    NEEDS = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for a capability that is on.

    Attributes:
        kind: requires or excludes another capability, or needs something else.
        capability: the one that is on.
        other: the other side.
        newly: the rule counts only while the capability is being switched on.
        since: first release with the rule, or None for 8.2 and before.
        until: first release without it, or None.
    """

    kind: RuleKind
    capability: Capability
    other: Capability | Need
    newly: bool = False
    since: str | None = None
    until: str | None = None

    def is_broken(
        self, new: AbstractSet[Capability], old: AbstractSet[Capability], context: CapabilityContext
    ) -> bool:
        """Return whether the set ``new``, set over ``old``, breaks this rule."""
        if self.capability not in new or (self.newly and self.capability in old):
            return False
        if isinstance(self.other, Need):
            return not _MET[self.other](context)
        return (self.other in new) is (self.kind is RuleKind.EXCLUDES)

    def error(self) -> CapabilityError:
        """Return the error to raise when the rule is broken."""
        if isinstance(self.other, Need):
            expected = self.other.value
            return CapabilityError(self.capability.value, self.other.name.lower(), expected)
        expected = f"{self.other} {'off' if self.kind is RuleKind.EXCLUDES else 'on'}"
        return CapabilityError(self.capability.value, self.other.value, expected)


def _excludes(capability: str, *others: str, until: str | None = None) -> tuple[Rule, ...]:
    """Return one row per other capability, in that order."""
    one = Capability(capability)
    return tuple(Rule(RuleKind.EXCLUDES, one, Capability(other), until=until) for other in others)


def _requires(capability: str, other: str, since: str | None = None) -> Rule:
    return Rule(RuleKind.REQUIRES, Capability(capability), Capability(other), since=since)


def _needs(capability: str, need: Need, *, newly: bool = False, until: str | None = None) -> Rule:
    return Rule(RuleKind.NEEDS, Capability(capability), need, newly, until=until)


RULES: Final[tuple[Rule, ...]] = (
    _needs("x-colo", Need.REPLICATION),
    _requires("x-colo", "return-path", since="11.0"),
    _needs("postcopy-ram", Need.USERFAULTFD, newly=True),
    *_excludes("postcopy-ram", "x-ignore-shared"),
    *_excludes("postcopy-ram", "multifd", until="10.1"),
    _needs("background-snapshot", Need.WRITE_TRACKING),
    _needs("background-snapshot", Need.RAM_WRITE_TRACKING, until="11.1"),
    *_excludes(
        "background-snapshot",
        "postcopy-ram",
        "dirty-bitmaps",
        "postcopy-blocktime",
        "late-block-activate",
        "return-path",
        "multifd",
        "pause-before-switchover",
        "auto-converge",
        "release-ram",
        "rdma-pin-all",
        "compress",
        "xbzrle",
        "x-colo",
        "validate-uuid",
        "zero-copy-send",
    ),
    _requires("zero-copy-send", "multifd"),
    *_excludes("zero-copy-send", "compress", "xbzrle"),
    _needs("zero-copy-send", Need.NO_COMPRESSION),
    _needs("zero-copy-send", Need.NO_TLS),
    _requires("postcopy-preempt", "postcopy-ram"),
    *_excludes("postcopy-preempt", "compress"),
    _needs("postcopy-preempt", Need.NOT_LISTENING, newly=True),
    _needs("multifd", Need.NOT_LISTENING, newly=True),
    _requires("switchover-ack", "return-path"),
    *_excludes("dirty-limit", "auto-converge"),
    _needs("dirty-limit", Need.DIRTY_RING),
    *_excludes("multifd", "xbzrle", "compress"),
    *_excludes("mapped-ram", "xbzrle", "postcopy-ram"),
)
"""All rules.  Those with ``compress`` (gone with 9.1) are read from 8.2."""


def check_all(
    new: AbstractSet[Capability],
    old: AbstractSet[Capability],
    context: CapabilityContext,
    release: Release = Release.DEFAULT,
) -> None:
    """Do nothing if the capabilities ``new`` may be on where ``old`` were on before.

    Raises:
        CapabilityError: the first broken rule.
    """
    for rule in RULES:
        if release.has(rule.since, rule.until) and rule.is_broken(new, old, context):
            raise rule.error()
