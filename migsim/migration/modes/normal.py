"""Mode ``normal``: copy RAM while the guest runs, stop it for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...qapi.enums import MigMode
from .base import ModePolicy

if TYPE_CHECKING:
    from ...qapi.release import Release


class Normal(ModePolicy):
    """Any host may load; the guest stops at switchover."""

    mode = MigMode.NORMAL

    def stops_first(self, release: Release) -> bool:
        """Never: the guest runs until what is left fits into the downtime limit."""
        return False
