"""What ``info migrate`` prints: a heading of globals, then the members of ``query-migrate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ..machine.machine import Machine

_RAM_LINES = (
    # Label, member, unit, divisor; unit and divisor as the real monitor prints them.
    ("transferred ram", "transferred", "kbytes", 1024),
    ("throughput", "mbps", "mbps", None),
    ("remaining ram", "remaining", "kbytes", 1024),
    ("total ram", "total", "kbytes", 1024),
    ("duplicate", "duplicate", "pages", 1),
    ("normal", "normal", "pages", 1),
    ("normal bytes", "normal-bytes", "kbytes", 1024),
    ("dirty sync count", "dirty-sync-count", "", 1),
    ("page size", "page-size", "kbytes", 1024),
    ("multifd bytes", "multifd-bytes", "kbytes", 1024),
    ("pages-per-second", "pages-per-second", "", 1),
)
_RAM_LINES_IF_ANY = (
    ("dirty pages rate", "dirty-pages-rate", "pages", 1),
    ("postcopy request count", "postcopy-requests", "", 1),
    ("precopy ram", "precopy-bytes", "kbytes", 1024),
    ("downtime ram", "downtime-bytes", "kbytes", 1024),
    ("postcopy ram", "postcopy-bytes", "kbytes", 1024),
)
_XBZRLE_LINES = (
    ("cache size", "cache-size", "bytes", 1),
    ("xbzrle transferred", "bytes", "kbytes", 1024),
    ("xbzrle pages", "pages", "pages", 1),
    ("xbzrle cache miss", "cache-miss", "pages", 1),
    ("xbzrle cache miss rate", "cache-miss-rate", "", None),
    ("xbzrle encoding rate", "encoding-rate", "", None),
    ("xbzrle overflow", "overflow", "", 1),
)


def migrate_lines(vm: Machine) -> Sequence[str]:
    """Return the lines of ``info migrate`` (spec monitor.md section 3, QEMU 10.0)."""
    info = vm.query_migrate()
    lines = _globals(vm)
    reasons = cast("Sequence[str]", info.get("blocked-reasons", ()))
    if reasons:
        lines.append("Outgoing migration blocked:")
        lines.extend(f"  {reason}" for reason in reasons)
    status = info.get("status")
    if status is None:
        return lines
    reason = info.get("error-desc")
    shown = f" ({reason})" if status == "failed" and reason else ""
    lines.append(f"Migration status: {status}{shown}")
    lines.append(f"total time: {info.get('total-time', 0)} ms")
    for label, member in (
        ("expected downtime", "expected-downtime"),
        ("downtime", "downtime"),
        ("setup", "setup-time"),
    ):
        if member in info:
            lines.append(f"{label}: {info[member]} ms")
    ram = info.get("ram")
    if isinstance(ram, dict):
        lines.extend(_line(ram, *row) for row in _RAM_LINES)
        lines.extend(_line(ram, *row) for row in _RAM_LINES_IF_ANY if ram[row[1]])
    cache = info.get("xbzrle-cache")
    if isinstance(cache, dict):
        lines.extend(_line(cache, *row) for row in _XBZRLE_LINES)
    if "cpu-throttle-percentage" in info:
        lines.append(f"cpu throttle percentage: {info['cpu-throttle-percentage']}")
    return lines


def _globals(vm: Machine) -> list[str]:
    switches = vm.switches
    values = {
        "store-global-state": switches.store_global_state,
        "only-migratable": vm.config.only_migratable,
        "send-configuration": switches.send_configuration,
        "send-section-footer": switches.send_section_footer,
    }
    if vm.release.has("10.0"):
        values["send-switchover-start"] = switches.send_switchover_start
    lines = ["globals:", *(f"{name}: {'on' if on else 'off'}" for name, on in values.items())]
    lines.append(f"clear-bitmap-shift: {switches.clear_bitmap_shift}")
    return lines


def _line(ram: dict[str, int | float], label: str, member: str, unit: str, div: int | None) -> str:
    value = ram[member]
    text = f"{value:.2f}" if div is None else str(int(value) // div)
    return f"{label}: {text} {unit}".rstrip()
