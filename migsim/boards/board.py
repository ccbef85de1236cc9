"""The device sections of one machine, put together from what was recorded of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from . import archive
from .boot_cpu import attach
from .memory_values import memory_values
from .recorded import RecordedDevice

if TYPE_CHECKING:
    from ..guest.guest import Guest
    from ..vmstate.describe import Json
    from .archive import AddedRow, StateRef

Key = tuple[str, int]

_OUTSIDE: Final = ("timer", "globalstate")
"""Sections of every machine, which are not devices of a board."""
LATE: Final = ("acpi_build",)
"""Sections registered when the machine is complete, behind devices of the user."""
_FIRST_NUMBER: Final = 3
_CPU: Final = "smp"
_PER_CPU: Final = ("cpu_common", "cpu", "apic")
_EARLY_ORDER: Final = -1_000_000
_LATE_ORDER: Final = 1


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """What of a command line decides which sections a machine has by itself.

    Attributes:
        machine: ``pc``, ``q35`` or ``microvm``.
        accelerator: ``tcg`` or ``kvm``.
        memory_bytes: size of the RAM.
        cpus: number of virtual processors.
        settings: names of recorded differences, in the order in which they apply.
    """

    machine: str
    accelerator: str
    memory_bytes: int
    cpus: int = 1
    settings: tuple[str, ...] = ()

    @property
    def recorded_as(self) -> str:
        """Name of the recording."""
        return f"{self.machine}-{self.accelerator}"


@dataclass(slots=True)
class _Row:
    """A section that will be a device."""

    key: Key
    version: int
    state: StateRef
    gap: int = 0
    early: bool = False
    patches: dict[int, bytes] = field(default_factory=dict)


def board_devices(spec: BoardSpec, guest: Guest | None = None) -> tuple[RecordedDevice, ...]:
    """Return the devices of a machine's board, with their power-on values, in order.

    The processor goes along with what ``guest`` does, where that is known.
    """
    rows = _base_rows(spec.recorded_as)
    if spec.cpus > 1:
        _add_cpus(rows, spec)
    for name in spec.settings:
        _apply(rows, spec.recorded_as, name)
    for key, change in memory_values(spec.machine, spec.memory_bytes, spec.cpus).items():
        _patch(rows, key, change)
    devices = tuple(_device(row, position) for position, row in enumerate(rows))
    if guest is not None:
        attach(devices, guest)
    return devices


def _base_rows(machine: str) -> list[_Row]:
    rows, number = [], _FIRST_NUMBER
    for name, instance_id, version, given, state in archive.base(machine):
        if name not in _OUTSIDE:
            rows.append(_Row((name, instance_id), version, state, max(given - number, 0)))
            number = given + 1
    return rows


def _find(rows: list[_Row], key: Key) -> int | None:
    return next((index for index, row in enumerate(rows) if row.key == key), None)


def _add_cpus(rows: list[_Row], spec: BoardSpec) -> None:
    """Add the processors behind the first; each has its number as its APIC's identity."""
    change = archive.setting(spec.recorded_as, _CPU)
    assert change is not None
    at = _find(rows, ("apic", 0))
    assert at is not None
    for number in range(1, spec.cpus):
        for row in change.added:
            at += 1
            rows.insert(at, _Row((row.name, number), row.version, row.state))
            if row.name == "apic":
                rows[at].patches[_APIC_ID_OFFSET] = bytes((number & 0xFF,))


_APIC_ID_OFFSET: Final = 4
"""Offset of the field ``id`` in section ``apic``, behind ``apicbase`` (QEMU 10.0)."""


def _apply(rows: list[_Row], machine: str, name: str) -> None:
    change = archive.setting(machine, name)
    if change is None:
        return
    rows[:] = [row for row in rows if row.key not in change.gone]
    for row in rows:
        if row.key in change.replaced:
            row.version, row.state = change.replaced[row.key]
    for added in change.added:
        _insert(rows, added)
    for key, patches in change.patched.items():
        _patch(rows, key, patches)


def _insert(rows: list[_Row], added: AddedRow) -> None:
    key = (added.name, added.instance_id)
    if _find(rows, key) is not None:
        return
    behind = _find(rows, added.behind)
    if added.behind[0] in _OUTSIDE:
        behind = -1
    place = len(rows) if behind is None else behind + 1
    rows.insert(place, _Row(key, added.version, added.state, early=added.early))


def _patch(rows: list[_Row], key: Key, patches: Mapping[int, bytes]) -> None:
    at = _find(rows, key)
    if at is not None:
        rows[at].patches |= patches


def _device(row: _Row, position: int) -> RecordedDevice:
    name, instance_id = row.key
    device = RecordedDevice(
        name, row.version, partial(power_on, row.state), instance_id, priority=int(row.early)
    )
    device.gap = row.gap
    device.order = _LATE_ORDER if name in LATE else _EARLY_ORDER + position
    if row.patches:
        device.patch(row.patches)
    return device


def power_on(state: StateRef) -> tuple[Json, bytes]:
    """Return a recorded description and its bytes."""
    return archive.entry(state.entry), archive.body(state.body)
