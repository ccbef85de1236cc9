"""The releases from which the sending engine does things in another way (spec modes.md 8)."""

from __future__ import annotations

DEVICE_STATUS_SINCE = "10.0"
"""The release from which every migration passes through ``device`` (spec modes.md 8)."""
FAILING_SINCE = "11.0"
"""The release from which a failure is ``failing`` until everything is cleaned up."""
SUSPENDED_SINCE = "9.0"
"""The release from which a suspended guest stays suspended; before, switchover woke it up."""
EARLY_STOP_SINCE = "9.0"
"""The release from which strict profile finds the early stop by the mode of the moment."""
LOOP_COUNTS_SINCE = "11.1"
"""The release from which the loop, not every dirty sync, counts and reports passes.

The sync of setup is pass 1 without an event, the one of switchover is none; and the loop syncs
before every switchover, however short the migration (event order of 11.1.3).
"""
PACKAGE_STATUS_SINCE = "10.2"
"""The release from which a sent package is ``postcopy-device`` until the target has loaded it."""
RECOVER_SETUP_SINCE = "9.1"
"""The release from which a resume that is being connected has a status of its own."""
REMAINING_SINCE = "11.1"
"""The release from which ``query-migrate`` has a member ``remaining`` beside that of ``ram``."""
