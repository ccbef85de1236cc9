"""Synthetic devices: named state with hooks around saving and loading, and blockers they bring."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migsim.errors import ConfigError, DeviceError
from migsim.vmstate.codec import decode, encode
from migsim.vmstate.describe import Json, describe_section
from migsim.vmstate.fields import NAME_LIMIT, Value, Values, VMStateDescription

if TYPE_CHECKING:
    from migsim.qapi.enums import MigMode
    from migsim.vmstate.cursor import Buffer

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
        instance_id: tells devices of one name apart.
        migratable: False for a device that can neither be saved nor loaded; it blocks every mode.
        blockers: reasons that it brings against migration while it exists.
        priority: devices of higher priority are saved before those of lower.
        gap: section numbers that are left out before its own.
        order: where it is among those of its priority; equal ones are saved as they were added.
        early: saved and loaded during setup, before any RAM.
        pre_save: called before the state is saved.
        post_load: called after the state was loaded, with the new values in place.

    Raises:
        ConfigError: the name or instance id does not fit into a section header.
    """

    name: str
    description: VMStateDescription
    values: Values = field(default_factory=dict)
    instance_id: int = 0
    migratable: bool = True
    blockers: tuple[DeviceBlocker, ...] = ()
    priority: int = 0
    order: int = 0
    gap: int = 0
    early: bool = False
    pre_save: Hook | None = None
    post_load: Hook | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode(errors="surrogateescape")) <= NAME_LIMIT:
            raise ConfigError("device", f"a section name has 1 to {NAME_LIMIT} bytes")
        if not 0 <= self.instance_id < 1 << 32:
            raise ConfigError(f"device {self.name}", "an instance id is a 32-bit number")

    @property
    def is_opaque(self) -> bool:
        """Whether a reader leaves the state's bytes to the device."""
        return False

    def save(self) -> tuple[bytes, Json]:
        """Call ``pre_save``; return the section body and its entry in the stream's description.

        Raises:
            DeviceError: the device cannot be saved, a hook refused, or a value does not fit.
        """
        self._require_migratable("pre_save")
        if self.pre_save is not None:
            self.pre_save(self)
        body = encode(self.description, self.values)
        return body, describe_section(self.name, self.instance_id, self.description, self.values)

    def load(
        self,
        buffer: Buffer,
        offset: int,
        version: int,
        *,
        base: int = 0,
        entry: Mapping[str, object] | None = None,
    ) -> int:
        """Load the state from ``buffer[offset:]``, call ``post_load``; return the index behind it.

        ``version`` is that of the section header, ``base`` the buffer's place in the source.
        ``entry`` is what the stream's own description says, if that is known; only devices that
        are opaque to the reader look at it.  When anything fails the state is what it was.

        Raises:
            StreamError: the bytes are malformed or do not fit the device.
            DeviceError: the device cannot be loaded, or a hook refused.
        """
        self._require_migratable("post_load")
        before = self.values
        self.values, end = decode(
            self.description, buffer, offset, version, self.name, local=before, base=base
        )
        try:
            if self.post_load is not None:
                self.post_load(self)
        except BaseException:
            self.values = before
            raise
        return end

    def snapshot(self) -> Values:
        """Return a copy of the state, for ``restore``."""
        return copy.deepcopy(self.values)

    def restore(self, snapshot: Mapping[str, Value]) -> None:
        """Put the state back to what ``snapshot`` returned; no hook is called."""
        self.values = copy.deepcopy(dict(snapshot))

    def _require_migratable(self, phase: str) -> None:
        if not self.migratable:
            raise DeviceError(self.name, phase, "it has no state that could be migrated")


def save_order(devices: Iterable[Device]) -> list[Device]:
    """Return devices in the order of their sections: by falling priority, then as given."""
    return sorted(devices, key=lambda device: (-device.priority, device.order))
