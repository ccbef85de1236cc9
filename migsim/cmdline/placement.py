"""Where the devices of a parsed command line are: their paths and section names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .buses import Topology
from .facts import device as device_facts

if TYPE_CHECKING:
    from .model import CommandLine
    from .parts import DeviceOption


def place(line: CommandLine) -> tuple[str, ...]:
    """Return the path of every device of ``line``, in order; empty for one without a path.

    Examples: ``0000:00:02.0``, ``0000:00:01.0/2`` for port 2 of the USB controller there.
    """
    topology = Topology(line.machine)
    return tuple(topology.plug(device, bus_kind(device)) for device in line.devices)


def bus_kind(device: DeviceOption) -> str:
    """Return the kind of bus that a device needs, empty for none."""
    facts = device_facts(device.driver)
    bus = "" if facts is None else facts.bus
    return "" if bus == "System" else bus


def state_name(device: DeviceOption) -> str:
    """Return the name of a device's saved state, its model name where that is not known."""
    facts = device_facts(device.driver)
    return device.driver if facts is None or facts.state is None else facts.state[0]
