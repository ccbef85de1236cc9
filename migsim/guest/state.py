"""The state of a synthetic guest as a device section, so that a migrated one goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from migsim.errors import ConfigError, DeviceError
from migsim.vmstate.fields import Field, FieldType, Value, Values, VMStateDescription

from .devices import Device

if TYPE_CHECKING:
    from .guest import Guest

GUEST = VMStateDescription(
    name="migsim/guest",
    version_id=1,
    minimum_version_id=1,
    fields=(
        Field("time_ps", FieldType.UINT64),
        Field("time_fraction", FieldType.UINT32),
        Field("position", FieldType.UINT64),
        Field("asleep", FieldType.BOOL),
        Field("slept", FieldType.BOOL),
    ),
)
"""Where a synthetic guest stands, so that a migrated one goes on from there."""


class GuestDevice(Device):
    """The device that carries the state of ``guest``; a state of another workload is refused."""

    __slots__ = ("guest",)

    def __init__(self, guest: Guest, name: str = "migsim/guest") -> None:
        super().__init__(name, GUEST, pre_save=_fetch, post_load=_apply)
        self.guest = guest
        _fetch(self)

    def snapshot(self) -> Values:
        """Return where the guest stands now."""
        _fetch(self)
        return super().snapshot()

    def restore(self, snapshot: Mapping[str, Value]) -> None:
        """Put the guest back to where it stood at ``snapshot``."""
        super().restore(snapshot)
        _apply(self)


def _fetch(device: Device) -> None:
    assert isinstance(device, GuestDevice)
    state = {"asleep": 0, "slept": 0} | device.guest.get_state()
    device.values = dict(state.items())


def _apply(device: Device) -> None:
    assert isinstance(device, GuestDevice)
    state = {key: value for key, value in device.values.items() if isinstance(value, int)}
    try:
        device.guest.set_state(state)
    except ConfigError as error:
        raise DeviceError(device.name, "post_load", error.reason) from error
