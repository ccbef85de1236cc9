"""Devices whose state is known as bytes with a description: recorded, changed, loaded, saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConfigError, IncompatibleError, StreamError
from ..guest.devices import Device
from ..vmstate.describe import Json, describe_opaque
from ..vmstate.described import DecodedStruct, DecodedValue, decode_body, encode_field, walk
from ..vmstate.entries import StructEntry, parse_device
from ..vmstate.fields import Value, Values, VMStateDescription

if TYPE_CHECKING:
    from ..vmstate.cursor import Buffer

_BODY = "data"
_ENTRY = "entry"


class RecordedDevice(Device):
    """A device with the layout and the power-on values that a real one has.

    The state is kept as bytes; `decoded` shows it by its description, and `write` changes values.
    ``power_on`` returns the description (a stream's, without name and instance) and the bytes,
    when the state is first needed.
    """

    __slots__ = ("_power_on",)

    def __init__(
        self,
        name: str,
        version: int,
        power_on: Callable[[], tuple[Json, bytes]],
        instance_id: int = 0,
        *,
        migratable: bool = True,
        priority: int = 0,
    ) -> None:
        description = VMStateDescription(name, version, ())
        super().__init__(
            name, description, {}, instance_id, migratable=migratable, priority=priority
        )
        self._power_on = power_on

    @property
    def is_opaque(self) -> bool:
        """Whether a reader leaves the state's bytes to the device."""
        return True

    @property
    def body(self) -> bytes:
        """The state as a stream has it."""
        found = self._state()[_BODY]
        assert isinstance(found, bytes)
        return found

    def save(self) -> tuple[bytes, Json]:
        """Call ``pre_save``; return the section's body and its entry in the description."""
        self._require_migratable("pre_save")
        if self.pre_save is not None:
            self.pre_save(self)
        entry = self._entry()
        if entry is None:
            return self.body, describe_opaque(self.name, self.instance_id, len(self.body))
        return self.body, {"name": self.name, "instance_id": self.instance_id, **entry}

    def load(
        self,
        buffer: Buffer,
        offset: int,
        version: int,
        *,
        base: int = 0,
        entry: Mapping[str, object] | None = None,
    ) -> int:
        """Take the bytes of ``buffer[offset:]``, call ``post_load``; return the index behind them.

        ``entry`` is what the stream's own description says of them, if that is known.

        Raises:
            IncompatibleError: a version that the device does not have.
            DeviceError: the device cannot be loaded, or a hook refused.
        """
        self._require_migratable("post_load")
        if version > self.description.version_id:
            expected = f"version {self.description.version_id} at most"
            raise IncompatibleError(base, self.name, expected, f"version {version}")
        before = self._state()
        body = bytes(buffer[offset:])
        self.values = {_BODY: body, _ENTRY: self._entry_for(body, entry)}
        try:
            if self.post_load is not None:
                self.post_load(self)
        except BaseException:
            self.values = before
            raise
        return len(buffer)

    def snapshot(self) -> Values:
        """Return a copy of the state, for ``restore``."""
        return dict(self._state())

    def restore(self, snapshot: Mapping[str, Value]) -> None:
        """Put the state back to what ``snapshot`` returned; no hook is called."""
        self.values = dict(snapshot)

    def decoded(self) -> DecodedStruct | None:
        """Return the state by its description; None where there is none that fits the bytes."""
        entry = self._entry()
        return None if entry is None else _decode(entry, self.body, self.name)

    def fields(self) -> DecodedStruct:
        """Return the fields before any subsection, which are there whatever came with them.

        Raises:
            StreamError: the bytes do not fit the layout of this device.
        """
        layout = self._struct(self._power_on()[0])
        bare = StructEntry(layout.vmsd_name, layout.version, layout.fields)
        return decode_body(bare, self.body, section=self.name)[0]

    def read(self, path: str) -> DecodedValue:
        """Return one value by its path: names joined by ``.``, as `walk` gives them.

        Raises:
            ConfigError: there is no such value.
        """
        for where, field in walk(self.fields()):
            if where == path:
                return field.value
        raise ConfigError(f"device {self.name}", f"no value {path}")

    def write(self, changes: Mapping[str, DecodedValue]) -> None:
        """Change values by their paths.

        Raises:
            ConfigError: there is no such value, or it does not fit its type; nothing is changed.
        """
        body = bytearray(self.body)
        left = set(changes)
        for where, field in walk(self.fields()):
            if where in left:
                left.remove(where)
                new = encode_field(replace(field, value=changes[where]))
                body[field.offset : field.offset + field.size] = new
        if left:
            raise ConfigError(f"device {self.name}", f"no value {min(left)}")
        self.values = self._state() | {_BODY: bytes(body)}

    def patch(self, changes: Mapping[int, bytes]) -> None:
        """Change bytes by their offsets; what lies beyond the state is left out."""
        body = bytearray(self.body)
        for offset, data in changes.items():
            if offset + len(data) <= len(body):
                body[offset : offset + len(data)] = data
        self.values = self._state() | {_BODY: bytes(body)}

    def _state(self) -> Values:
        if _BODY not in self.values:
            entry, body = self._power_on()
            self.values = {_BODY: body, _ENTRY: json.dumps(entry)}
        return self.values

    def _entry(self) -> Json | None:
        text = self._state()[_ENTRY]
        assert isinstance(text, str)
        found: Json | None = json.loads(text) if text else None
        return found

    def _entry_for(self, body: bytes, given: Mapping[str, object] | None) -> str:
        """Return the description of ``body``: the stream's, or that of power-on if it fits."""
        if given is not None:
            kept = {k: v for k, v in given.items() if k not in ("name", "instance_id")}
            return json.dumps(kept)
        entry = self._power_on()[0]
        return "" if _decode(entry, body, self.name) is None else json.dumps(entry)

    def _struct(self, entry: Mapping[str, object]) -> StructEntry:
        return parse_device({"name": self.name, "instance_id": self.instance_id, **entry}).body


def _decode(entry: Mapping[str, object], body: bytes, name: str) -> DecodedStruct | None:
    try:
        layout = parse_device({"name": name, "instance_id": 0, **entry}).body
        found, end = decode_body(layout, body, section=name)
    except StreamError:
        return None
    return found if end == len(body) else None
