"""QMP commands whose answer never changes here, because nothing that they are about exists.

The answers are those of a real process without such devices (QEMU 10.0.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .errors import QmpError
from .schema import Arguments, Command, fixed

if TYPE_CHECKING:
    from ..machine.machine import Machine

_EMPTY_LISTS: Final = (
    "query-acpi-ospm-status query-audiodevs query-block query-block-exports query-block-jobs"
    " query-blockstats query-chardev query-cpus-fast query-cryptodev query-hotpluggable-cpus"
    " query-iothreads query-memory-devices query-mice query-named-block-nodes query-pci"
    " query-pr-managers query-rx-filter query-tpm query-vcpu-dirty-limit query-vnc-servers"
)
_DONE: Final = (
    # Commands that change nothing that migration or a client could see.
    "announce-self cancel-vcpu-dirty-limit display-reload inject-nmi"
    " rtc-reset-reinjection send-key set-action watchdog-set-action blockdev-set-active"
)
_RECORDS: Final = {
    "query-colo-status": {"mode": "none", "last-mode": "none", "reason": "none"},
    "query-current-machine": {"wakeup-suspend-support": True},
    "query-display-options": {"type": "none"},
    "query-dump": {"status": "none", "completed": 0, "total": 0},
    "query-dump-guest-memory-capability": {"formats": ["elf", "kdump-zlib"]},
    "query-kvm": {"enabled": False, "present": True},
    "query-replay": {"mode": "none", "icount": 0},
    "query-sev": {
        "enabled": False,
        "api-major": 0,
        "api-minor": 0,
        "build-id": 0,
        "state": "uninit",
        "sev-type": "sev",
        "policy": 0,
        "handle": 0,
    },
    "query-spice": {"enabled": False, "migrated": False, "mouse-mode": "client"},
    "query-target": {"arch": "x86_64"},
    "query-vnc": {"enabled": False},
    "query-xen-replication-status": {"error": False},
    "x-debug-query-block-graph": {"nodes": [], "edges": []},
    "x-query-interrupt-controllers": {"human-readable-text": ""},
    "x-query-irq": {"human-readable-text": ""},
    "x-query-jit": {"human-readable-text": ""},
    "x-query-numa": {"human-readable-text": "0 nodes\n"},
    "x-query-opcount": {"human-readable-text": ""},
    "x-query-roms": {"human-readable-text": ""},
}


def _transaction(_vm: Machine, arguments: Arguments) -> object:
    if arguments["actions"]:
        raise QmpError("transaction: drives are known by their formats alone")
    return {}


def _ramblock(vm: Machine, _arguments: Arguments) -> object:
    rows = [f"{'Block Name':>24}  {'PSize':>8}  {'Used':>18}  {'Total':>18}"]
    rows += [
        f"{one.name:>24}  {'4 KiB':>8}  {one.used_bytes:#018x}  {one.max_bytes:#018x}"
        for one in vm.ram
    ]
    return {"human-readable-text": "\n".join(rows) + "\n"}


QUIET_COMMANDS: Final = (
    *(fixed(name, [], "Empty: there is none of these.") for name in _EMPTY_LISTS.split()),
    *(fixed(name, {}, "Accepted; it changes nothing here.") for name in _DONE.split()),
    *(fixed(name, value, "Always the same here.") for name, value in _RECORDS.items()),
    Command("transaction", _transaction, "Refused, unless there is nothing to do."),
    Command("x-query-ramblock", _ramblock, "List the RAM blocks."),
)
"""The commands of this module."""
