"""Text on a terminal: colours where there is one, plain text where the output is piped."""

from __future__ import annotations

from rich.console import Console

PIPED_COLUMNS = 100


def output() -> Console:
    """Return the console for results; as wide as the terminal, or 100 columns in a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_COLUMNS)
    return console
