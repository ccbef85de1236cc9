"""Command lines given to a real QEMU: does it start, which RAM does it have, what blocks it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest
from cmdlines import furnish, recorded, started

from migsim.cmdline.parse import parse
from migsim.errors import MigsimError

pytestmark = pytest.mark.live

EVERY_LINE = bool(os.environ.get("MIGSIM_EVERY_LINE"))
LINES = recorded()[:: 1 if EVERY_LINE else 6]
QEMU = "qemu-system-x86_64 -nodefaults -no-user-config -display none -qmp stdio"
QUIT = b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
MODES = ("normal", "cpr-reboot", "cpr-transfer")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def status_of_qemu(text: str) -> int:
    """Return the exit status of a QEMU that is told to quit as soon as it listens."""
    argv = [*QEMU.split(), *shlex.split(text)]
    done = subprocess.run(argv, input=QUIT, capture_output=True, timeout=60, check=False)
    return done.returncode


def status_of_migsim(text: str) -> int:
    """Return the exit status with which a start by these words ends."""
    try:
        if parse(shlex.split(text)).info is not None:
            return 0
        with started(f"-nodefaults {text}") as vm:
            return 0 if vm.exited is None else vm.exited.status
    except MigsimError:
        return 1


@pytest.mark.parametrize("text", [t for _, t in LINES], ids=[t[:60] for _, t in LINES])
def test_both_start_or_neither(text, folder):
    if "kvm" in text and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("KVM cannot be used here")
    wanted = status_of_qemu(text)
    for path in folder.iterdir():  # what QEMU wrote must not count
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    furnish(folder)
    assert status_of_migsim(text) == wanted


MACHINES = """
-machine none -m 16M
-machine none -m 1K
-machine none,memory-backend=r -object memory-backend-memfd,id=r,size=16M
-machine none,memory-backend=r -object memory-backend-file,id=r,size=16M,mem-path=m,share=on
-machine none,memory-backend=r -object memory-backend-file,id=r,size=16M,mem-path=m
-machine none,memory-backend=r -object memory-backend-ram,id=r,size=16M,share=on
-machine none -m 16M -mem-path .
-machine none,aux-ram-share=on -m 16M
-machine pc -m 32M
-machine pc,aux-ram-share=on -m 32M
-machine q35,acpi=off -m 32M
-machine microvm -m 32M
-machine microvm,acpi=off -m 32M
-machine q35,aux-ram-share=on,memory-backend=r -object memory-backend-memfd,id=r,size=32M
-machine pc-q35-3.1,memory-backend=r -object memory-backend-memfd,id=r,size=32M
-machine pc-q35-4.0,memory-backend=r -object memory-backend-memfd,id=r,size=32M
-machine pc-i440fx-3.1,memory-backend=r -object memory-backend-ram,id=r,size=32M
-machine q35 -m 32M -numa node,memdev=r -numa node,memdev=s -object memory-backend-ram,id=r,size=16M -object memory-backend-ram,id=s,size=16M,share=on
-machine pc -m 32M -vga std
-machine pc -m 32M -vga cirrus
-machine pc -m 32M -vga vmware
-machine q35 -m 32M -vga virtio -device virtio-rng-pci
-machine q35 -m 32M -device e1000e -device rtl8139 -device virtio-net-pci
-machine q35 -m 32M -device virtio-net-pci,rombar=0 -device virtio-net-pci,romfile=
-machine q35 -m 32M -device VGA,vgamem_mb=32
-machine pc -m 32M -device pci-bridge,chassis_nr=1,id=b -device e1000,bus=b
-machine q35 -m 32M -device pcie-root-port,id=b -device e1000e,bus=b
-machine q35 -m 32M,slots=2,maxmem=1G -object memory-backend-ram,id=m,size=128M -device pc-dimm,memdev=m
-machine q35 -m 32M -object memory-backend-ram,id=m,size=1M,share=on -device ivshmem-plain,memdev=m,master=on
-machine q35 -m 32M -object memory-backend-ram,id=m,size=1M,share=on -device ivshmem-plain,memdev=m
-machine none -m 16M -drive file=vmdk.img,if=none -drive file=vdi.img,if=none -drive file=qcow.img,if=none -drive file=vhdx.img,if=none -drive file=parallels.img,if=none -drive file=vpc.img,if=none,format=vpc -drive file=qcow2.img,if=none -drive file=qed.img,if=none
-machine none -m 16M -drive file=fat:rw:d,if=none,format=raw
-machine none -m 16M -drive file=fat:d,if=none,format=raw
-machine none -m 16M -chardev qemu-vdagent,id=c -drive file=vmdk.img,if=none -blockdev driver=vdi,node-name=v,file.driver=file,file.filename=vdi.img
-machine q35 -m 32M -drive file=raw.img,if=none,id=d0,format=raw -device nvme,serial=x,drive=d0
-machine pc -m 32M -device qemu-xhci,id=x -device usb-mtp,id=m,rootdir=/tmp -device usb-uas
-machine q35 -m 32M -device rocker -device ufs -device amd-iommu
-machine q35 -m 32M -device qemu-xhci -device usb-wacom-tablet -device usb-net -device usb-audio,audiodev=a -audiodev none,id=a -chardev null,id=c -device usb-serial,chardev=c
-machine q35 -m 32M -device virtio-sound-pci,audiodev=a -audiodev none,id=a -object cryptodev-backend-builtin,id=c -device virtio-crypto-pci,cryptodev=c
-machine q35 -m 32M -usb -device usb-wacom-tablet
-machine pc -m 32M -usb -device usb-wacom-tablet -device usb-wacom-tablet
-machine q35 -m 32M -device pcie-root-port,id=p -device nvme,serial=x,bus=p
-machine q35 -m 32M -fsdev local,id=f,path=.,security_model=none -device virtio-9p-pci,fsdev=f,mount_tag=t
-machine microvm,usb=on -m 32M -device usb-wacom-tablet
""".strip().splitlines()  # noqa: E501


@pytest.mark.parametrize("text", MACHINES, ids=[text[9:70] for text in MACHINES])
def test_ram_blocks_and_reasons_are_the_same(text, folder, qemu):
    with started(f"-nodefaults {text}") as vm:
        blocks = [(b.name, b.used_bytes, b.max_bytes) for b in vm.ram]
        reasons = [reasons_of(vm.qmp, mode) for mode in MODES]
    for path in folder.glob("m"):
        path.unlink()
    real = qemu(*shlex.split(text))
    assert blocks == blocks_of(real)
    for mine, mode in zip(reasons, MODES, strict=True):
        theirs = reasons_of(
            lambda command, values=None: {"return": real(command, **values or {})}, mode
        )
        assert len(mine) == len(theirs), mode
        assert devices(mine) == devices(theirs), mode


def reasons_of(qmp, mode):
    """Return what blocks a migration in ``mode``."""
    qmp("migrate-set-parameters", {"mode": mode})
    return qmp("query-migrate")["return"].get("blocked-reasons", [])


def devices(reasons):
    """Return the reasons that name a device by its section."""
    return [reason for reason in reasons if reason.startswith("non-migratable device: ")]


def blocks_of(qemu):
    """Return names and sizes of the RAM blocks that have a name."""
    table = qemu("human-monitor-command", **{"command-line": "info ramblock"})
    rows = [line.split() for line in table.splitlines()[1:]]
    return [(row[0], int(row[4], 16), int(row[5], 16)) for row in rows if len(row) == 8]
