"""A feature of the blocker catalogue as a command line has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ..blockers.catalogue import blocked_modes, row
from ..blockers.rows import Moment
from ..qapi.release import Release

if TYPE_CHECKING:
    from ..qapi.enums import MigMode


class Certainty(StrEnum):
    """Whether the command line alone decides that a feature blocks."""

    SURE = "sure"
    DEPENDS = "depends"


@dataclass(frozen=True, slots=True)
class AppliedFeature:
    """A feature of the blocker catalogue that a command line has.

    Attributes:
        feature: its key in the catalogue.
        name: which one: a node, an id, a RAM block; of a device without saved state the section
            name, as reasons give it.
        option: the option that brings it.
        owner: id of the drive, block node, character device or device whose removal lifts it.
        certainty: whether the command line alone decides.
    """

    feature: str
    name: str
    option: str
    owner: str | None = None
    certainty: Certainty = Certainty.SURE

    @property
    def moment(self) -> Moment:
        """When the reason appears."""
        return row(self.feature).moment

    @property
    def at_start(self) -> bool:
        """Whether the machine has the reason as soon as it is built."""
        return self.certainty is Certainty.SURE and self.moment is Moment.CREATION

    def modes(
        self, release: Release = Release.DEFAULT, *, safe: bool = False
    ) -> frozenset[MigMode]:
        """Return the modes that it blocks in ``release``; empty where it does not block."""
        return blocked_modes(self.feature, release, safe=safe)
