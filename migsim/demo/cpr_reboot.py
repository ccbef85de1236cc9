"""The live update of October 2023, walked through: save, reboot the host, load, go on.

Two windows on one simulated host.  In the first a guest runs, is saved with mode ``cpr-reboot``
and quits; the host boots another kernel; in the second the same command line with ``-incoming
defer`` loads the guest, which goes on where it stopped.  The files are real, the state files are
streams that a real QEMU 10.0 loads, and time is virtual.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..blockers.catalogue import blocking
from ..clock import VirtualClock
from ..host import Host, Loss
from ..qapi.enums import MigMode
from ..ram.backends import RamBackend
from ..ram.block import RAMBlock
from ..units import format_size
from ..vm import VM
from .placement import place
from .result import Check, LineKind, Save, Voice, Walkthrough
from .saving import choose_mode, load, save, save_aside
from .scenario import RAM_ID, Scenario, command_line
from .transcript import Transcript, Window

if TYPE_CHECKING:
    from ..ram.backends import BackendSpec

MODE = MigMode.CPR_REBOOT
PROGRAM = "qemu-system-x86_64 -nodefaults -no-user-config -display none -monitor stdio"
STATE_FILE = "vm.state"
LOG_FILE = "window-1.log"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a guest is, at one moment, to compare it with another moment.

    Attributes:
        ram_sha256: of the RAM.
        last_number: the highest number that the guest has counted to in its RAM.
        clock_ps: the guest's clock, in picoseconds.
        runs: whether it runs, or ran before migration stopped it.
    """

    ram_sha256: str
    last_number: int
    clock_ps: int
    runs: str

    @classmethod
    def of(cls, vm: VM, runs: str) -> Snapshot:
        """Return the snapshot of this moment."""
        view = vm.ram[RAM_ID].view()
        last = int(view.view("<u8")[:, 0].max())
        return cls(hashlib.sha256(view.data).hexdigest(), last, vm.guest.time_ps, runs)


def walk_cpr_reboot(root: Path, scenario: Scenario | None = None) -> Walkthrough:
    """Walk through a live update in the directory ``root``, and save the same guest in other ways.

    ``root`` becomes the root of a simulated host; what lies in its mounts at the end is what a
    real host would have there.

    Raises:
        ConfigError: ``root`` cannot be used for a host.
        ChannelError: a state file cannot be written or read.
    """
    scenario = scenario or Scenario()
    with ExitStack() as cleanup:
        walk = _Walk(root, scenario, cleanup)
        before = walk.first_window()
        walk.reboot()
        window, after = walk.second_window(before)
        checks = _checks(before, after, window, scenario)
        window.look()
    others = [MigMode.NORMAL, MODE] if walk.saved.in_place else [MigMode.NORMAL]
    aside = (save_aside(scenario, mode, walk.host.path("disk", f"{mode}.state")) for mode in others)
    return Walkthrough(
        scenario=scenario,
        lines=tuple(walk.transcript.lines),
        spans=(*walk.windows[0].spans, *walk.windows[1].spans),
        reboot_s=walk.reboot_s,
        losses=tuple(walk.transcript.view(str(loss)) for loss in walk.host.lost),
        saves=(walk.saved, *aside),
        blocking={mode: blocking(mode) for mode in (MigMode.NORMAL, MODE)},
        checks=checks,
    )


