"""For tests of programs that drive QEMU: machines behind QMP sockets, in a process of their own."""

from __future__ import annotations

from .process import MachineProcess, QmpClient, QmpFailed

__all__ = ["MachineProcess", "QmpClient", "QmpFailed"]
