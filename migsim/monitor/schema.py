"""Commands: what answers them.  What they take and return is in the `vocabulary`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .errors import QmpError
from .typecheck import check
from .vocabulary import vocabulary

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from ..qapi.release import Release

Arguments: TypeAlias = Mapping[str, object]
Handler: TypeAlias = "Callable[[Machine, Arguments], object]"


@dataclass(frozen=True, slots=True)
class Command:
    """One QMP command.

    Attributes:
        name: as QMP spells it; its arguments are those of that name in the vocabulary.
        handler: called with the machine and checked arguments; returns what QMP returns.
        doc: one line.
        more: whether members that the vocabulary does not name are passed on.
        own_check: whether the handler checks its arguments itself.
        modelled: whether there is more than a check of arguments and a refusal.
    """

    name: str
    handler: Handler
    doc: str
    more: bool = False
    own_check: bool = False
    modelled: bool = True

    def check(self, arguments: Arguments, release: Release) -> None:
        """Refuse wrong types, unknown and missing arguments.

        Raises:
            QmpError: class GenericError.
        """
        if self.own_check:
            return
        words = vocabulary(release)
        takes = words.commands[self.name].takes
        check(words, takes, arguments, self.name, more=self.more)


def refused(name: str, why: str, qmp_class: str | None = None) -> Command:
    """Return a command that checks its arguments and then always says why it does nothing.

    ``qmp_class`` is the class of the error, if it is not a GenericError.
    """

    def handler(_vm: Machine, _arguments: Arguments) -> object:
        raise QmpError(f"{name}: {why}", *([qmp_class] if qmp_class else []))

    return Command(name, handler, f"Refused: {why}.", modelled=False)


def fixed(name: str, value: object, doc: str) -> Command:
    """Return a command that always answers the same."""
    return Command(name, lambda _vm, _arguments: value, doc)
