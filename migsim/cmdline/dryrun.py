"""What on a command line forbids which migration mode, told before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..blockers.catalogue import row
from ..blockers.rows import modes_at
from ..qapi.release import Release
from .applied import AppliedFeature, Certainty
from .blockers import features
from .images import try_probe
from .parse import parse

if TYPE_CHECKING:
    from ..blockers.rows import BlockerRow
    from ..qapi.enums import MigMode
    from .images import Look
    from .model import CommandLine, Refusal
    from .probe import ProbedImage

PROGRAM: Final = "-system-"
"""What the name of a QEMU program holds, by which it is told from an option's argument."""


@dataclass(frozen=True, slots=True)
class FoundBlocker:
    """One thing on a command line that forbids migration, or may.

    Attributes:
        applied: what it is, and which option brings it.
        row: its row in the catalogue: when it appears, what lifts it, since when.
        modes: the modes that it forbids in the release that was asked for, in QMP order.
        certain: it forbids them as soon as the machine runs; otherwise ``row.when`` says when.
    """

    applied: AppliedFeature
    row: BlockerRow
    modes: tuple[MigMode, ...]
    certain: bool

    def blocks(self, mode: MigMode | None) -> bool:
        """Return whether it forbids ``mode``, or any mode if None."""
        return bool(self.modes) if mode is None else mode in self.modes

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "feature": self.applied.feature,
            "name": self.applied.name,
            "title": self.row.title,
            "option": self.applied.option,
            "owner": self.applied.owner,
            "modes": [mode.value for mode in self.modes],
            "certain": self.certain,
            "when": self.row.when,
            "lift": self.row.lift,
            "since": self.row.since,
            "until": self.row.until,
            "note": self.row.note or None,
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a command line comes to, for migration.

    Attributes:
        release: the release whose rules were applied.
        modes: the modes that the release has, in QMP order.
        found: what forbids one of them at least, in the order in which QEMU registers it.
        unread: disk images that could not be looked at; their formats are those of their options.
        unmodelled: options of which migsim cannot tell what they change.
        only_migratable: the machine does not start if anything certain forbids every mode.
    """

    release: Release
    modes: tuple[MigMode, ...]
    found: tuple[FoundBlocker, ...]
    unread: tuple[str, ...]
    unmodelled: tuple[Refusal, ...]
    only_migratable: bool

    def blocking(self, mode: MigMode | None = None) -> tuple[FoundBlocker, ...]:
        """Return what forbids ``mode``, or any mode if None, certain or not."""
        return tuple(one for one in self.found if one.blocks(mode))

    def free(self) -> tuple[MigMode, ...]:
        """Return the modes that nothing forbids."""
        return tuple(mode for mode in self.modes if not self.blocking(mode))

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "release": str(self.release),
            "blockers": [one.to_dict() for one in self.found],
            "free-modes": [mode.value for mode in self.free()],
            "images-not-read": list(self.unread),
            "not-modelled": [refusal.option for refusal in self.unmodelled],
            "only-migratable": self.only_migratable,
        }


def dry_run(
    words: Sequence[str], release: Release = Release.DEFAULT, look: Look = try_probe
) -> DryRun:
    """Return what on a QEMU command line forbids migration; nothing is started or created.

    ``words`` may begin with the program.  ``look`` is asked about disk images, and may return None
    for one that is not at hand.

    Raises:
        ConfigError: QEMU would not start with these options; ``what`` names the first wrong one.
        ParameterError: options that do not fit together as numbers.
    """
    line = parse(_options(words), release, strict=False)
    unread: list[str] = []

    def looked(path: str) -> ProbedImage | None:
        image = look(path)
        if image is None and path not in unread:
            unread.append(path)
        return image

    found = [] if line.info is not None else _found(line, looked, release)
    return DryRun(
        release,
        modes_at(release),
        tuple(found),
        tuple(unread),
        tuple(line.refused),
        line.only_migratable,
    )


def _found(line: CommandLine, look: Look, release: Release) -> list[FoundBlocker]:
    found = []
    for one in features(line, look):
        blocked = one.modes(release)
        if blocked:
            modes = tuple(mode for mode in modes_at(release) if mode in blocked)
            certain = one.certainty is Certainty.SURE and one.at_start
            found.append(FoundBlocker(one, row(one.feature), modes, certain))
    return found


def _options(words: Sequence[str]) -> Sequence[str]:
    if words and not words[0].startswith("-") and PROGRAM in words[0]:
        return words[1:]
    return words
