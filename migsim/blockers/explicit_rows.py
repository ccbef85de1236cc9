"""Features that register a reason of their own (spec blockers.md section 3, QEMU 10.0.2)."""

from __future__ import annotations

from typing import Final

from .rows import BlockerRow, FreeRow, Kind, Moment, Scope

_OPEN = "the image is opened: also read-only, as a backing file, or without a device on top"
_CLOSE = "close the image, convert it to qcow2 or raw, or choose a cpr mode"
_RELAXED = (("8.2", Scope.NORMAL_ONLY),)
_VFIO = (("8.2", Scope.EVERY_MODE), ("9.0", Scope.NORMAL_ONLY))
_RAM = (("10.0", Scope.TRANSFER_ONLY),)
_TAKEN_BACK = "relaxed in the first posting, taken back before the series was merged"


def _image(feature: str, title: str) -> BlockerRow:
    """Return the row of an image format that keeps metadata in memory while it is open."""
    return BlockerRow(
        feature,
        f"{title} image",
        Moment.CREATION,
        _OPEN,
        _CLOSE,
        f"block/{feature}.c",
        _RELAXED,
        Scope.NORMAL_ONLY,
        seen=True,
    )


def _fixed(
    feature: str, title: str, when: str, lift: str, source: str, *, seen: bool = False
) -> BlockerRow:
    """Return the row of something that exists from creation on and blocked every mode always."""
    return BlockerRow(feature, title, Moment.CREATION, when, lift, source, seen=seen)


IMAGE_ROWS: Final = (
    _image("vmdk", "vmdk"),
    _image("vdi", "vdi"),
    _image("vpc", "vpc (VHD)"),
    _image("vhdx", "vhdx"),
    _image("qcow", "qcow (version 1)"),
    _image("parallels", "parallels"),
    BlockerRow(
        "vvfat",
        "writable vvfat directory",
        Moment.CREATION,
        "fat:rw: is opened; its hidden qcow overlay is a second reason, registered before it",
        "open the directory read-only, close it, or choose a cpr mode",
        "block/vvfat.c",
        _RELAXED,
        Scope.NORMAL_ONLY,
        seen=True,
        note="in a cpr mode nothing blocks, but the migration fails at switchover, because the"
        " image cannot be put to rest; the guest goes on",
    ),
)
"""Image formats that cannot be open in two processes."""

