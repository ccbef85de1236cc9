"""What ``info migrate`` prints: a heading of globals, then the members of ``query-migrate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


ALL_SINCE = "10.1"
"""First release in which ``info migrate`` shows the globals, and more, with ``-a`` alone."""


def migrate_lines(vm: Machine, *, everything: bool = False) -> Sequence[str]:
    """Return the lines of ``info migrate`` (spec monitor.md section 3, QEMU 10.0 and 11.1).

    With ``everything``, the globals are among them in every release.
    """
    info = vm.query_migrate()
    short = vm.release.has(ALL_SINCE)
    lines = _globals(vm) if everything or not short else []
    reasons = cast("Sequence[str]", info.get("blocked-reasons", ()))
    if reasons:
        lines.append("Outgoing migration blocked:")
        lines.extend(f"  {reason}" for reason in reasons)
    status = info.get("status")
    if status is None:
        return lines
    if short:
        return [*lines, *_grouped(info)]
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


def _grouped(info: Mapping[str, object]) -> Iterator[str]:
    """Return the lines about a migration as they are grouped since 10.1."""
    status, reason = info["status"], info.get("error-desc")
    yield f"Status: \t\t{status}{f' ({reason})' if status == 'failed' and reason else ''}"
    times = [f"total={info.get('total-time', 0)}"]
    for label, member in (
        ("setup", "setup-time"),
        ("exp_down", "expected-downtime"),
        ("down", "downtime"),
    ):
        if member in info:
            times.append(f"{label}={info[member]}")
    yield f"Time (ms): \t\t{', '.join(times)}"
    ram = info.get("ram")
    if isinstance(ram, dict):
        yield "RAM info:"
        yield f"  Throughput (Mbps): \t{ram['mbps']:.2f}"
        sizes = f"pagesize={_size(ram['page-size'])}, total={_size(ram['total'])}"
        yield f"  Sizes: \t\t{sizes}"
        sent = f"transferred={_size(ram['transferred'])}, remain={_size(ram['remaining'])}"
        yield f"  Transfers: \t\t{sent}"
        channels = (
            f"precopy={_size(ram['precopy-bytes'])}, multifd={_size(ram['multifd-bytes'])},"
            f" postcopy={_size(ram['postcopy-bytes'])}"
        )
        yield f"    Channels: \t\t{channels}"
        yield f"    Page Types: \tnormal={ram['normal']}, zero={ram['duplicate']}"
        yield f"  Page Rates (pps): \ttransfer={ram['pages-per-second']}"
        yield f"  Others: \t\tdirty_syncs={ram['dirty-sync-count']}"


def _size(size_bytes: int) -> str:
    """Return a size for people: ``4 KiB``, ``1.5 MiB``."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}"


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
