"""Mode ``cpr-reboot``: stop, save to a file, restart the host, load on the same host."""

from __future__ import annotations

from ...qapi.enums import MigMode
from ...qapi.release import Release
from .base import ModePolicy

EARLY_STOP_SINCE = Release.parse("9.0")
"""The release in which the guest began to be stopped first (spec modes.md section 8)."""


class CprReboot(ModePolicy):
    """RAM that outlives the host stays where it is, if ``x-ignore-shared`` says so.

    Nothing forces shared RAM: private RAM is copied after the stop, and downtime is then nearly
    the whole time of the save (spec modes.md section 2).
    """

    mode = MigMode.CPR_REBOOT

    def stops_first(self, release: Release) -> bool:
        """Since 9.0; 8.2, as the series was merged, iterated with the guest running."""
        return release >= EARLY_STOP_SINCE
