"""Devices whose state cannot be saved (spec blockers.md section 5, QEMU 10.0.2).

The flag is part of the description of the device state; it knows no modes.  A row says nothing
about when a device came to QEMU, only that it blocks wherever it is.
"""

from __future__ import annotations

from typing import Final

from .rows import BlockerRow, Kind, Moment, Scope

_SEEN: Final = (
    ("nvme", "NVMe controller", "hw/nvme/ctrl.c"),
    ("ufs", "UFS controller", "hw/ufs/ufs.c"),
    ("rocker", "rocker switch", "hw/net/rocker/rocker.c"),
    ("amd-iommu", "AMD IOMMU", "hw/i386/amd_iommu.c"),
    ("virtio-sound", "virtio-sound device", "hw/audio/virtio-snd.c"),
    ("virtio-crypto", "virtio-crypto device", "hw/virtio/virtio-crypto.c"),
    ("usb-mtp", "USB MTP device", "hw/usb/dev-mtp.c"),
    ("usb-audio", "USB audio device", "hw/usb/dev-audio.c"),
    ("usb-uas", "USB attached SCSI device", "hw/usb/dev-uas.c"),
    ("usb-serial", "USB serial adapter", "hw/usb/dev-serial.c"),
    ("usb-net", "USB network adapter", "hw/usb/dev-network.c"),
    ("usb-wacom-tablet", "USB Wacom tablet", "hw/usb/dev-wacom.c"),
)
_READ: Final = (
    *(
        (f"vhost-user-{name}", f"vhost-user-{name} device", f"hw/virtio/vhost-user-{name}.c")
        for name in ("device", "input", "scmi", "gpio", "vsock", "rng", "snd", "i2c")
    ),
    ("vhost-vdpa-device", "generic vhost-vdpa device", "hw/virtio/vdpa-dev.c"),
    ("virtio-input-host", "virtio-input host device", "hw/input/virtio-input-host.c"),
    ("hyperv-syndbg", "Hyper-V synthetic debugger", "hw/hyperv/syndbg.c"),
    ("xen-xenstore", "Xen xenstore under KVM", "hw/i386/kvm/xen_xenstore.c"),
    ("riscv-iommu-pci", "RISC-V IOMMU (PCI)", "hw/riscv/riscv-iommu-pci.c"),
    ("vfio-platform", "vfio platform device", "hw/vfio/platform.c"),
    ("vfio-ap", "vfio AP device", "hw/vfio/ap.c"),
    ("vfio-ccw", "vfio CCW device", "hw/vfio/ccw.c"),
    ("vfio-amd-xgbe", "vfio AMD XGBE device", "hw/vfio/amd-xgbe.c"),
    ("vfio-calxeda", "vfio Calxeda device", "hw/vfio/calxeda-xgmac.c"),
    ("s390-pci-host", "s390 PCI host", "hw/s390x/s390-pci-bus.c"),
    ("s390-3270", "3270 terminal", "hw/char/terminal3270.c"),
    ("next-kbd", "NeXT keyboard", "hw/m68k/next-kbd.c"),
    ("sh4-cpu", "SH4 processor", "target/sh4/cpu.c"),
    ("xtensa-cpu", "Xtensa processor", "target/xtensa/cpu.c"),
)
# Blocks in 10.0.2, does not in 11.1.3; which release between the two freed it was not tried.
_GONE: Final = {"nvme": "11.1"}


def _row(feature: str, title: str, source: str, seen: bool) -> BlockerRow:
    always = ("8.2", Scope.EVERY_MODE)
    gone = _GONE.get(feature)
    return BlockerRow(
        feature,
        title,
        Moment.CREATION,
        "the device is created",
        "remove the device from the machine",
        source,
        (always, (gone, Scope.NOTHING)) if gone else (always,),
        kind=Kind.DEVICE,
        seen=seen,
        note="seen in 10.0.2 and gone in 11.1.3; the releases in between were not tried"
        if gone
        else "",
    )


DEVICE_ROWS: Final = (
    *(_row(*columns, seen=True) for columns in _SEEN),
    *(_row(*columns, seen=False) for columns in _READ),
)
"""Every device flagged as not migratable."""


def section_name(name: str, bus_path: str = "") -> str:
    """Return how reasons name a device: ``<bus path>/<name>``, or ``name`` without a bus path.

    Examples (seen): ``0000:00:01.0/nvme``, ``0000:00:01.0/1/usb-mtp``, ``amd-iommu``.
    """
    return f"{bus_path}/{name}" if bus_path else name
