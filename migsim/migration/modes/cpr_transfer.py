"""Mode ``cpr-transfer``: hand RAM to a second process on the same host as descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...qapi.enums import MigMode
from .base import ModePolicy

if TYPE_CHECKING:
    from ...qapi.release import Release
    from ...ram.block import RAMBlock


class CprTransfer(ModePolicy):
    """Nothing is copied: the new process maps the same memory (spec modes.md section 2)."""

    mode = MigMode.CPR_TRANSFER

    def stops_first(self, release: Release) -> bool:
        """Always, but not before the target has hung up the cpr channel."""
        return True

    def copies(self, block: RAMBlock, *, ignore_shared: bool) -> bool:
        """Never; the blocks are announced all the same."""
        return False
