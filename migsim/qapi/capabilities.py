"""Migration capabilities as rows, and the immutable set of those that are on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from ..errors import ParameterError, StateError
from .capability_rules import CapabilityContext, check_all
from .enums import Capability
from .release import Release
from .transitions import IDLE_STATUSES, RUNNING_STATUSES
from .values import Boolean


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityRow:
    """A capability (spec parameters.md section 4).  All are off at the start of a process.

    Attributes:
        capability: which one.
        since: first release that has it.
        until: first release that does not have it any more, or None.
        deprecated: first release that warns when it is switched on, or None.
        in_stream: whether the stream names it and the target compares.
        global_name: name in ``-global migration.NAME=on``, or None where there is none.
        doc: what it does.
    """

    capability: Capability
    since: str
    until: str | None = None
    deprecated: str | None = None
    in_stream: bool = False
    global_name: str | None = None
    doc: str

    @property
    def name(self) -> str:
        """Spelling in QMP."""
        return self.capability.value

    @property
    def unstable(self) -> bool:
        """Whether QEMU may change or drop it without notice."""
        return self.name.startswith("x-")

    def exists_in(self, release: Release) -> bool:
        """Return whether ``release`` has the capability."""
        return release.has(self.since, self.until)

    def warns_in(self, release: Release) -> bool:
        """Return whether switching it on prints a warning about its end."""
        return self.deprecated is not None and release.has(self.deprecated)


CAPABILITIES: Final[tuple[CapabilityRow, ...]] = (
    CapabilityRow(
        capability=Capability.XBZRLE,
        since="1.2",
        global_name="x-xbzrle",
        doc="send differences to the page sent before, from the second pass on",
    ),
    CapabilityRow(
        capability=Capability.RDMA_PIN_ALL,
        since="2.0",
        global_name="x-rdma-pin-all",
        doc="rdma only: register all RAM at once",
    ),
    CapabilityRow(
        capability=Capability.AUTO_CONVERGE,
        since="1.6",
        global_name="x-auto-converge",
        doc="throttle the processors when the guest dirties too fast",
    ),
    CapabilityRow(
        capability=Capability.ZERO_BLOCKS,
        since="1.6",
        until="11.0",
        deprecated="9.2",
        global_name="x-zero-blocks",
        doc="no effect left",
    ),
    CapabilityRow(
        capability=Capability.COMPRESS,
        since="2.4",
        until="9.1",
        deprecated="8.2",
        global_name="x-compress",
        doc="compress pages in threads of their own",
    ),
    CapabilityRow(
        capability=Capability.EVENTS,
        since="2.4",
        global_name="x-events",
        doc="emit MIGRATION and MIGRATION_PASS",
    ),
    CapabilityRow(
        capability=Capability.POSTCOPY_RAM,
        since="2.6",
        global_name="x-postcopy-ram",
        doc="allow the guest to move before its RAM has",
    ),
    CapabilityRow(
        capability=Capability.X_COLO,
        since="2.8",
        global_name="x-colo",
        doc="keep the target in step by checkpoints",
    ),
    CapabilityRow(
        capability=Capability.RELEASE_RAM,
        since="2.9",
        global_name="x-release-ram",
        doc="free sent pages on the source, in postcopy only",
    ),
    CapabilityRow(
        capability=Capability.BLOCK,
        since="2.11",
        until="9.1",
        deprecated="8.2",
        global_name="x-block",
        doc="copy the disks too",
    ),
    CapabilityRow(
        capability=Capability.RETURN_PATH,
        since="2.10",
        global_name="x-return-path",
        doc="open a channel back from the target in precopy",
    ),
    CapabilityRow(
        capability=Capability.PAUSE_BEFORE_SWITCHOVER,
        since="2.11",
        doc="wait for migrate-continue between stop and switchover",
    ),
    CapabilityRow(
        capability=Capability.MULTIFD,
        since="4.0",
        global_name="x-multifd",
        doc="send pages over parallel channels",
    ),
    CapabilityRow(
        capability=Capability.DIRTY_BITMAPS,
        since="2.12",
        doc="send the dirty bitmaps of block nodes",
    ),
    CapabilityRow(
        capability=Capability.POSTCOPY_BLOCKTIME,
        since="3.0",
        doc="measure on the target how long processors waited for pages",
    ),
    CapabilityRow(
        capability=Capability.LATE_BLOCK_ACTIVATE,
        since="3.0",
        doc="activate disks of a paused guest only when it runs; always so since 10.0",
    ),
    CapabilityRow(
        capability=Capability.X_IGNORE_SHARED,
        since="4.0",
        in_stream=True,
        doc="leave out RAM that is a shared, named file",
    ),
    CapabilityRow(
        capability=Capability.VALIDATE_UUID,
        since="4.2",
        doc="put the UUID of the machine into the stream; a target always compares one",
    ),
    CapabilityRow(
        capability=Capability.BACKGROUND_SNAPSHOT,
        since="6.0",
        global_name="x-background-snapshot",
        doc="save RAM as it was at the start while the guest runs, by write faults",
    ),
    CapabilityRow(
        capability=Capability.ZERO_COPY_SEND,
        since="7.1",
        global_name="x-zero-copy-send",
        doc="let multifd send pages without copying them into the kernel",
    ),
    CapabilityRow(
        capability=Capability.POSTCOPY_PREEMPT,
        since="7.1",
        global_name="x-postcopy-preempt",
        doc="send requested pages over a channel of their own",
    ),
    CapabilityRow(
        capability=Capability.SWITCHOVER_ACK,
        since="8.1",
        global_name="x-switchover-ack",
        doc="switch over only when the target says so",
    ),
    CapabilityRow(
        capability=Capability.DIRTY_LIMIT,
        since="8.1",
        global_name="x-dirty-limit",
        doc="limit the dirty rate of each processor instead of throttling all",
    ),
    CapabilityRow(
        capability=Capability.MAPPED_RAM,
        since="9.0",
        in_stream=True,
        global_name="mapped-ram",
        doc="give every page a fixed place in a seekable file",
    ),
)
"""Every row, in the order of ``query-migrate-capabilities``."""

_BY_NAME: Final = {row.name: row for row in CAPABILITIES}

CHECKED_IN_STREAM: Final = tuple(row.capability for row in CAPABILITIES if row.in_stream)
"""Capabilities that source and target must agree on (spec parameters.md section 4)."""


def rows_of(release: Release = Release.DEFAULT) -> tuple[CapabilityRow, ...]:
    """Return the rows of the capabilities that ``release`` has, in query order."""
    return tuple(row for row in CAPABILITIES if row.exists_in(release))


def capabilities_of(release: Release = Release.DEFAULT) -> tuple[Capability, ...]:
    """Return the capabilities that ``release`` has, in query order: 22 in 10.0."""
    return tuple(row.capability for row in rows_of(release))


def find(name: str, release: Release = Release.DEFAULT) -> CapabilityRow:
    """Return the row of the capability with this QMP name.

    Raises:
        ParameterError: the release has no such capability.
    """
    row = _BY_NAME.get(name)
    if row is None or not row.exists_in(release):
        raise ParameterError("capability", name, f"the name of a capability of QEMU {release}")
    return row


class CapabilitySet(AbstractSet[Capability]):
    """The capabilities that are on, immutable; ``updated`` makes the next set.

    ``CapabilitySet(release)`` has all off.  It is a set of ``Capability`` and equal to any set
    with the same members.
    """

    __slots__ = ("_enabled", "_release")

    def __init__(self, release: Release = Release.DEFAULT) -> None:
        self._release = release
        self._enabled: frozenset[Capability] = frozenset()

    @property
    def release(self) -> Release:
        """The release whose capabilities these are."""
        return self._release

    @property
    def enabled(self) -> frozenset[Capability]:
        """The capabilities that are on."""
        return self._enabled

    @property
    def in_stream(self) -> tuple[Capability, ...]:
        """Those that are on and compared by the target, in query order."""
        return tuple(capability for capability in CHECKED_IN_STREAM if capability in self._enabled)

    def updated(
        self,
        changes: Iterable[tuple[str, bool]],
        context: CapabilityContext | None = None,
    ) -> CapabilitySet:
        """Return the set with ``changes`` laid over it; the last of several for one name wins.

        The whole result is checked against ``capability_rules.RULES`` in ``context`` (default: a
        process at rest on a host that can do everything but count dirty pages in rings).

        Raises:
            StateError: a migration runs.
            ParameterError: a name that the release does not know.
            CapabilityError: the result breaks a rule; there is no new set.
        """
        context = CapabilityContext() if context is None else context
        if context.status in RUNNING_STATUSES:
            wanted = sorted(IDLE_STATUSES)
            raise StateError("migrate-set-capabilities", context.status, wanted)
        enabled = set(self._enabled)
        for name, state in changes:
            capability = find(name, self._release).capability
            (enabled.add if state else enabled.discard)(capability)
        check_all(enabled, self._enabled, context, self._release)
        new = CapabilitySet(self._release)
        new._enabled = frozenset(enabled)
        return new

    @classmethod
    def of(
        cls,
        *capabilities: str,
        release: Release = Release.DEFAULT,
        context: CapabilityContext | None = None,
    ) -> CapabilitySet:
        """Return the set with ``capabilities`` on, if the rules allow it; see ``updated``."""
        return cls(release).updated([(name, True) for name in capabilities], context)

    def with_globals(
        self, properties: Iterable[tuple[str, str]], context: CapabilityContext | None = None
    ) -> CapabilitySet:
        """Return the set with ``-global migration.NAME=on|off`` pairs laid over it, in order.

        Raises:
            ParameterError: no such property, a text that is no boolean, or a broken rule.
        """
        rows = {row.global_name: row for row in rows_of(self._release) if row.global_name}
        changes = []
        for name, text in properties:
            if name not in rows:
                raise ParameterError(name, text, "the name of a property of migration")
            changes.append((rows[name].name, Boolean().parse(name, text, self._release)))
        return self.updated(changes, context)

    def query(self) -> list[dict[str, object]]:
        """Return the result of ``query-migrate-capabilities``: 22 entries in 10.0."""
        return [
            {"capability": row.name, "state": row.capability in self._enabled}
            for row in rows_of(self._release)
        ]

    def hmp_lines(self) -> list[str]:
        """Return the lines of ``info migrate_capabilities``, without line ends."""
        return [
            f"{row.name}: {'on' if row.capability in self._enabled else 'off'}"
            for row in rows_of(self._release)
        ]

    def __contains__(self, capability: object) -> bool:
        return capability in self._enabled

    def __iter__(self) -> Iterator[Capability]:
        return (row.capability for row in CAPABILITIES if row.capability in self._enabled)

    def __len__(self) -> int:
        return len(self._enabled)

    def __hash__(self) -> int:
        return hash(self._enabled)

    def __repr__(self) -> str:
        return f"CapabilitySet({', '.join([str(self._release), *(c.value for c in self)])})"

    @classmethod
    def _from_iterable(cls, iterable: Iterable[Capability]) -> frozenset[Capability]:  # type: ignore[override]
        return frozenset(iterable)
