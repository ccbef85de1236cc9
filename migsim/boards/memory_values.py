"""What a machine's registers say of the size of its RAM and the number of its processors.

The places and the rules were found by recording machines with other sizes (QEMU 10.0.2).
"""

from __future__ import annotations

import struct
from typing import Final

from ..units import KIB, MIB

Key = tuple[str, int]

_RTC: Final = ("mc146818rtc", 0)
_HOST_BRIDGE: Final = ("0000:00:00.0/I440FX", 0)
_BRIDGE_SIZE_OFFSET: Final = 91
"""Where the host bridge of ``pc`` has its last row boundary, in units of 8 MiB."""
_LOW_LIMIT: Final = {
    # Room for RAM below 4 GiB, and what is left there when the RAM is larger than that.
    "pc": (0xE0000000, 0xC0000000),
    "q35": (0xB0000000, 0x80000000),
    "microvm": (0xC0000000, 0xC0000000),
}


def memory_values(machine: str, memory_bytes: int, cpus: int) -> dict[Key, dict[int, bytes]]:
    """Return bytes by offset, by section, of a machine with that RAM and that many processors."""
    most, large = _LOW_LIMIT[machine]
    low = memory_bytes if memory_bytes <= most - 1 else large
    high = max(memory_bytes - low, 0)
    extended = min(max(low // KIB - KIB, 0), 0xFFFF)
    above_16m = min(max(low - 16 * MIB, 0) // (64 * KIB), 0xFFFF)
    clock = {
        0x15: struct.pack("<H", min(low // KIB, 640)),
        0x17: struct.pack("<H", extended),
        0x30: struct.pack("<H", extended),
        0x34: struct.pack("<H", above_16m),
        0x5B: (high // (64 * KIB)).to_bytes(8, "little")[:3],
    }
    if machine != "microvm":
        clock[0x5F] = bytes((min(cpus - 1, 0xFF),))
    # The clock's memory is its first field of the section.
    found: dict[Key, dict[int, bytes]] = {_RTC: clock}
    if machine == "pc":
        found[_HOST_BRIDGE] = {_BRIDGE_SIZE_OFFSET: bytes((min(low // (8 * MIB), 0xFF),))}
    return found
