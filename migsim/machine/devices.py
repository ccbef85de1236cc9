"""The devices of one machine: those every machine has, those it was given, and their sections.

Section numbers follow registration: ``timer`` is 0, ``ram`` 1, ``dirty-bitmap`` 2, then the devices
in the order of their creation, and ``globalstate`` the last (spec stream.md section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..blockers.registry import Blocker, BlockerRegistry, UnmigratableDevice
from ..errors import ConfigError, MigsimError
from ..guest.devices import Device, save_order
from ..migration.environment import SavedSection
from ..vmstate.common import GLOBALSTATE, TIMER, globalstate_values, timer_values
from .opaque import OpaqueDevice

if TYPE_CHECKING:
    from ..guest.guest import Guest
    from ..stream.items import DeviceSection
    from ..vmstate.fields import Value, Values

TIMER_SECTION_ID = 0
FIRST_DEVICE_SECTION_ID = 3
_FIRST = -(1 << 40)

_Handle = Blocker | UnmigratableDevice


class TimerDevice(Device):
    """The ``timer`` section: the guest's clock, by which a synthetic guest goes on.

    The clock is guest time in nanoseconds; the tick counter holds the same time in picoseconds,
    so that nothing is lost between two migsim machines.  A stream of a real QEMU has other ticks,
    and then the clock decides; its ticks go on from where they were, one each nanosecond, so that
    a real guest that is sent on does not see its time-stamp counter jump.
    """

    __slots__ = ("_guest_before", "guest", "ticks_ahead")

    def __init__(self, guest: Guest) -> None:
        super().__init__("timer", TIMER, timer_values(), pre_save=_fetch, post_load=_apply)
        self.order = _FIRST
        self.guest = guest
        self._guest_before = guest.get_state()
        self.ticks_ahead: int | None = None

    def snapshot(self) -> Values:
        """Return the values, and remember where the guest stands now."""
        self._guest_before = self.guest.get_state()
        return super().snapshot()

    def restore(self, snapshot: Mapping[str, Value]) -> None:
        """Put values and guest back to where they stood at ``snapshot``."""
        super().restore(snapshot)
        self.guest.set_state(self._guest_before)


def _fetch(device: Device) -> None:
    assert isinstance(device, TimerDevice)
    time_ps = device.guest.time_ps + device.guest.clock_ahead_ps
    ticks = time_ps if device.ticks_ahead is None else time_ps // 1000 + device.ticks_ahead
    device.values = timer_values(clock_ns=time_ps // 1000, ticks=ticks)


def _apply(device: Device) -> None:
    assert isinstance(device, TimerDevice)
    clock, ticks = device.values.get("cpu_clock_offset"), device.values["cpu_ticks_offset"]
    assert isinstance(ticks, int)
    clock_ns = clock if isinstance(clock, int) else 0
    ours = ticks // 1000 == clock_ns
    device.ticks_ahead = None if ours else ticks - clock_ns
    device.guest.resume_at(ticks if ours else max(clock_ns, 0) * 1000)


class DeviceTree:
    """Devices by section name and instance, with the blockers that they brought."""

    def __init__(
        self,
        guest: Guest,
        devices: Iterable[Device],
        blockers: BlockerRegistry,
        check_may_plug: Callable[[str], None] = lambda command: None,
        board: Callable[[Guest], Iterable[Device]] | None = None,
    ) -> None:
        self._make_board = board
        self._board_made: dict[tuple[str, int], Device] | None = None
        self._blockers = blockers
        self._check_may_plug = check_may_plug
        self._timer = TimerDevice(guest)
        self._by_section: dict[tuple[str, int], Device] = {("timer", 0): self._timer}
        self._ids: dict[Device, int] = {self._timer: TIMER_SECTION_ID}
        self._handles: dict[Device, list[_Handle]] = {}
        self._adopted: list[OpaqueDevice] = []
        self._next_id = FIRST_DEVICE_SECTION_ID
        for device in devices:
            self.add(device)

    def add(self, device: Device) -> None:
        """Plug ``device`` in, with its blockers; all or nothing.

        Raises:
            StateError: a migration runs.
            ConfigError: there is a device of that section name and instance.
            BlockedError: the registry refuses one of its blockers, or the device itself.
        """
        self._check_may_plug("device_add")
        key = (device.name, device.instance_id)
        if key in self._by_section or device.name == GLOBALSTATE.name:
            raise ConfigError(f"device {device.name}", f"instance {device.instance_id} is taken")
        handles: list[_Handle] = []
        try:
            if not device.migratable:
                handles.append(self._blockers.register_unmigratable(device.name))
            handles.extend(self._blockers.add(b.reason, b.modes) for b in device.blockers)
        except MigsimError:
            self._drop(handles)
            raise
        self._handles[device] = handles
        self._by_section[key] = device
        self._ids[device] = self._next_id
        self._next_id += 1

    def remove(self, device: Device) -> None:
        """Unplug ``device`` and lift its blockers.

        Raises:
            StateError: a migration runs.
            ConfigError: it is not plugged in.
        """
        self._check_may_plug("device_del")
        if device not in self._handles:
            raise ConfigError(f"device {device.name}", "is not part of this machine")
        self._drop(self._handles.pop(device))
        del self._by_section[device.name, device.instance_id]
        del self._ids[device]

    def adopt(self, sections: Iterable[DeviceSection]) -> None:
        """Carry the devices of a stream that are not modelled, instead of those carried before."""
        for device in self._adopted:
            del self._ids[device]
        self._adopted = [OpaqueDevice(section) for section in sections]
        self._ids |= {device: device.section_id for device in self._adopted}
        self._next_id = max(self._next_id, *(number + 1 for number in self._ids.values()))

    def find(self, name: str, instance_id: int) -> Device | None:
        """Return the device of that section, or None."""
        key = (name, instance_id)
        return self._by_section.get(key) or self._board().get(key)

    def _board(self) -> dict[tuple[str, int], Device]:
        """Return the devices that the machine has by itself; they are made when first needed."""
        if self._board_made is None:
            made = () if self._make_board is None else self._make_board(self._timer.guest)
            self._board_made = {(device.name, device.instance_id): device for device in made}
        return self._board_made

    def __iter__(self) -> Iterator[Device]:
        return iter(self._handles)

    def save(
        self, stored_state: str, *, was_suspended: bool, store_global_state: bool
    ) -> list[SavedSection]:
        """Return the sections of all devices in stream order, ``globalstate`` last.

        Adopted devices follow ``timer`` in the order in which they came.

        Raises:
            DeviceError: a device refused; those before it were asked already.
        """
        own = [device for device in self._handles if device.migratable]
        board = self._board().values()
        devices = [self._timer, *self._adopted, *save_order([*board, *own])]
        if board:
            devices = save_order(devices)
            self._number(sorted(devices, key=lambda device: device.order))
        if store_global_state:
            values = globalstate_values(stored_state, was_suspended)
            devices.append(Device(GLOBALSTATE.name, GLOBALSTATE, values))
        return [self._save(device) for device in devices]

    def _save(self, device: Device) -> SavedSection:
        body, description = device.save()
        return SavedSection(
            device.name,
            device.instance_id,
            device.description.version_id,
            self._ids.get(device, self._next_id),
            body,
            description,
        )

    def _number(self, devices: Iterable[Device]) -> None:
        """Give out section numbers in the order in which real machines register devices."""
        number = FIRST_DEVICE_SECTION_ID
        for device in devices:
            if device is not self._timer:
                self._ids[device] = number + device.gap
                number += device.gap + 1
        self._next_id = number

    def _drop(self, handles: Iterable[_Handle]) -> None:
        for handle in handles:
            if isinstance(handle, Blocker):
                self._blockers.remove(handle)
            else:
                self._blockers.unregister(handle)
