"""Reasons that forbid a migration: the per-mode registry, and the known ones as data."""

from .catalogue import (
    FREE,
    ROWS,
    allowed_modes,
    blocked_modes,
    blocking,
    changes,
    register,
    relaxed,
    row,
)
from .device_rows import section_name
from .registry import (
    Blocker,
    BlockerAction,
    BlockerRegistry,
    UnmigratableDevice,
    refuses_blockers,
)
from .rows import At, BlockerRow, FreeRow, Kind, Moment, Scope, Stage, modes_at

__all__ = [
    "FREE",
    "ROWS",
    "At",
    "Blocker",
    "BlockerAction",
    "BlockerRegistry",
    "BlockerRow",
    "FreeRow",
    "Kind",
    "Moment",
    "Scope",
    "Stage",
    "UnmigratableDevice",
    "allowed_modes",
    "blocked_modes",
    "blocking",
    "changes",
    "modes_at",
    "refuses_blockers",
    "register",
    "relaxed",
    "row",
    "section_name",
]
