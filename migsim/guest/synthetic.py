"""A few made-up devices, for machines that need some and for tests that need every field kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.errors import ConfigError, DeviceError
from migsim.vmstate.fields import (
    TIMER_NOT_ARMED,
    Field,
    FieldType,
    Subsection,
    Value,
    Values,
    VMStateDescription,
)

from .devices import Device, DeviceBlocker

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUEUES = 2
_RING_SIZE = 256

COUNTER = VMStateDescription(
    name="migsim-counter",
    version_id=2,
    minimum_version_id=1,
    fields=(
        Field("value", FieldType.UINT64),
        Field("running", FieldType.BOOL),
        Field("alarm", FieldType.TIMER, version=2),
    ),
)
"""A counter; version 2 added its alarm."""

_RING = VMStateDescription(
    name="migsim-nic-ring",
    version_id=1,
    minimum_version_id=1,
    fields=(
        Field("size", FieldType.UINT16_EQUAL),
        Field("head", FieldType.UINT16),
        Field("tail", FieldType.UINT16),
    ),
)


def _has_offload(values: Mapping[str, Value]) -> bool:
    return bool(values.get("offload_flags"))


def _has_multicast(values: Mapping[str, Value]) -> bool:
    return bool(values.get("multicast_filter"))


NIC = VMStateDescription(
    name="migsim-nic",
    version_id=3,
    minimum_version_id=2,
    fields=(
        Field("mac", FieldType.UINT8, count=6),
        Field("link_up", FieldType.BOOL),
        Field("features", FieldType.UINT32_EQUAL),
        Field("unused", FieldType.UNUSED, size=4),
        Field("rings", FieldType.STRUCT, count=_QUEUES, struct=_RING),
        Field("pending_bytes", FieldType.UINT32),
        Field("pending", FieldType.BUFFER, size_field="pending_bytes"),
        Field("mtu", FieldType.UINT16, version=3),
    ),
    subsections=(
        Subsection(
            VMStateDescription(
                name="migsim-nic/offload",
                version_id=1,
                minimum_version_id=1,
                fields=(Field("offload_flags", FieldType.UINT64),),
            ),
            _has_offload,
        ),
        Subsection(
            VMStateDescription(
                name="migsim-nic/multicast",
                version_id=1,
                minimum_version_id=1,
                fields=(Field("multicast_filter", FieldType.BITMAP, size=4096),),
            ),
            _has_multicast,
        ),
    ),
)
"""A network card: arrays, structures, a variable buffer and two optional parts."""

UNMIGRATABLE = VMStateDescription(name="migsim-scratchpad", version_id=0, fields=())
"""The empty state of a device that cannot be migrated."""


def counter_device(name: str = "migsim-counter", value: int = 0, instance_id: int = 0) -> Device:
    """Return a counter that stands at ``value``."""
    values: Values = {"value": value, "running": True, "alarm": TIMER_NOT_ARMED}
    return Device(name, COUNTER, values, instance_id)


def nic_device(
    name: str = "0000:00:02.0/migsim-nic", mac: bytes = b"\x52\x54\x00\x12\x34\x56"
) -> Device:
    """Return a network card with empty rings.

    It refuses to load a ring whose ends lie outside it.
    """
    if len(mac) != 6:
        raise ConfigError(f"device {name}", "a MAC address has 6 bytes")
    values: Values = {
        "mac": list(mac),
        "link_up": True,
        "features": 0x0F,
        "rings": [{"size": _RING_SIZE, "head": 0, "tail": 0} for _ in range(_QUEUES)],
        "pending_bytes": 0,
        "pending": b"",
        "mtu": 1500,
        "offload_flags": 0,
        "multicast_filter": 0,
    }
    return Device(name, NIC, values, pre_save=_measure_pending, post_load=_check_rings)


def unmigratable_device(name: str = "migsim-scratchpad") -> Device:
    """Return a device that cannot be saved; while it exists no mode can migrate."""
    return Device(name, UNMIGRATABLE, migratable=False)


def blocking_device(name: str, *blockers: DeviceBlocker) -> Device:
    """Return a counter that brings reasons against migration."""
    device = counter_device(name)
    device.blockers = blockers
    return device


def _measure_pending(device: Device) -> None:
    pending = device.values["pending"]
    device.values["pending_bytes"] = len(pending) if isinstance(pending, bytes) else 0


def _check_rings(device: Device) -> None:
    rings = device.values["rings"]
    assert isinstance(rings, list)  # an array of structures by its description
    for ring in rings:
        if isinstance(ring, dict) and any(_outside(ring, end) for end in ("head", "tail")):
            raise DeviceError(device.name, "post_load", f"a ring ends outside itself: {ring}")


def _outside(ring: Mapping[str, Value], end: str) -> bool:
    place, size = ring[end], ring["size"]
    return not (isinstance(place, int) and isinstance(size, int) and place < size)
