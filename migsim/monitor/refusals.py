"""Commands that are known, with checked arguments, and always refused.

What they are about is not modelled.

The classes of the errors are those of a real process in which nothing has the name that was given
(seen on QEMU 10.0.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from .errors import DEVICE_NOT_ACTIVE, DEVICE_NOT_FOUND
from .schema import refused

if TYPE_CHECKING:
    from .schema import Command

_ROWS: Final = (
    # Why, class of the error, names.
    (
        "there is no such block job",
        DEVICE_NOT_ACTIVE,
        "block-job-cancel block-job-change block-job-complete block-job-dismiss block-job-finalize"
        " block-job-pause block-job-resume block-job-set-speed",
    ),
    ("there is no balloon device", DEVICE_NOT_ACTIVE, "balloon query-balloon"),
    (
        "drives are known by their formats alone, not by their content",
        DEVICE_NOT_FOUND,
        "block-commit block-latency-histogram-set blockdev-insert-medium blockdev-remove-medium",
    ),
    (
        "drives are known by their formats alone, not by their content",
        None,
        "block-dirty-bitmap-add block-dirty-bitmap-clear block-dirty-bitmap-disable"
        " block-dirty-bitmap-enable block-dirty-bitmap-merge block-dirty-bitmap-remove"
        " block-export-add block-export-del block-set-write-threshold block-stream block_resize"
        " block_set_io_throttle blockdev-backup blockdev-change-medium blockdev-close-tray"
        " blockdev-create blockdev-mirror blockdev-open-tray blockdev-reopen blockdev-snapshot"
        " blockdev-snapshot-delete-internal-sync blockdev-snapshot-internal-sync"
        " blockdev-snapshot-sync change-backing-file drive-backup drive-mirror eject"
        " nbd-server-add nbd-server-remove nbd-server-start nbd-server-stop x-blockdev-amend"
        " x-blockdev-change x-blockdev-set-iothread x-debug-block-dirty-bitmap-sha256",
    ),
    ("there is no such network backend", DEVICE_NOT_FOUND, "set_link"),
    (
        "character devices come from the command line",
        None,
        "chardev-change chardev-send-break ringbuf-read ringbuf-write add_client",
    ),
    (
        "there is no display",
        None,
        "change-vnc-password client_migrate_info display-update expire_password screendump"
        " set_password input-send-event",
    ),
    (
        "there is no CXL device",
        None,
        "cxl-add-dynamic-capacity cxl-inject-correctable-error cxl-inject-dram-event"
        " cxl-inject-general-media-event cxl-inject-memory-module-event cxl-inject-poison"
        " cxl-inject-uncorrectable-errors cxl-release-dynamic-capacity",
    ),
    (
        "there is no such device",
        None,
        "device-sync-config query-rocker query-rocker-of-dpa-flows query-rocker-of-dpa-groups"
        " query-rocker-ports query-hv-balloon-status-report query-vm-generation-id query-sgx"
        " query-sgx-capabilities query-sev-attestation-report query-sev-capabilities"
        " query-sev-launch-measure sev-inject-launch-secret x-query-virtio"
        " x-query-virtio-queue-element x-query-virtio-queue-status x-query-virtio-status"
        " x-query-virtio-vhost-queue-status x-query-usb",
    ),
    (
        "the guest is synthetic, and not looked into",
        None,
        "dump-guest-memory dumpdtb memsave pmemsave request-ebpf",
    ),
    ("nothing is recorded or replayed", None, "replay-break replay-delete-break replay-seek"),
    (
        "permitted only before the machine has been created",
        None,
        "set-numa-node x-exit-preconfig",
    ),
    (
        "limits of dirty rates need a dirty ring, which is not modelled",
        None,
        "set-vcpu-dirty-limit",
    ),
    ("there is no such event", None, "trace-event-get-state trace-event-set-state"),
    (
        "COLO and Xen are not modelled",
        None,
        "x-colo-lost-heartbeat xen-colo-do-checkpoint xen-event-inject xen-event-list"
        " xen-load-devices-state xen-save-devices-state xen-set-global-dirty-log"
        " xen-set-replication",
    ),
)


def _commands() -> Iterable[Command]:
    for why, qmp_class, names in _ROWS:
        for name in names.split():
            yield refused(name, why, qmp_class)


REFUSED_COMMANDS: Final = tuple(_commands())
"""The commands of this module."""
