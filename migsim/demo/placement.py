"""Where guest RAM is put on the host, and how the second window finds it again."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from ..host import MOUNTS, Host, RamKind
from ..ram.backends import BackendKind, BackendSpec
from .scenario import RAM_ID

if TYPE_CHECKING:
    from ..ram.backends import MemoryBackend
    from .scenario import Scenario

SESSION = "guest-ram"
"""Name of the session that keeps a preserved memfd."""


_MOUNT_OF = {kind: mount for mount, kind in MOUNTS.items()}


class Placement(Protocol):
    """Guest RAM in one kind of memory."""

    def before(self) -> BackendSpec:
        """Return the backend of the first window."""
        ...

    def prepare(self, backend: MemoryBackend) -> str | None:
        """Do what the host has to do before the first window quits; say it in words."""
        ...

    def after(self) -> BackendSpec:
        """Return the backend of the second window, after the reboot."""
        ...


class Fixed:
    """The same backend both times: a named file, or memory that is gone with its process."""

    def __init__(self, spec: BackendSpec) -> None:
        self._spec = spec

    def before(self) -> BackendSpec:
        """Return the backend of the first window."""
        return self._spec

    def prepare(self, backend: MemoryBackend) -> str | None:
        """Do nothing."""
        return None

    def after(self) -> BackendSpec:
        """Return the backend of the second window."""
        return self._spec


class Preserved:
    """A memfd of an agent on the host, which lets the kernel preserve it over the kexec."""

    def __init__(self, scenario: Scenario, host: Host, cleanup: ExitStack) -> None:
        self._size_bytes = scenario.ram_bytes
        self._host = host
        self._fd = os.memfd_create(RAM_ID, os.MFD_CLOEXEC)
        cleanup.callback(os.close, self._fd)

    def before(self) -> BackendSpec:
        """Return the backend of the first window."""
        return self._by_path(f"/proc/self/fd/{self._fd}")

    def prepare(self, backend: MemoryBackend) -> str | None:
        """Put the memfd into a session."""
        self._host.luo_preserve(SESSION, backend)
        return f"live update orchestrator: memfd preserved in session {SESSION}"

    def after(self) -> BackendSpec:
        """Return the backend of the second window."""
        return self._by_path(str(self._host.luo_retrieve(SESSION)))

    def _by_path(self, path: str) -> BackendSpec:
        return BackendSpec(BackendKind.FILE, RAM_ID, self._size_bytes, path, share=True)


def place(scenario: Scenario, host: Host, cleanup: ExitStack) -> Placement:
    """Return the placement for the scenario's kind of RAM; ``cleanup`` closes what it holds.

    A named file is mapped shared, so that ``x-ignore-shared`` leaves it where it is; memory without
    a name is copied whatever the capability says (spec modes.md section 2, QEMU 10.0).
    """
    kind, size = scenario.ram_kind, scenario.ram_bytes
    if kind is RamKind.MEMFD_LUO:
        return Preserved(scenario, host, cleanup)
    if kind is RamKind.ANONYMOUS:
        return Fixed(scenario.private_memory())
    if kind is RamKind.MEMFD:
        return Fixed(BackendSpec(BackendKind.MEMFD, RAM_ID, size, share=True))
    path = host.path(_MOUNT_OF[kind], RAM_ID)
    return Fixed(BackendSpec(BackendKind.FILE, RAM_ID, size, str(path), share=True))
