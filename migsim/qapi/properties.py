"""Properties of QEMU's migration object: what ``-global migration.NAME=VALUE`` can set.

Parameters and capabilities have their property names in their own rows; the rest are switches of
the stream, which no monitor command reaches (spec parameters.md section 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ..errors import ParameterError
from .capabilities import CapabilitySet, rows_of
from .capability_rules import CapabilityContext
from .parameters import MigrationParameters, parameters_of
from .release import Release
from .values import Boolean, Unsigned

CLEAR_BITMAP_SHIFT_MIN: Final = 6
CLEAR_BITMAP_SHIFT_MAX: Final = 31
_SHIFT: Final = "x-clear-bitmap-shift"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSwitches:
    """How the stream is written and dirty pages are logged, with the defaults of a new machine.

    Attributes:
        store_global_state: the run state travels; without it a target assumes running.
        send_configuration: machine name and checked capabilities come first.
        send_section_footer: every section ends with its id.
        send_switchover_start: a command announces the switchover (10.0).
        multifd_flush_after_each_section: multifd synchronises per section, not per pass.
        multifd_clean_tls_termination: multifd ends TLS sessions in order (10.0).
        preempt_pre_7_2: the old order of channels of postcopy-preempt.
        clear_bitmap_shift: pages per lazily cleared chunk of the dirty log, as a power of two.
    """

    store_global_state: bool = True
    send_configuration: bool = True
    send_section_footer: bool = True
    send_switchover_start: bool = True
    multifd_flush_after_each_section: bool = False
    multifd_clean_tls_termination: bool = True
    preempt_pre_7_2: bool = False
    clear_bitmap_shift: int = 18


class SwitchRow(NamedTuple):
    """A switch: property name, field of ``StreamSwitches``, and the first release that has it."""

    name: str
    field: str
    since: str | None = None


SWITCHES: Final[tuple[SwitchRow, ...]] = (
    SwitchRow("store-global-state", "store_global_state"),
    SwitchRow("send-configuration", "send_configuration"),
    SwitchRow("send-section-footer", "send_section_footer"),
    SwitchRow("send-switchover-start", "send_switchover_start", "10.0"),
    SwitchRow("multifd-flush-after-each-section", "multifd_flush_after_each_section", "8.1"),
    SwitchRow("multifd-clean-tls-termination", "multifd_clean_tls_termination", "10.0"),
    SwitchRow("x-preempt-pre-7-2", "preempt_pre_7_2"),
    SwitchRow(_SHIFT, "clear_bitmap_shift"),
)
"""Every switch."""


class Compat(NamedTuple):
    """A property that machine types up to and including ``machine`` set to ``value``."""

    machine: str
    name: str
    value: str


COMPATS: Final[tuple[Compat, ...]] = (
    Compat("9.2", "send-switchover-start", "off"),
    Compat("9.2", "multifd-clean-tls-termination", "off"),
    Compat("8.2", "zero-page-detection", "legacy"),
    Compat("8.0", "multifd-flush-after-each-section", "on"),
    Compat("7.1", "x-preempt-pre-7-2", "on"),
)
"""What older machine types set, so that older releases understand their streams."""


def compat_properties(
    machine: Release, release: Release = Release.DEFAULT
) -> tuple[tuple[str, str], ...]:
    """Return the properties that a machine type of version ``machine`` sets in ``release``."""
    known = property_names(release)
    return tuple(
        (row.name, row.value)
        for row in COMPATS
        if machine <= Release.parse(row.machine) and row.name in known
    )


def property_names(release: Release = Release.DEFAULT) -> tuple[str, ...]:
    """Return every name that ``-global migration.`` takes in ``release``, sorted."""
    names = [row.name for row in SWITCHES if release.has(row.since)]
    names += [row.global_name for row in parameters_of(release) if row.global_name]
    names += [row.global_name for row in rows_of(release) if row.global_name]
    return tuple(sorted(names))


@dataclass(frozen=True, slots=True)
class MigrationProperties:
    """The state of the migration object at the start of a process."""

    parameters: MigrationParameters
    capabilities: CapabilitySet
    switches: StreamSwitches

    @classmethod
    def from_globals(
        cls,
        properties: Iterable[tuple[str, str]],
        release: Release = Release.DEFAULT,
        context: CapabilityContext | None = None,
    ) -> MigrationProperties:
        """Return the defaults of ``release`` with ``-global`` pairs laid over them, in order.

        ``context`` tells the rules of capabilities about the host; its parameters are replaced by
        the ones that result here.

        Raises:
            ParameterError: no such property, or a value or combination is refused, for which
                QEMU ends at start.
        """
        pairs = list(properties)
        known = property_names(release)
        for name, text in pairs:
            if name not in known:
                raise ParameterError(name, text, f"the name of a migration property of {release}")
        fields = {row.name: row.field for row in SWITCHES}
        of_parameters = {row.global_name for row in parameters_of(release)}
        parameters = MigrationParameters.from_globals(
            [pair for pair in pairs if pair[0] in of_parameters], release
        )
        capabilities = CapabilitySet(release).with_globals(
            [pair for pair in pairs if pair[0] not in of_parameters and pair[0] not in fields],
            replace(context or CapabilityContext(), parameters=parameters),
        )
        values: dict[str, Any] = {
            row.field: False for row in SWITCHES if not release.has(row.since)
        }
        values |= {
            fields[name]: _switch(name, text, release) for name, text in pairs if name in fields
        }
        return cls(parameters, capabilities, StreamSwitches(**values))


def _switch(name: str, text: str, release: Release) -> int:
    if name != _SHIFT:
        return Boolean().parse(name, text, release)
    shift = Unsigned(8).parse(name, text, release)
    return min(max(shift, CLEAR_BITMAP_SHIFT_MIN), CLEAR_BITMAP_SHIFT_MAX)
