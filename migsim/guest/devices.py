"""Synthetic devices: named state with hooks around saving and loading, and blockers they bring."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migsim.errors import ConfigError, StreamError
from migsim.vmstate import codec, describe
from migsim.vmstate.fields import (
    NAME_LIMIT,
    Field,
    FieldType,
    Subsection,
    Value,
    Values,
    VMStateDescription,
)

if TYPE_CHECKING:
    from migsim.qapi.enums import MigMode

Hook = Callable[["Device"], None]
"""Called with the device; raises ``DeviceError`` to refuse."""


@dataclass(frozen=True, slots=True)
class DeviceBlocker:
    """A reason that a device brings against migration, for some modes or (None) for all."""

    reason: str
    modes: tuple[MigMode, ...] | None = None


@dataclass(slots=True, eq=False)
class Device:
    """A device: its section name, the description of its state, and the state itself.

    Attributes:
        name: section name; with a bus path where the device sits on a bus.
        values: the state, by field name.
        migratable: False for a device that can neither be saved nor loaded; it blocks every mode.
        priority: devices of higher priority are saved and loaded before those of lower.
        early: saved and loaded during setup, before any RAM.
        pre_save: called before the state is saved.
        post_load: called after the state was loaded.

    Raises:
        ConfigError: the name does not fit into a section header.
    """

    name: str
    description: VMStateDescription
    values: Values = field(default_factory=dict)
    instance_id: int = 0
    migratable: bool = True
    blockers: tuple[DeviceBlocker, ...] = ()
    priority: int = 0
    early: bool = False
    pre_save: Hook | None = None
    post_load: Hook | None = None

    def save(self) -> tuple[bytes, dict[str, object]]:
        """Return the section body and its entry for the stream's description, after pre_save."""
        raise NotImplementedError

    def load(self, buffer: bytes | memoryview, offset: int, version: int) -> int:
        """Load the state from ``buffer`` at ``offset``; return the offset behind it."""
        raise NotImplementedError

    def snapshot(self) -> Values:
        """Return a copy of the state, for ``restore``."""
        return copy.deepcopy(self.values)

    def restore(self, snapshot: Values) -> None:
        """Put the state back to what ``snapshot`` returned; no hook is called."""
        self.values = copy.deepcopy(snapshot)
