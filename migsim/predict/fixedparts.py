"""Fixed parts of a migration, measured with a small machine of a real QEMU that runs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .qemuruns import Process, make_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL_PAGES: Final = 1 << 12
"""Pages of the machine: 16 MiB, so little that they hardly count."""
BOOT_S: Final = 0.5
"""How long its firmware gets to come to rest."""
MACHINE: Final = "q35,accel=kvm:tcg"


@dataclass(frozen=True, slots=True)
class FixedParts:
    """Medians over some saves, seconds.

    Attributes:
        setup_s: from the beginning until pages flow.
        stop_s: stopping the guest.
        device_s: from there to the end: device state and the end of the stream.
        stopped_first_s: a whole cpr-reboot save that leaves RAM where it is.
    """

    setup_s: float
    stop_s: float
    device_s: float
    stopped_first_s: float


def measure_fixed_parts(binary: str, root: Path, runs: int) -> FixedParts:
    """Return the fixed parts, as medians of ``runs`` saves into a file in ``root``.

    Raises:
        ChannelError: QEMU cannot be run or a save failed.
    """
    live = [_live(binary, root) for _ in range(runs)]
    setup, stop, device = (statistics.median(part) for part in zip(*live, strict=True))
    whole = statistics.median(_whole(binary, root) for _ in range(runs))
    return FixedParts(setup, stop, device, whole)


def _live(binary: str, root: Path) -> tuple[float, float, float]:
    """Return (set-up, stop, devices) of one save of the running machine."""
    memory = make_memory(root, "small", SMALL_PAGES, 0.0)
    target = root / "saved"
    with Process(binary, root, "src", memory, running=MACHINE) as source:
        time.sleep(BOOT_S)
        source.switch_on("events")
        source.ask("migrate", uri=f"file:{target}")
        down_s = float(source.wait_migrated(str(target))["downtime"]) / 1000
        events = source.events
    target.unlink()
    setup, active = _at(events, "MIGRATION", "setup"), _at(events, "MIGRATION", "active")
    device_s = _at(events, "MIGRATION", "completed") - _at(events, "STOP")
    return max(0.0, active - setup), max(0.0, down_s - device_s), device_s


def _whole(binary: str, root: Path) -> float:
    """Return a save that stops the machine first and sends no RAM."""
    memory = make_memory(root, "small", SMALL_PAGES, 0.0)
    target = root / "saved"
    with Process(binary, root, "src", memory, running=MACHINE) as source:
        source.switch_on("events", "x-ignore-shared")
        source.ask("migrate-set-parameters", mode="cpr-reboot")
        source.ask("migrate", uri=f"file:{target}")
        source.wait_migrated(str(target))
        events = source.events
    target.unlink()
    return _at(events, "MIGRATION", "completed") - _at(events, "MIGRATION", "setup")


def _at(events: Sequence[tuple[float, str, str]], name: str, status: str = "") -> float:
    """Return when an event came first, in seconds."""
    return next(at for at, event, said in events if event == name and status in ("", said))
