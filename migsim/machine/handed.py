"""Memory that one process hands to another: which blocks can be, and as which descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ram.backends import BackendKind

if TYPE_CHECKING:
    from ..ram.block import RAMList


def handed_over(ram: RAMList) -> dict[str, int]:
    """Return the descriptors of all memory that has no name in the file system, by block name.

    Memory in a file is not among them: the new process opens the file (seen on QEMU 10.0.2).
    """
    kinds = (BackendKind.MEMFD, BackendKind.RAM)
    return {
        block.name: block.backend.fileno()
        for block in ram
        if block.backend.kind in kinds and block.backend.share
    }
