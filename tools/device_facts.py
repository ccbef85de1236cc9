"""Record the device state of real machines with a QEMU binary; write migsim/boards/data/*.zip.

Usage: python tools/device_facts.py [qemu-system-x86_64]

Machines are started stopped and saved to a file; what is kept are names, versions, layouts (the
description at the end of a stream) and power-on values.  A setting is recorded once on its own, and
kept as the difference that it makes.  Run it again for another release of QEMU.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migsim.channel.file import FileInput
from migsim.cmdline.facts import device as device_facts
from migsim.cmdline.facts import device_names
from migsim.stream.items import DeviceSection
from migsim.stream.reader import StreamReader

DATA = Path(__file__).parent.parent / "migsim" / "boards" / "data" / "devices-10.0.zip"
OPTIONS = ["-no-user-config", "-display", "none", "-S", "-qmp", "stdio"]
MEMORY = ["-m", "32M"]
MACHINES = [(m, a) for m in ("none", "microvm", "pc", "q35") for a in ("tcg", "kvm")]
PC = ("pc", "q35")
ALL = ("microvm", *PC)
DEFAULTS = "!"
"""In front of the words of a setting: without ``-nodefaults``."""
SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    # Name, the machines that know it, and the words that ask for it.
    "smp": (ALL, "-smp 2"),
    "defaults": (PC, f"{DEFAULTS} -vga none -net none -serial none -parallel none"),
    "slirp": (ALL, "-netdev user,id=n0"),
    **{f"serial{n}": (PC, "-serial null " * (n + 1)) for n in range(4)},
    "serial0-microvm": (("microvm",), "-serial null"),
    **{f"parallel{n}": (PC, "-parallel null " * (n + 1)) for n in range(3)},
    **{f"vga-{k}": (PC, f"-vga {k}") for k in ("std", "cirrus", "vmware", "virtio")},
    "usb": (PC, "-machine usb=on"),
    **{f"{p}-off": (PC, f"-machine {p}=off") for p in ("acpi", "hpet", "vmport", "smm", "pit")},
    **{f"{p}-off": (PC, f"-machine {p}=off") for p in ("i8042", "smbus", "sata", "pic")},
    "fd-bootchk-off": (PC, "-machine fd-bootchk=off"),
    **{f"{p}-off": (("microvm",), f"-machine {p}=off") for p in ("pit", "pic", "rtc")},
    "acpi-off-microvm": (("microvm",), "-machine acpi=off"),
    "pcie-on": (("microvm",), "-machine pcie=on"),
    "rtc-on": (("microvm",), "-machine rtc=on"),
    "usb-microvm": (("microvm",), "-machine usb=on"),
    "isa-serial-off": (("microvm",), "-machine isa-serial=off"),
    "ioapic2-off": (("microvm",), "-machine ioapic2=off"),
    "split": (ALL, "-machine kernel-irqchip=split"),
    "irqchip-off": (ALL, "-machine kernel-irqchip=off"),
    "iommu-intel": (("q35",), "-device intel-iommu"),
    "iommu-amd": (("q35",), "-device amd-iommu"),
}
HELPERS = {
    # What a device on a bus needs before it.
    "usb-bus": "-device qemu-xhci,id=host",
    "SCSI": "-device virtio-scsi-pci,id=host",
    "HDA": "-device intel-hda,id=host",
    "virtio-serial-bus": "-device virtio-serial-pci,id=host",
    "ccid-bus": "-device qemu-xhci,id=x -device usb-ccid,id=host",
    "sd-bus": "-device sdhci-pci,id=host",
    "IndustryPack": "-device tpci200,id=host",
}
PORT = "-device pcie-root-port,id=upper,chassis=1"
"""A PCI Express port: devices behind it have more state than on a root bus."""
BACKENDS = {
    "drive": "-blockdev null-co,node-name=back",
    "chardev": "-chardev null,id=back",
    "rng": "-object rng-builtin,id=back",
    "memdev": "-object memory-backend-ram,id=back,size=16M",
    "cryptodev": "-object cryptodev-backend-builtin,id=back",
    "audiodev": "-audiodev none,id=back",
    "fsdev": "-fsdev local,id=back,path=/tmp,security_model=none",
}
NEEDS = {
    **dict.fromkeys(("virtio-9p-pci", "virtio-9p-device"), ("fsdev", "mount_tag=t")),
    "acpi-erst": ("memdev",),
    **dict.fromkeys(("ivshmem-plain", "virtio-mem-pci", "virtio-pmem-pci", "pc-dimm"), ("memdev",)),
    **dict.fromkeys(("virtio-crypto-pci", "virtio-crypto-device"), ("cryptodev",)),
    **dict.fromkeys(("nvme", "ufs"), ("serial=s",)),
    "sd-card": ("drive",),
    "emmc": ("drive",),
    "edu": (),
}
RTC_NOISE = [*range(0x0E), *range(128, 245)]
"""Bytes of the clock's section that tell the time; the rest is its memory."""
PATH = (
    re.compile(r"^(0000:00:0[0-9]\.0(?::00\.0)?|virtio-mmio@[0-9a-f]+)(?=/)"),
    re.compile(r"^0000:00:0[0-9]\.0/1(?=/)"),
)
"""The path of a device in the names of its sections; the second for devices on a USB bus."""
WAITING = ("ivshmem-doorbell", "vhost-user-vsock-device")
"""Devices that wait for a server."""
LIMIT_S = 5.0
"""A machine that takes longer waits for something."""


