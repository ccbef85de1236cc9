"""Known blockers as data: what blocks which mode, in which release, and what would lift it.

The rows are those of spec blockers.md sections 3 and 5, taken from QEMU 10.0.2; what 11.1 changed
was seen on 11.1.3.  Every function takes a point in history: a release, or the first posting of
the series that made blockers depend on the mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..qapi.enums import MigMode
from ..qapi.release import Release
from .device_rows import DEVICE_ROWS
from .explicit_rows import EXPLICIT_ROWS, FREE_ROWS
from .rows import At, BlockerRow, FreeRow, Kind, Scope, modes_at

if TYPE_CHECKING:
    from .registry import Blocker, BlockerRegistry, UnmigratableDevice

ROWS: Final[Mapping[str, BlockerRow]] = MappingProxyType(
    {row.feature: row for row in (*EXPLICIT_ROWS, *DEVICE_ROWS)}
)
"""Every known blocker by feature, explicit ones first."""

FREE: Final[Mapping[str, FreeRow]] = MappingProxyType({row.feature: row for row in FREE_ROWS})
"""What is known not to block in 10.0, by feature."""


def row(feature: str) -> BlockerRow:
    """Return the catalogue row of ``feature``.

    Raises:
        ConfigError: the catalogue has no such row; the text suggests near names.
    """
    found = ROWS.get(feature)
    if found is not None:
        return found
    if feature in FREE:
        raise ConfigError(f"blocker {feature}", f"it does not block: {FREE[feature].note}")
    near = get_close_matches(feature, ROWS, n=3)
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise ConfigError(f"blocker {feature}", f"the catalogue has no such feature{hint}")


def blocked_modes(
    feature: str, at: At = Release.DEFAULT, *, safe: bool = False
) -> frozenset[MigMode]:
    """Return the modes, of those that ``at`` has, in which ``feature`` blocks.

    With ``safe``, those that migsim's safe profile blocks, where QEMU blocks too little.  Empty
    for a feature that does not block at all (yet, or any more).

    Raises:
        ConfigError: the catalogue has no such feature.
    """
    if feature in FREE and feature not in ROWS:
        return frozenset()
    scope = row(feature).scope(at, safe=safe)
    return frozenset(mode for mode in modes_at(at) if scope.blocks(mode))


def allowed_modes(
    features: Iterable[str], at: At = Release.DEFAULT, *, safe: bool = False
) -> tuple[MigMode, ...]:
    """Return the modes, in QMP order, that none of ``features`` blocks.

    Raises:
        ConfigError: the catalogue lacks one of the features.
    """
    blocked = frozenset[MigMode]().union(*(blocked_modes(f, at, safe=safe) for f in features))
    return tuple(mode for mode in modes_at(at) if mode not in blocked)


def blocking(mode: MigMode, at: At = Release.DEFAULT, *, safe: bool = False) -> tuple[str, ...]:
    """Return the features that block ``mode`` at ``at``, in catalogue order."""
    if mode not in modes_at(at):
        return ()
    return tuple(feature for feature, row in ROWS.items() if row.scope(at, safe=safe).blocks(mode))


def relaxed(at: At = Release.DEFAULT) -> tuple[str, ...]:
    """Return the features that block mode normal only, though every blocker once blocked it all.

    12 in the first posting, 9 as merged in 8.2, 11 since 9.0, when the two vfio rows joined.
    """
    return tuple(f for f, row in ROWS.items() if row.scope(at) is Scope.NORMAL_ONLY)


def changes(old: At, new: At) -> dict[str, tuple[Scope, Scope]]:
    """Return what each feature blocked at ``old`` and blocks at ``new``, where the two differ."""
    pairs = {feature: (row.scope(old), row.scope(new)) for feature, row in ROWS.items()}
    return {feature: pair for feature, pair in pairs.items() if pair[0] is not pair[1]}


def register(
    registry: BlockerRegistry,
    feature: str,
    name: str = "",
    release: Release = Release.DEFAULT,
    *,
    safe: bool = False,
) -> Blocker | UnmigratableDevice | None:
    """Register what ``feature`` brings in ``release``; return the handle, None if nothing blocks.

    ``name`` says which one it is (a node name, a device id, a RAM block); of a device without
    saved state it is the section name, by default the feature.

    Raises:
        ConfigError: the catalogue has no such feature.
        OnlyMigratableError, BusyError: the registry refused; see ``BlockerRegistry.add``.
    """
    if feature in FREE and feature not in ROWS:
        return None
    found = row(feature)
    scope = found.scope(release, safe=safe)
    if scope is Scope.NOTHING:
        return None
    if found.kind is Kind.DEVICE:
        return registry.register_unmigratable(name or feature)
    if found.kind is Kind.INTERNAL:
        return registry.add_internal(found.reason(name))
    if scope is Scope.EVERY_MODE:
        return registry.add(found.reason(name))
    return registry.add_modes(found.reason(name), [m for m in MigMode if scope.blocks(m)])
