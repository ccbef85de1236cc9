"""Walk-throughs: whole stories on a simulated host, run in virtual time and told as values.

Nothing here prints or draws; ``migsim.cli`` and ``migsim.viz`` do, from the same result.
"""

from __future__ import annotations

from .cpr_reboot import walk_cpr_reboot
from .result import Check, Line, LineKind, Sample, Save, StateSpan, Voice, Walkthrough
from .scenario import Scenario

__all__ = [
    "Check",
    "Line",
    "LineKind",
    "Sample",
    "Save",
    "Scenario",
    "StateSpan",
    "Voice",
    "Walkthrough",
    "walk_cpr_reboot",
]