HOST_DEVICE_ROWS: Final = (
    BlockerRow(
        "vhost",
        "vhost backend",
        Moment.CREATION,
        "the backend offers no dirty log, or the memory of the log cannot be shared",
        "use a backend with a dirty log, switch vhost off, or choose a cpr mode",
        "hw/virtio/vhost.c",
        _RELAXED,
        Scope.NORMAL_ONLY,
    ),
    BlockerRow(
        "vhost-scsi",
        "vhost-scsi device",
        Moment.CREATION,
        "the device is created with property migratable off",
        "set migratable=on where the storage is shared, unplug it, or choose a cpr mode",
        "hw/scsi/vhost-scsi.c",
        _RELAXED,
        Scope.NORMAL_ONLY,
    ),
    BlockerRow(
        "vfio",
        "vfio device",
        Moment.CREATION,
        "migration is off, not supported by the device or failed to initialise, dirty pages cannot"
        " be tracked (auto), or the device is behind a virtual IOMMU",
        "unplug the device, use one that can migrate, or choose a cpr mode",
        "hw/vfio/migration.c",
        _VFIO,
        note="mode cpr-reboot wants the guest suspended first: a notifier vetoes otherwise"
        " (spec modes.md section 5)",
    ),
    BlockerRow(
        "vfio-multiple",
        "second vfio device without peer-to-peer support",
        Moment.CREATION,
        "more than one vfio device and one of them has no P2P migration state",
        "keep one such device only, or choose a cpr mode",
        "hw/vfio/common.c",
        _VFIO,
    ),
    BlockerRow(
        "9p",
        "9p export",
        Moment.GUEST,
        "the guest mounts the export; one that is merely configured does not block",
        "unmount it in the guest, which clunks the root",
        "hw/9pfs/9p.c",
        posted=Scope.NORMAL_ONLY,
        note=_TAKEN_BACK + "; unmounted seen to be free, mounted read from source",
    ),
    BlockerRow(
        "tpm-emulator",
        "TPM emulator",
        Moment.CREATION,
        "the emulator lacks the commands to get and set its state, or to stop",
        "use an emulator that can hand over its state, or remove the TPM",
        "backends/tpm/tpm_emulator.c",
        posted=Scope.NORMAL_ONLY,
        note=_TAKEN_BACK,
    ),
    _fixed(
        "ivshmem",
        "ivshmem device that is not master",
        "property master is off; auto, the default, counts as off on ivshmem-plain, and as on only"
        " for peer id 0 on ivshmem-doorbell",
        "set master=on on one side, or unplug the device",
        "hw/misc/ivshmem-pci.c",
        seen=True,
    ),
    _fixed(
        "virtio-gpu-virgl",
        "virtio-gpu with virgl",
        "a GL variant of the device is created",
        "use a variant without GL",
        "hw/display/virtio-gpu-base.c",
    ),
    BlockerRow(
        "vdagent",
        "qemu-vdagent character device",
        Moment.CREATION,
        "the character device is opened",
        "remove the character device",
        "ui/vdagent.c",
        (("8.2", Scope.EVERY_MODE), ("11.1", Scope.NOTHING)),
        seen=True,
        note="seen in 10.0.2 and gone in 11.1.3; the releases in between were not tried",
    ),
    _fixed(
        "pci-proxy",
        "multi-process PCI proxy",
        "the device is created",
        "unplug the device",
        "hw/remote/proxy.c",
    ),
)
"""Devices and their backends on the host."""

RAM_ROWS: Final = (
    BlockerRow(
        "ram-block",
        "RAM block that cannot be handed over in place",
        Moment.CREATION,
        "a migratable block (not of a ROM or RAM device) without a descriptor or not shared; one"
        " reason a block, in the order in which the blocks are registered",
        "use a shared backend with a descriptor (share=on), and aux-ram-share=on for the blocks"
        " that belong to the machine",
        "system/physmem.c",
        _RAM,
        Scope.NOTHING,
        safe=Scope.IN_PLACE_ONLY,
        seen=True,
        note="in mode cpr-exec 11.1.3 registers nothing and loses the guest (spec cpr-exec.md);"
        " the safe profile blocks that mode too",
    ),
    BlockerRow(
        "guest-memfd",
        "private guest memory",
        Moment.CREATION,
        "the block has guest_memfd memory and is not a reason already",
        "run the guest without private memory, or choose another mode",
        "system/physmem.c",
        _RAM,
        Scope.NOTHING,
        safe=Scope.IN_PLACE_ONLY,
    ),
)
"""Memory that would not outlive the process."""

