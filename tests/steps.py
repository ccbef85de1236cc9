"""How many steps the rule-based machines of a run have made, by machine."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings

taken: Counter[str] = Counter()


def counted(machine) -> None:
    """Count one step of ``machine``; called by an invariant, so once after every rule."""
    taken[type(machine).__name__] += 1


def happened(machine, what: str) -> None:
    """Count ``what``: a machine to which it never happens checks nothing about it."""
    taken[f"{type(machine).__name__}: {what}"] += 1


def sized(ci: int, steps: int) -> settings:
    """Return settings for a machine: ``ci`` runs of ``steps`` rules, many more in a long run."""
    often = settings.default.max_examples // 50
    return settings(max_examples=ci * often, stateful_step_count=steps)
