"""A case of the ladder as a value, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .pair import Pair

Play = Callable[[Pair], None]


@dataclass(frozen=True)
class Case:
    """One case of spec frontend.md section 11.

    Attributes:
        name: path of the case, as the table there has it.
        level: rung of the ladder.
        play: does it; fails with CaseFailed.
        suspends: the guest falls asleep after its first ``B``.
        slow: takes minutes, because it waits for passes at a low bandwidth.
    """

    name: str
    level: int
    play: Play
    suspends: bool = False
    slow: bool = False


CASES: dict[str, Case] = {}


def case(
    name: str, level: int, *, suspends: bool = False, slow: bool = False
) -> Callable[[Play], Play]:
    """Register a function as a case."""

    def register(play: Play) -> Play:
        CASES[name] = Case(name, level, play, suspends=suspends, slow=slow)
        return play

    return register
