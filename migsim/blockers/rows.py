"""What a row of the blocker catalogue says, and the closed sets it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from ..qapi.enums import MigMode, modes_of
from ..qapi.release import Release


class Scope(Enum):
    """Which modes a feature blocks, whatever modes a release has."""

    NOTHING = "nothing"
    NORMAL_ONLY = "normal only"
    TRANSFER_ONLY = "cpr-transfer only"
    IN_PLACE_ONLY = "cpr-transfer and cpr-exec only"
    EVERY_MODE = "every mode"

    def blocks(self, mode: MigMode) -> bool:
        """Return whether ``mode`` is in the scope."""
        if self is Scope.NORMAL_ONLY:
            return mode is MigMode.NORMAL
        if self is Scope.TRANSFER_ONLY:
            return mode is MigMode.CPR_TRANSFER
        if self is Scope.IN_PLACE_ONLY:
            return mode.keeps_ram
        return self is Scope.EVERY_MODE


class Stage(Enum):
    """States of the code that are no release."""

    FIRST_POSTING = "first posting of the per-mode blocker series, October 2023"


At: TypeAlias = Release | Stage
"""A point in history that the catalogue can be asked about."""


def modes_at(at: At) -> tuple[MigMode, ...]:
    """Return the modes that exist at a point in history; the first posting has those of 8.2."""
    return modes_of(Release.V8_2 if isinstance(at, Stage) else at)


class Kind(StrEnum):
    """How a feature gets into the registry."""

    EXPLICIT = "explicit"
    """A reason of its own, with ``add``, ``add_normal`` or ``add_modes``."""
    INTERNAL = "internal"
    """A reason of its own with ``add_internal``: ``-only-migratable`` does not refuse it."""
    DEVICE = "device"
    """A flag in the description of the device state: every mode, and looked at first."""


class Moment(StrEnum):
    """When the reason appears: what a dry run of a command line can and cannot foresee."""

    CREATION = "creation"
    """As soon as the image, device, backend or accelerator is there."""
    GUEST = "guest"
    """When the guest does something, so not before it runs."""
    COMMAND = "command"
    """While a monitor command is being carried out."""


@dataclass(frozen=True, slots=True)
class BlockerRow:
    """One feature that blocks migration, and how that changed.

    Attributes:
        feature: short key, unique in the catalogue.
        title: the feature in words.
        moment: when the reason appears.
        when: the same in words, with the conditions.
        lift: what would make the reason go away.
        source: QEMU source file or files that register the reason.
        history: ``(release, scope)`` in order: what the feature blocks from that release on, where
            the release has the feature at all.  The first entry is the state in 8.2 or the release
            with which the reason came.
        posted: what the first posting of the series made of it.
        safe: scope in migsim's safe profile where QEMU blocks too little, or None.
        kind: how it is registered.
        seen: tried on a real 10.0.2; otherwise read from its source.
        note: anything else worth knowing.
    """

    feature: str
    title: str
    moment: Moment
    when: str
    lift: str
    source: str
    history: tuple[tuple[str, Scope], ...] = (("8.2", Scope.EVERY_MODE),)
    posted: Scope = Scope.EVERY_MODE
    safe: Scope | None = None
    kind: Kind = Kind.EXPLICIT
    seen: bool = False
    note: str = ""

    @property
    def since(self) -> str | None:
        """First release with the reason, or None when it is older than 8.2."""
        first = next(release for release, scope in self.history if scope is not Scope.NOTHING)
        return None if first == "8.2" else first

    @property
    def until(self) -> str | None:
        """First release known to be without the reason, or None when 11.1 still has it."""
        return next((at for at, scope in self.history if scope is Scope.NOTHING), None)

    def scope(self, at: At = Release.DEFAULT, *, safe: bool = False) -> Scope:
        """Return what the feature blocks at ``at``; with ``safe``, what migsim had better block."""
        if isinstance(at, Stage):
            return self.posted
        scope = Scope.NOTHING
        for since, then in self.history:
            if at.has(since):
                scope = then
        if safe and self.safe is not None and scope is not Scope.NOTHING:
            return self.safe
        return scope

    def reason(self, name: str = "") -> str:
        """Return the text to register, naming the feature, and ``name`` of the thing if given."""
        what = f"{self.title} '{name}'" if name else self.title
        return f"{what} stands in the way of a migration; to lift this: {self.lift}"


@dataclass(frozen=True, slots=True)
class FreeRow:
    """Something that people suspect and that does not block (QEMU 10.0).

    Attributes:
        feature: short key.
        title: the thing in words.
        note: how that is known, and under which condition it holds.
    """

    feature: str
    title: str
    note: str