@dataclass(frozen=True)
class Section:
    """One section of a recording."""

    name: str
    instance: int
    version: int
    number: int
    place: int
    body: bytes
    entry: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        """Name and instance."""
        return self.name, self.instance


class Recorder:
    """Starts machines and reads what they save."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._path = folder / "state"

    def sections(self, words: str) -> list[Section] | None:
        """Return the sections of a machine with these options, or None if it cannot be saved."""
        self._path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [self._program, *OPTIONS, *words.split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            if not self._save(process):
                return None
        except BrokenPipeError:
            return None
        finally:
            limit.cancel()
            process.kill()
            process.wait()
        found = []
        for item in StreamReader(FileInput(self._path, 0)):
            if isinstance(item, DeviceSection):
                row = (item.name, item.instance_id, item.version, item.section_id, len(found))
                found.append(Section(*row, item.body, dict(item.entry or {})))
        return found

    def _save(self, process: subprocess.Popen[str]) -> bool:
        def say(command: str, **arguments: object) -> Any:  # noqa: ANN401
            line = json.dumps({"execute": command, "arguments": arguments})
            process.stdin.write(line + "\n")
            process.stdin.flush()
            while line := process.stdout.readline():
                reply = json.loads(line)
                if "return" in reply or "error" in reply:
                    return reply.get("return")
            return None

        if not process.stdout.readline():
            return False
        say("qmp_capabilities")
        say("migrate-set-parameters", **{"max-bandwidth": 0})
        if say("migrate", uri=f"file:{self._path}") is None:
            return False
        while (status := say("query-migrate")) is not None:
            if status.get("status") in ("completed", "failed"):
                return bool(status["status"] == "completed")
        return False


class Archive:
    """States by content; rows refer to them by number."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.members: list[tuple[str, bytes]] = []

    def keep(self, kind: str, content: bytes) -> int:
        """Keep ``content`` once; return its number."""
        digest = hashlib.sha256(kind.encode() + content).digest()
        if digest not in self._numbers:
            self._numbers[digest] = len(self.members)
            self.members.append((f"{kind}/{len(self.members)}", content))
        return self._numbers[digest]

    def state(self, section: Section, path: str = "") -> list[int]:
        """Return the numbers of description and bytes."""
        entry = {k: v for k, v in section.entry.items() if k not in ("name", "instance_id")}
        text = json.dumps(entry, separators=(",", ":")).encode()
        return [self.keep("entry", text), self.keep("body", section.body)]


def base_rows(sections: list[Section], archive: Archive) -> list[list[object]]:
    """Return rows of name, instance, version, section number, description and bytes."""
    rows: list[list[object]] = []
    for one in sections:
        rows.append([one.name, one.instance, one.version, one.number, *archive.state(one)])
    return rows


def patches(old: bytes, new: bytes, ignored: list[int]) -> dict[str, str]:
    """Return the bytes that differ, as hex by offset."""
    places = [i for i in range(len(old)) if old[i] != new[i] and i not in ignored]
    found: dict[str, str] = {}
    start = -2
    for place in places:
        if found and place == start + len(found[str(start)]) // 2:
            found[str(start)] += f"{new[place]:02x}"
        else:
            start = place
            found[str(start)] = f"{new[place]:02x}"
    return found


def difference(base: list[Section], new: list[Section], archive: Archive) -> dict[str, object]:
    """Return what a setting changes: sections added (behind which), gone, replaced, patched."""
    before = {s.key: s for s in base}
    after = {s.key for s in new}
    made: dict[str, object] = {}
    added, replaced, patched = [], [], []
    by_number = sorted(new, key=lambda s: s.number)
    for one in sorted(new, key=lambda s: s.place):
        early = any(o.number < one.number and o.place > one.place for o in new)
        old = before.get(one.key)
        if old is None:
            index = by_number.index(one)
            behind = by_number[index - 1].key if index else ("", 0)
            row = [*behind, one.name, one.instance, one.version, int(early), *archive.state(one)]
            added.append(row)
        elif old.entry != one.entry or old.version != one.version:
            replaced.append([one.name, one.instance, one.version, *archive.state(one)])
        elif old.body != one.body:
            change = patches(old.body, one.body, RTC_NOISE if one.name == "mc146818rtc" else [])
            if change:
                patched.append([one.name, one.instance, change])
    gone = [list(key) for key in before if key not in after]
    for name, rows in (
        ("added", added),
        ("gone", gone),
        ("replaced", replaced),
        ("patched", patched),
    ):
        if rows:
            made[name] = rows
    return made


