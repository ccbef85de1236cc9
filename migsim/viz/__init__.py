"""Pictures of results, drawn with matplotlib (extra ``viz``).

Every function returns a ``matplotlib.figure.Figure`` and touches no global state, so that a
notebook can go on from there.
"""

from __future__ import annotations

from ..extras import require

require("viz")

from .figure import write_figure  # noqa: E402 - the sentence about the extra comes first
from .walkthrough import draw_walkthrough  # noqa: E402

__all__ = ["draw_walkthrough", "write_figure"]
