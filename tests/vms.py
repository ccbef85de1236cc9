"""Machines for tests, and what must not change when a command is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from migsim.machine.config import MachineConfig, Profile
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

MIB = 1 << 20
PAGE = 4096
STRICT = Profile.STRICT
V8_2, V10_0, V11_1 = Release.V8_2, Release.V10_0, Release.V11_1


def ram(size=MIB, path=None, name="ram0", share=True):
    """Return anonymous memory, or a file where a path is given."""
    if path is None:
        return BackendSpec(BackendKind.RAM, name, size)
    return BackendSpec(BackendKind.FILE, name, size, mem_path=str(path), share=share)


def make(size=MIB, path=None, *, events=True, share=True, **config) -> VM:
    """Return a machine ``none`` with one RAM block ``ram0``, with events on."""
    config.setdefault("memory", ram(size, path, share=share) if size else None)
    vm = VM(MachineConfig(**config))
    if events:
        vm.set_capabilities([("events", True)])
    return vm


def waiting(size=MIB, path=None, **config) -> VM:
    """Return the same as a target that waits for ``migrate-incoming``."""
    return make(size, path, incoming="defer", **config)


def like(vm: VM, **changes) -> VM:
    """Return a waiting target that is built like ``vm`` but for ``changes``."""
    target = VM(replace(vm.config, **({"incoming": "defer"} | changes)))
    target.set_capabilities([("events", True)])
    return target


def fill(vm: VM, pages: int, value=1, name="ram0", first=0) -> None:
    """Fill some pages with a byte that is not zero."""
    vm.ram[name].view()[first : first + pages] = value


def fill_by_page_number(vm: VM, name="ram0") -> None:
    """Fill RAM with the pattern of the recorded streams (``pageno8``)."""
    words = vm.ram[name].view().view("<u8")
    numbers = np.arange(len(words), dtype="<u8")
    words[:] = np.where(numbers % 8 == 5, 0, numbers)[:, None]


def short(vm: VM, since=0) -> list[str]:
    """Return the events from number ``since`` on as short words: ``M setup``, ``P 1``, ``STOP``."""
    words = []
    for event in vm.events[since:]:
        match event.name:
            case "MIGRATION":
                words.append(f"M {event.data['status']}")
            case "MIGRATION_PASS":
                words.append(f"P {event.data['pass']}")
            case name:
                words.append(name)
    return words


def wait(vm: VM, *statuses: str, limit_s=3600.0) -> None:
    """Let time pass until the migration has one of ``statuses``."""
    vm.run_until(lambda: vm.query_migrate().get("status") in statuses, limit_s)


def finish(vm: VM) -> str:
    """Let a migration, either way, come to its end; return the status."""
    vm.run_until(lambda: not (vm.source.running or vm.incoming.running))
    return str(vm.query_migrate()["status"])


def save(vm: VM, path: Path) -> str:
    """Save to ``path`` and return its address; it must succeed."""
    vm.save(f"file:{path}")
    return f"file:{path}"


def set_mode(vm: VM, mode: str) -> None:
    """Set the migration mode."""
    vm.set_parameters({"mode": mode})


def put_into(vm: VM, state: str) -> None:
    """Bring a fresh machine into a run state that commands can bring about."""
    if vm.run.state == "prelaunch":  # it was started with -S
        if state == "prelaunch":
            return
        vm.cont()
    match state:
        case "paused":
            vm.stop()
        case "suspended":
            vm.suspend()
        case "paused-suspended":
            vm.suspend()
            vm.stop()
