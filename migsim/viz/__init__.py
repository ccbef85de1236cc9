"""Pictures of results, drawn with matplotlib (extra ``viz``).

Every function returns a ``matplotlib.figure.Figure`` and touches no global state, so that a
notebook can go on from there.
"""

from __future__ import annotations

from ..extras import require

require("viz")

from .blockers import draw_blockers  # noqa: E402 - the sentence about the extra comes first
from .figure import write_figure  # noqa: E402
from .heat import draw_heat  # noqa: E402
from .layout import draw_stream  # noqa: E402
from .migration import draw_migration  # noqa: E402
from .prediction import draw_compared, draw_downtime_parts  # noqa: E402
from .walkthrough import draw_walkthrough  # noqa: E402

__all__ = [
    "draw_blockers",
    "draw_compared",
    "draw_downtime_parts",
    "draw_heat",
    "draw_migration",
    "draw_stream",
    "draw_walkthrough",
    "write_figure",
]
