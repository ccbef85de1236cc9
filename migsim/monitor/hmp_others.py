"""Commands of the human monitor that are not about migration: what a client of one may meet.

Only the kind of what they print is kept: nothing, a line that begins with ``Error:``, or another
text (seen on QEMU 10.0.2 with a machine without devices).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ..errors import StateError

if TYPE_CHECKING:
    from ..machine.machine import Machine

_SILENT: Final = (
    # Names, least and most words.
    ("announce_self one-insn-per-tb", 0, 1),
    ("delvm", 1, 1),
    ("log commit watchdog_action mouse_button sendkey stopcapture", 1, 2),
    ("mouse_move", 2, 3),
    ("cancel_vcpu_dirty_limit", 0, 1),
    ("calc_dirty_rate", 1, 2),
    ("sync-profile", 0, 1),
    ("o", 2, 4),
    ("mce", 6, 7),
)
_FAILING: Final = (
    # Why, names, least and most words.
    ("drives take no snapshots here", "savevm", 0, 1),
    ("there is no such snapshot", "loadvm", 1, 1),
    (
        "there is nothing of this name",
        "balloon ringbuf_write object_del netdev_del eject block_resize block_job_cancel"
        " block_job_pause block_job_resume block_job_complete snapshot_blkdev getfd closefd"
        " chardev-remove chardev-send-break set_link qom-list qom-get qom-set change drive_mirror"
        " drive_backup nbd_server_add nbd_server_remove block_stream pcie_aer_inject_error"
        " client_migrate_info expire_password set_password ringbuf_read",
        0,
        9,
    ),
    ("not modelled", "device_add object_add netdev_add chardev-add nbd_server_start", 0, 9),
    ("there is none", "nbd_server_stop nmi exit_preconfig xen-event-list xen-event-inject", 0, 9),
    ("there is no dirty ring", "set_vcpu_dirty_limit", 1, 2),
)
_SILENT_TOPICS: Final = (
    "block blockstats cpus cryptodev history iothreads irq memory-devices network pci pic roms"
    " stats tpm"
)
_FAILING_TOPICS: Final = (
    "balloon hotpluggable-cpus rocker rocker-of-dpa-flows rocker-of-dpa-groups rocker-ports usb"
    " vm-generation-id"
)

OtherHandler = Callable[["Machine", frozenset[str], Sequence[str]], Sequence[str]]


def silent(_vm: Machine, _flags: frozenset[str], _words: Sequence[str]) -> Sequence[str]:
    """Print nothing."""
    return ()


def failing(name: str, why: str) -> OtherHandler:
    """Return what prints one line with an error."""

    def handler(_vm: Machine, _flags: frozenset[str], _words: Sequence[str]) -> Sequence[str]:
        raise StateError(name, "refused", hint=why)

    return handler


def _rows() -> Mapping[str, tuple[OtherHandler, int, int]]:
    rows: dict[str, tuple[OtherHandler, int, int]] = {}
    for names, least, most in _SILENT:
        rows |= dict.fromkeys(names.split(), (silent, least, most))
    for why, names, least, most in _FAILING:
        rows |= {name: (failing(name, why), least, most) for name in names.split()}
    return rows


OTHER_COMMANDS: Final = _rows()
"""Handler, least and most words by name."""


def _topic(name: str) -> Callable[[Machine], Sequence[str]]:
    def topic(_vm: Machine) -> Sequence[str]:
        raise StateError(f"info {name}", "refused", hint="there is no such device")

    return topic


OTHER_TOPICS: Final[Mapping[str, Callable[[Machine], Sequence[str]]]] = {
    **dict.fromkeys(_SILENT_TOPICS.split(), lambda _vm: ()),
    **{name: _topic(name) for name in _FAILING_TOPICS.split()},
}
"""What ``info`` prints about what there is not."""