class _Walk:
    """The story, chapter by chapter."""

    saved: Save
    reboot_s: tuple[float, float]

    def __init__(self, root: Path, scenario: Scenario, cleanup: ExitStack) -> None:
        self.scenario = scenario
        self.clock = VirtualClock()
        self.host = cleanup.enter_context(Host(root, self.clock))
        self.transcript = Transcript(self.clock, root)
        self.windows: list[Window] = []
        self._cleanup = cleanup
        self._placement = place(scenario, self.host, cleanup)
        self._state = self.host.path("disk", STATE_FILE)
        self._ram_path: Path | None = None

    def first_window(self) -> Snapshot:
        """A guest runs, is saved, and its process quits."""
        window = self._open(Voice.WINDOW_1, self._placement.before(), incoming=False)
        vm = window.vm
        pages_per_s = self.scenario.rate_pages_per_s
        window.note(f"the guest boots and counts: {pages_per_s:,.0f} page writes a second")
        window.advance(self.scenario.boot_s)
        window.type("info status")
        choose_mode(window, MODE, ignore_shared=True)
        runs = vm.run.state.value
        meter = save(window, self._state)
        self.saved = meter.result(self._state)
        window.type("info status")
        snapshot = Snapshot.of(vm, runs)
        done = self._placement.prepare(vm.ram[RAM_ID].backend)
        if done:
            self._tell(LineKind.NOTE, done)
        window.type("quit")
        self._tell_losses(self.host.exited(vm))
        return snapshot

    def reboot(self) -> None:
        """The host boots another kernel: what was there is there, or not."""
        log = self.host.path("shm", LOG_FILE)
        log.write_text("".join(f"{line.text}\n" for line in self.transcript.lines))
        begin_s = self.clock.now
        self._tell(LineKind.REBOOT, "kexec: every process ends, another kernel boots")
        losses = self.host.kexec()
        self.clock.sleep(self.scenario.reboot_s)
        self.reboot_s = (begin_s, self.clock.now)
        self._tell(LineKind.NOTE, f"kernel number {self.host.boots} is up")
        for path in (self._ram_path, self._state):
            if path is not None and path.exists():
                self._tell(LineKind.KEPT, self._describe(path))
        if self.host.luo_sessions:
            size = format_size(self.scenario.ram_bytes)
            self._tell(LineKind.KEPT, f"memfd of the guest's RAM (memfd-luo, {size})")
        self._tell_losses(losses)

    def second_window(self, before: Snapshot) -> tuple[Window, Snapshot]:
        """The same command line waits, loads, and the guest goes on."""
        window = self._open(Voice.WINDOW_2, self._placement.after(), incoming=True)
        window.type("info status")
        choose_mode(window, MODE, ignore_shared=True)
        load_s = load(window, self._state)
        snapshot = Snapshot.of(window.vm, window.vm.run.state.value)
        self.saved = replace(self.saved, load_s=load_s, equal=snapshot == before)
        window.type("info status")
        window.advance(self.scenario.after_s)
        return window, snapshot

    def _open(self, voice: Voice, memory: BackendSpec, *, incoming: bool) -> Window:
        config = self.scenario.config(memory, incoming=incoming)
        vm = self._cleanup.enter_context(VM(config, clock=self.clock))
        self.host.attach(vm, "qemu", [block.backend for block in vm.ram])
        path = memory.mem_path
        if path is not None and path.startswith("/proc/"):
            self.transcript.show(path, "/proc/self/fd/N")
        elif path is not None:
            self._ram_path = Path(path)
        options = command_line(memory, incoming=incoming)
        pairs = [" ".join(options[at : at + 2]) for at in range(0, len(options), 2)]
        window = Window(vm, voice, self.transcript, [PROGRAM, *pairs])
        self.windows.append(window)
        return window

    def _describe(self, path: Path) -> str:
        kind = self.host.kind_at(path)
        return f"{path} ({kind}, {format_size(path.stat().st_size)})"

    def _tell(self, kind: LineKind, text: str) -> None:
        self.transcript.add(Voice.HOST, kind, text)

    def _tell_losses(self, losses: tuple[Loss, ...]) -> None:
        for loss in losses:
            text = f"{loss.what} ({loss.kind}, {format_size(loss.size_bytes)})"
            self._tell(LineKind.LOST, text)


def _checks(
    before: Snapshot, after: Snapshot, window: Window, scenario: Scenario
) -> tuple[Check, ...]:
    """Compare the guest after the resume with before the save, and later with a luckier twin."""
    pairs = (
        ("RAM (SHA-256)", before.ram_sha256[:16], after.ram_sha256[:16]),
        ("last number in RAM", f"{before.last_number}", f"{after.last_number}"),
        ("guest clock (timer)", _seconds(before.clock_ps), _seconds(after.clock_ps)),
        ("run state (globalstate)", before.runs, after.runs),
    )
    same = [Check(what, old, new, old == new) for what, old, new in pairs]
    return (*same, _goes_on(window.vm, scenario))


def _seconds(picoseconds: int) -> str:
    whole, fraction = divmod(picoseconds, 10**12)
    return f"{whole}.{fraction:012} s"


def _goes_on(vm: VM, scenario: Scenario) -> Check:
    """Compare with a guest that did the same number of writes and was never stopped."""
    workload = scenario.workload()
    with RamBackend(RAM_ID, scenario.ram_bytes) as backend:
        block = RAMBlock(RAM_ID, backend)
        workload.write(block, vm.guest.writes)
        equal = np.array_equal(block.view(), vm.ram[RAM_ID].view())
    writes = f"{vm.guest.writes} writes"
    found = f"{writes}, RAM {'equal' if equal else 'differs'}"
    return Check("a guest that was never stopped", f"{writes}, RAM equal", found, equal)
