"""Every option of ``qemu-system-x86_64`` 10.0 as a row: its argument, and what migsim does with it.

The names are those of QEMU 10.0.2.  A row that is not modelled says why it is harmless, or what
it would change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ..errors import ConfigError
from .text import shorten


class Handling(StrEnum):
    """What migsim does with an option."""

    MODELLED = "modelled"
    """It has the effect that it has in QEMU, as far as migration can tell."""
    HARMLESS = "harmless"
    """Accepted with a warning: it cannot change the outcome of a migration."""
    REFUSED = "refused"
    """The machine is not started: it would change the outcome and is not modelled."""
    ABSENT = "absent"
    """QEMU itself refuses it for x86."""


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One option.

    Attributes:
        name: without dashes.
        argument: whether a word follows that belongs to it.
        handling: what migsim does with it.
        note: why it is harmless, or what it would change.
    """

    name: str
    argument: bool
    handling: Handling
    note: str = ""


def _rows(handling: Handling, note: str, names: str, flags: str = "") -> Iterable[OptionRow]:
    """Return the rows of options with an argument (``names``) and without (``flags``)."""
    for name in names.split():
        yield OptionRow(name, True, handling, note)
    for name in flags.split():
        yield OptionRow(name, False, handling, note)


_MODELLED: Final = _rows(
    Handling.MODELLED,
    "",
    "machine M cpu accel smp numa m mem-path object device global set"
    " drive blockdev hda hdb hdc hdd fda fdb cdrom sd mtdblock virtfs vga usbdevice"
    " chardev mon monitor qmp qmp-pretty serial parallel debugcon qtest qtest-log add-fd"
    " incoming name uuid display action watchdog-action loadvm dump-vmstate pidfile",
    "h help version S preconfig only-migratable nodefaults no-user-config no-shutdown no-reboot"
    " enable-kvm mem-prealloc snapshot usb nographic daemonize",
)
_HARMLESS: Final = (
    *_rows(
        Handling.HARMLESS,
        "only the host side of a device, which carries no state of the guest",
        "netdev fsdev audio audiodev iscsi tpmdev",
    ),
    *_rows(Handling.HARMLESS, "it shows the guest to people", "k vnc spice", "full-screen"),
    *_rows(
        Handling.HARMLESS,
        "it only concerns what firmware and guest do, and no real guest runs here",
        "boot rtc smbios acpitable fw_cfg",
        "win2k-hack no-fd-bootchk",
    ),
    *_rows(
        Handling.HARMLESS,
        "it watches or confines the process",
        "d D dfilter trace gdb msg echr sandbox overcommit run-with compat seed L xen-domid",
        "s enable-sync-profile perfmap jitdump",
    ),
)
_REFUSED: Final = (
    *_rows(
        Handling.REFUSED,
        "it adds RAM blocks of its own, or changes their sizes",
        "bios pflash kernel initrd append dtb shim option-rom",
    ),
    *_rows(Handling.REFUSED, "it adds a device; use -netdev and -device", "nic net"),
    *_rows(Handling.REFUSED, "it changes how time passes for the guest", "icount"),
    *_rows(Handling.REFUSED, "it may take control over time, and so block migration", "plugin"),
    *_rows(Handling.REFUSED, "it holds further options; write them out", "readconfig"),
)
_ABSENT: Final = _rows(
    Handling.ABSENT,
    "QEMU has it for other targets only",
    "g prom-env semihosting-config",
    "semihosting old-param xen-attach xen-domid-restrict",
)

OPTIONS: Final[Mapping[str, OptionRow]] = MappingProxyType(
    {row.name: row for row in (*_MODELLED, *_HARMLESS, *_REFUSED, *_ABSENT)}
)
"""Every option by name."""


def find_option(word: str) -> OptionRow:
    """Return the row of the option that ``word`` names, with one dash or two in front.

    Raises:
        ConfigError: there is no such option; the text suggests near names.
    """
    name = word.removeprefix("-").removeprefix("-")
    row = OPTIONS.get(name)
    if row is not None:
        return row
    near = get_close_matches(name[:40], OPTIONS, n=3)
    hint = f"; near names: {', '.join('-' + n for n in near)}" if near else ""
    raise ConfigError(f"option {shorten(word)}", f"there is no such option{hint}")