ACCELERATOR_ROWS: Final = (
    BlockerRow(
        "nvmm",
        "NVMM accelerator",
        Moment.CREATION,
        "the first virtual processor is created",
        "use another accelerator",
        "target/i386/nvmm/nvmm-all.c",
        posted=Scope.NORMAL_ONLY,
        note=_TAKEN_BACK,
    ),
    _fixed(
        "whpx",
        "WHPX accelerator",
        "the accelerator is initialised",
        "use another accelerator",
        "target/i386/whpx/whpx-all.c",
    ),
    _fixed(
        "invtsc-kvm",
        "invariant TSC under KVM",
        "the processor flag is on (invtsc, or migratable=off) and no tsc-frequency is given",
        "give tsc-frequency, or drop the flag",
        "target/i386/kvm/kvm.c",
        seen=True,
    ),
    _fixed(
        "invtsc-hvf",
        "invariant TSC under HVF",
        "the processor flag is on",
        "drop the flag",
        "target/i386/hvf/hvf.c",
    ),
    _fixed(
        "hv-passthrough",
        "Hyper-V passthrough",
        "hv-passthrough is on and the host kernel has Hyper-V support",
        "name the Hyper-V features one by one",
        "target/i386/kvm/kvm.c",
    ),
    _fixed(
        "hv-no-nonarch-coresharing",
        "Hyper-V no-nonarch-coresharing=auto",
        "the flag is auto and the host kernel has Hyper-V support",
        "set the flag to on or off",
        "target/i386/kvm/kvm.c",
    ),
    BlockerRow(
        "sev",
        "SEV or SEV-SNP encrypted memory",
        Moment.CREATION,
        "the launch of the guest is finished",
        "run the guest without memory encryption",
        "target/i386/sev.c",
    ),
    BlockerRow(
        "tcg-plugin-time",
        "TCG plugin that controls time",
        Moment.CREATION,
        "a plugin asks for control over virtual time",
        "run without the plugin",
        "plugins/api-system.c",
    ),
    _fixed(
        "kvm-gic",
        "KVM interrupt controller (vGICv2, vGICv3, ITS) without save support",
        "the device is created and the host kernel cannot save its state",
        "use a host kernel that can, or the emulated controller",
        "hw/intc/arm_gic*_kvm.c",
    ),
    BlockerRow(
        "arm-mte",
        "Arm memory tagging under KVM",
        Moment.CREATION,
        "the feature is switched on for the first time",
        "run the guest without memory tagging",
        "target/arm/kvm.c",
    ),
    BlockerRow(
        "s390-protected",
        "s390 protected virtual machine",
        Moment.GUEST,
        "the guest enters protected mode",
        "leave protected mode",
        "hw/s390x/s390-virtio-ccw.c",
    ),
    _fixed(
        "ppc-pef",
        "POWER protected execution facility",
        "the facility is initialised",
        "run the guest without it",
        "hw/ppc/pef.c",
    ),
    BlockerRow(
        "ppc-machine-check",
        "POWER machine check in progress",
        Moment.GUEST,
        "from a firmware-assisted machine check until the guest acknowledges it",
        "wait for the guest to acknowledge it",
        "hw/ppc/spapr_events.c",
        note="a refusal of the blocker is ignored",
    ),
)
"""Accelerators, processors and confidential guests."""

COMMAND_ROWS: Final = (
    BlockerRow(
        "memory-dump",
        "guest memory dump",
        Moment.COMMAND,
        "from the acceptance of dump-guest-memory to its end, detached or not",
        "wait for the end of the dump",
        "dump/dump.c",
        kind=Kind.INTERNAL,
        seen=True,
    ),
)
"""Monitor commands that exclude migration for a while."""

EXPLICIT_ROWS: Final = (
    *IMAGE_ROWS,
    *HOST_DEVICE_ROWS,
    *RAM_ROWS,
    *ACCELERATOR_ROWS,
    *COMMAND_ROWS,
)
"""Every feature that registers a reason of its own."""

FREE_ROWS: Final = (
    FreeRow("raw", "raw image", "seen, normal and cpr-reboot completed"),
    FreeRow("qcow2", "qcow2 image", "seen, normal and cpr-reboot completed"),
    FreeRow("qed", "qed image", "seen, normal and cpr-reboot completed"),
    FreeRow("vvfat-read-only", "read-only vvfat directory", "seen, normal and cpr-reboot"),
    FreeRow("nvdimm", "nvdimm on a shared file", "seen"),
    FreeRow("9p-unmounted", "9p export that no guest has mounted", "seen; for mounting see row 9p"),
    FreeRow(
        "virtiofs",
        "virtiofs (vhost-user-fs)",
        "not among the vhost-user devices flagged in 10.0 (spec blockers.md section 5); saving"
        " fails, once it has begun, if the back end cannot hand over its own state"
        " (hw/virtio/vhost-user-fs.c)",
    ),
)
"""What does not block, for those who ask (spec blockers.md section 3, QEMU 10.0.2)."""