def device_words(name: str, bus: str, machine: str) -> str:
    """Return the options that plug a device in."""
    facts = device_facts(name)
    needs = NEEDS.get(name)
    properties = facts.properties or {} if facts else {}
    if needs is None:
        needs = tuple(p for p in ("drive", "chardev", "audiodev") if p in properties)
    backends = " ".join(BACKENDS[n] for n in needs if n in BACKENDS)
    links = "".join(f",{n}=back" if n in BACKENDS else f",{n}" for n in needs)
    helper = f"{PORT} " if machine == "port" else HELPERS.get(bus, "")
    on = ",bus=upper" if machine == "port" else ""
    return f"{backends} {helper} -device {name},id=it{links}{on}"


def record_devices(recorder: Recorder, archive: Archive) -> dict[str, dict[str, object]]:
    """Return rows per device model and machine, for those that bring sections."""
    found: dict[str, dict[str, object]] = {}
    for machine in ("q35", "pc", "port", "microvm"):
        words = f"-nodefaults -machine {machine.replace('port', 'q35')},accel=tcg -m 32M "
        bases: dict[str, set[tuple[str, int]]] = {}
        for name in device_names():
            facts = device_facts(name)
            assert facts is not None
            if not worth_recording(machine, name, facts.bus):
                continue
            helper = PORT if machine == "port" else HELPERS.get(facts.bus, "")
            if helper not in bases:
                bases[helper] = {s.key for s in recorder.sections(words + helper) or []}
            new = recorder.sections(words + device_words(name, facts.bus, machine))
            rows = [
                [
                    PATH[facts.bus == "usb-bus"].sub("{}", one.name),
                    one.version,
                    int(any(o.number < one.number and o.place > one.place for o in new or [])),
                    *archive.state(one),
                ]
                for one in new or []
                if one.key not in bases[helper]
            ]
            if rows:
                found.setdefault(name, {})[machine] = rows
    for by_machine in found.values():
        for other in ("pc", "port"):
            if by_machine.get(other) == by_machine.get("q35"):
                by_machine.pop(other, None)
    return found


def worth_recording(machine: str, name: str, bus: str) -> bool:
    """Return whether a machine shows something of a device that no other one does."""
    if name in WAITING or (bus == "virtio-bus") != (machine == "microvm"):
        return False
    return not ((machine == "pc" and bus in HELPERS) or (machine == "port" and bus != "PCI"))


def record(program: str) -> None:
    """Record everything."""
    archive = Archive()
    index: dict[str, Any] = {"machines": {}, "settings": {}}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        recorder = Recorder(program, Path(folder))
        version = subprocess.check_output([program, "--version"], text=True)
        index["source"] = " ".join(version.split()[:4])
        for machine, accelerator in MACHINES:
            words = f"-nodefaults -machine {machine},accel={accelerator} "
            words += "" if machine == "none" else " ".join(MEMORY) + " "
            base = recorder.sections(words)
            assert base, words
            name = f"{machine}-{accelerator}"
            index["machines"][name] = base_rows(base, archive)
            rows = index["settings"].setdefault(name, {})
            for setting, (machines, more) in SETTINGS.items():
                if machine not in machines:
                    continue
                plain = words.replace("-nodefaults ", "") if DEFAULTS in more else words
                new = recorder.sections(plain + more.replace(DEFAULTS, ""))
                change = difference(base, new, archive) if new is not None else None
                if change:
                    rows[setting] = change
        index["devices"] = record_devices(recorder, archive)
        dump = Path(folder) / "dump"
        subprocess.run(
            [program, *OPTIONS[:3], "-machine", "none", "-dump-vmstate", str(dump)], check=True
        )
        dumped = json.dumps(json.loads(dump.read_text()), separators=(",", ":")).encode()
    DATA.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(DATA, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        members = [
            ("index.json", json.dumps(index, separators=(",", ":")).encode()),
            ("dump-vmstate.json", dumped),
            *archive.members,
        ]
        for name, content in members:
            out.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
    print(f"{DATA}: {len(archive.members)} states, {os.path.getsize(DATA)} bytes")


if __name__ == "__main__":
    record(sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64")
