"""The process around a machine: whether it lives, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import StateError


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a machine's process ended.

    Attributes:
        status: exit status, or None when a signal ended it.
        signal: name of that signal, or None.
        reason: why, in words.
    """

    status: int | None
    reason: str
    signal: str | None = None


class _Driver(Protocol):
    def catch_up(self) -> None: ...


class _Mortal(Protocol):
    exited: ProcessExit | None

    @property
    def driver(self) -> _Driver: ...


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=_Mortal)


def command(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make ``method`` a command: refused with `StateError` once the process has ended.

    It sees a guest that has run up to the moment of the command.
    """

    @wraps(method)
    def checked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.exited is not None:
            hint = f"the process has ended: {self.exited.reason}"
            raise StateError(method.__name__, "exited", hint=hint)
        self.driver.catch_up()
        return method(self, *args, **kwargs)

    return checked
