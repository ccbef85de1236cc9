"""Commands and their arguments as data: checking, documentation and dispatch come from the rows."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import QmpError

if TYPE_CHECKING:
    from ..machine.machine import Machine

Arguments = Mapping[str, object]
Handler = Callable[["Machine", Arguments], object]


class ArgType(enum.Enum):
    """JSON types of arguments, by the names QMP's own errors use."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    OBJECT = "object"
    ARRAY = "array"
    ANY = "any"

    def accepts(self, value: object) -> bool:
        """Return whether ``value``, as decoded from JSON, is of this type."""
        if self is ArgType.ANY:
            return True
        if self is ArgType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, _PYTHON_TYPES[self])


_PYTHON_TYPES: dict[ArgType, type] = {
    ArgType.STRING: str,
    ArgType.BOOLEAN: bool,
    ArgType.OBJECT: dict,
    ArgType.ARRAY: list,
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    name: str
    type: ArgType
    required: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One QMP command.

    Attributes:
        name: as QMP spells it.
        handler: called with the machine and checked arguments; returns what QMP returns.
        arguments: what it takes; None means that the handler checks them itself.
        doc: one line.
    """

    name: str
    handler: Handler
    doc: str
    arguments: tuple[Argument, ...] | None = ()

    def check(self, arguments: Arguments) -> None:
        """Refuse wrong types, unknown and missing arguments, in the order in which QMP does.

        Raises:
            QmpError: class GenericError.
        """
        if self.arguments is None:
            return
        for known in self.arguments:
            if known.name not in arguments:
                if known.required:
                    raise QmpError(f"{self.name}: argument '{known.name}' is missing")
            elif not known.type.accepts(arguments[known.name]):
                raise QmpError(
                    f"{self.name}: argument '{known.name}' has to be of type {known.type.value}"
                )
        names = {known.name for known in self.arguments}
        for name in arguments:
            if name not in names:
                raise QmpError(f"{self.name}: no argument is called '{name}'")
