"""One save or load by QEMU or by migsim, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.versus_qemu.ram import MIB
from migsim.testing.process import QmpClient

FORMS = {
    "plain": (),
    "mapped-ram": ("mapped-ram",),
    "mapped-ram+multifd": ("mapped-ram", "multifd"),
    "ignore-shared": ("x-ignore-shared",),
}


@dataclass(frozen=True)
class Took:
    """How long it took, and the most memory of the process at once (bytes; 0 when not known)."""

    seconds: float
    peak_rss: int = 0


class Qemu:
    """A QEMU of machine ``none`` whose RAM is the block ``ram0``."""

    def __init__(self, ram: Path, size_bytes: int, *more: str, prealloc: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="versus-")
        path = Path(self._folder.name) / "qmp"
        memory = f"memory-backend-file,id=ram0,size={size_bytes},mem-path={ram},share=on"
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
                *("-machine", "none,memory-backend=ram0", "-m", f"{size_bytes // MIB}M", "-S"),
                *("-object", f"{memory},prealloc={'on' if prealloc else 'off'}"),
                *("-qmp", f"unix:{path},server=on,wait=off", *more),
            ]
        )
        self.qmp: QmpClient | None = None
        try:
            self.qmp = self._connect(path)
        except BaseException:
            self.close()
            raise

    def _connect(self, path: Path) -> QmpClient:
        end = time.monotonic() + 60
        while True:
            try:
                return QmpClient(str(path), limit_s=120)
            except Exception:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.005)

    def set_up(self, form: str, mode: str) -> None:
        """Switch capabilities and parameters on."""
        switches = [{"capability": name, "state": True} for name in FORMS[form]]
        self.qmp.command("migrate-set-capabilities", capabilities=switches)
        self.qmp.command("migrate-set-parameters", max_bandwidth=0, mode=mode)

    def wait(self) -> None:
        """Wait for the end of a migration, which has to be a good one."""
        status = self.qmp.wait_migration("completed", "failed", limit_s=300)
        if status != "completed":
            raise RuntimeError(f"QEMU: {self.qmp.command('query-migrate')}")

    @property
    def peak_rss(self) -> int:
        """The most resident memory at once, bytes."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0

    def close(self) -> None:
        """End the process."""
        if self.qmp is not None:
            self.qmp.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def qemu_save(ram: Path, size: int, out: Path, form: str, *, mode="normal", prealloc=True) -> Took:
    """Save; the time is the total time that QEMU reports."""
    qemu = Qemu(ram, size, prealloc=prealloc)
    try:
        qemu.set_up(form, mode)
        qemu.qmp.command("migrate", uri=f"file:{out}")
        qemu.wait()
        took = qemu.qmp.command("query-migrate")["total-time"] / 1e3
        return Took(max(took, 1e-3), qemu.peak_rss)
    finally:
        qemu.close()


def qemu_load(source: Path, ram: Path, size: int, form: str, *, mode="normal") -> Took:
    """Load into a shared RAM file; the time is from the command until a poll sees the end."""
    qemu = Qemu(ram, size, "-incoming", "defer")
    try:
        qemu.set_up(form, mode)
        began = time.perf_counter()
        qemu.qmp.command("migrate-incoming", uri=f"file:{source}")
        qemu.wait()
        return Took(time.perf_counter() - began, qemu.peak_rss)
    finally:
        qemu.close()


def migsim(*words: object) -> Took:
    """Run ``migsim save`` or ``migsim load``; the time is the one that it reports."""
    argv = [sys.executable, "-m", "migsim", *(str(word) for word in words), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    facts = json.loads(done.stdout.splitlines()[-1])
    seconds = facts["save_s"] if words[0] == "save" else facts["load_s"]
    return Took(seconds, facts["peak_rss"])


def migsim_save(ram: Path, out: Path, form: str, *more: str, prealloc: bool = True) -> Took:
    """Save; with RAM in the page table before the time begins, as QEMU has it, if ``prealloc``."""
    words = ("--prealloc",) if prealloc else ()
    return migsim("save", "--ram", ram, "-o", out, "--format", form, *words, *more)
