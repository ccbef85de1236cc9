"""Types of parameter values: what QMP accepts, how text is read, how the monitor prints.

Each type does the check that QEMU does while it takes a value in (wrong JSON type, too many bits,
unknown name); ranges are tested later, in the order of ``parameter_checks``.  Everything about
text was tried on QEMU 10.0.2 (spec parameters.md section 1).
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from .. import units
from ..errors import ParameterError
from . import bitmap_mapping
from .bitmap_mapping import BitmapMapping
from .enums import spellings
from .release import Release

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_C_INTEGER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")
_TRUE = ("on", "yes", "true", "y")
_FALSE = ("off", "no", "false", "n")
_INT64_MIN = -(1 << 63)


class ValueType(ABC, Generic[T]):
    """How values of one type come in and go out."""

    qmp_type: str
    """Name of the type in the schema of QMP."""

    @abstractmethod
    def accept(self, name: str, value: object, release: Release) -> T:
        """Return the value that a decoded JSON value stands for.

        Raises:
            ParameterError: not of this type.
        """

    @abstractmethod
    def parse(self, name: str, text: str, release: Release) -> T:
        """Return the value that ``text`` stands for, as on QEMU's command line.

        Raises:
            ParameterError: not of this type.
        """

    def show(self, value: T) -> str:
        """Return the value as the human monitor prints it, without unit."""
        return str(value)

    def lines(self, name: str, value: T) -> list[str]:
        """Return the lines that the human monitor prints for the parameter ``name``."""
        return [f"{name}: {self.show(value)}"]

    def to_json(self, value: T) -> object:
        """Return the value as QMP writes it."""
        return value

    def is_valid(self, value: T) -> bool:
        """Return whether a value of this type is in its range."""
        return True

    def expected(self, release: Release = Release.DEFAULT) -> str:
        """Return what is accepted, in words."""
        return self.qmp_type


@dataclass(frozen=True)
class Unsigned(ValueType[int]):
    """A whole number of ``bits`` bits from ``minimum`` to ``maximum``.

    With 64 bits a negative number down to -2^63 wraps around, as in C.  ``sizes`` tells that text
    on the command line may have a suffix and counts in tens; without, ``0`` in front means octal.
    """

    bits: int
    minimum: int = 0
    maximum: int = -1
    power_of_two: bool = False
    sizes: bool = False
    qmp_type: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "qmp_type", "size" if self.sizes else f"uint{self.bits}")
        if self.maximum < 0:
            object.__setattr__(self, "maximum", (1 << self.bits) - 1)

    def accept(self, name: str, value: object, release: Release) -> int:
        """Return a whole number that fits, negative ones of 64 bits wrapped."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ParameterError(name, value, f"a whole number of {self.bits} bits")
        if self.bits == 64 and _INT64_MIN <= value < 0:
            return value + (1 << 64)
        if not 0 <= value < 1 << self.bits:
            raise ParameterError(name, value, f"a whole number of {self.bits} bits")
        return int(value)

    def parse(self, name: str, text: str, release: Release) -> int:
        """Return the number: a size, or an integer as in C."""
        if self.sizes:
            return units.parse_size(text, name)
        return self.parse_integer(name, text, release)

    def parse_integer(self, name: str, text: str, release: Release) -> int:
        """Return the integer that ``text`` is in C: decimal, ``0x`` hexadecimal, ``0`` octal.

        It is read with 64 bits, where negative numbers wrap around, and then has to fit.
        """
        match = _C_INTEGER.fullmatch(text)
        if match is None:
            raise ParameterError(name, text, f"a whole number of {self.bits} bits")
        digits = match[2]
        octal = digits[0] == "0" and digits.isdigit()
        try:
            number = int(digits, 8 if octal else 0)
        except ValueError:
            raise ParameterError(name, text, "octal digits after a leading 0") from None
        if match[1] == "-" and 0 < number < 1 << 64:
            number = (1 << 64) - number
        return self.accept(name, number, release)

    def is_valid(self, value: int) -> bool:
        """Return whether ``value`` is in the range, and a power of two where that is asked for."""
        if self.power_of_two and value & (value - 1):
            return False
        return self.minimum <= value <= self.maximum

    def expected(self, release: Release = Release.DEFAULT) -> str:
        """Return the range in words."""
        kind = "a power of two" if self.power_of_two else "a whole number"
        if self.maximum == (1 << 64) - 1:
            return f"{kind} of at least {self.minimum}" if self.minimum else f"{kind} below 2^64"
        return f"{kind} from {self.minimum} to {self.maximum}"


@dataclass(frozen=True)
class Boolean(ValueType[bool]):
    """True or false; in text ``on``, ``yes``, ``true``, ``y`` and their opposites."""

    qmp_type: str = "bool"

    def accept(self, name: str, value: object, release: Release) -> bool:
        """Return a JSON boolean; numbers and text are none."""
        if not isinstance(value, bool):
            raise ParameterError(name, value, "true or false")
        return value

    def parse(self, name: str, text: str, release: Release) -> bool:
        """Return what ``text`` says, in small letters only."""
        if text not in _TRUE + _FALSE:
            raise ParameterError(name, text, "on or off")
        return text in _TRUE

    def show(self, value: bool) -> str:
        """Return ``on`` or ``off``."""
        return "on" if value else "off"


@dataclass(frozen=True)
class Text(ValueType[str]):
    """Any text; null means the empty text."""

    qmp_type: str = "str or null"

    def accept(self, name: str, value: object, release: Release) -> str:
        """Return text, or the empty text for null."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ParameterError(name, value, "text or null")
        return value

    def parse(self, name: str, text: str, release: Release) -> str:
        """Return ``text``."""
        return text

    def show(self, value: str) -> str:
        """Return the text in single quotes."""
        return f"'{value}'"


@dataclass(frozen=True)
class Choice(ValueType[E]):
    """One of the members of an enum that the release knows."""

    enum: type[E]
    members_of: Callable[[Release], tuple[E, ...]]
    qmp_type: str = "enum"

    def accept(self, name: str, value: object, release: Release) -> E:
        """Return the member with that spelling."""
        members = self.members_of(release)
        if not isinstance(value, str) or value not in members:
            raise ParameterError(name, value, spellings(members))
        return self.enum(value)

    def parse(self, name: str, text: str, release: Release) -> E:
        """Return the member with that spelling."""
        return self.accept(name, text, release)

    def to_json(self, value: E) -> object:
        """Return the spelling."""
        return value.value

    def expected(self, release: Release = Release.DEFAULT) -> str:
        """Return the spellings."""
        return spellings(self.members_of(release))


@dataclass(frozen=True)
class TextList(ValueType[tuple[str, ...]]):
    """A list of texts: a command line, program first."""

    qmp_type: str = "list of str"

    def accept(self, name: str, value: object, release: Release) -> tuple[str, ...]:
        """Return the texts of a JSON list."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ParameterError(name, value, "a list of texts")
        return tuple(value)

    def parse(self, name: str, text: str, release: Release) -> tuple[str, ...]:
        """Return the words of ``text``, split as a shell does."""
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise ParameterError(name, text, f"a command line ({error})") from None

    def lines(self, name: str, value: tuple[str, ...]) -> list[str]:
        """Return one line with all words."""
        return [" ".join([f"{name}:", *value])]

    def to_json(self, value: tuple[str, ...]) -> object:
        """Return a list."""
        return list(value)


@dataclass(frozen=True)
class Mapped(ValueType[BitmapMapping | None]):
    """Aliases of block nodes and dirty bitmaps; None as long as it was never set."""

    qmp_type: str = "list"

    def accept(self, name: str, value: object, release: Release) -> BitmapMapping:
        """Return the mapping that a JSON list describes."""
        return bitmap_mapping.from_json(value)

    def parse(self, name: str, text: str, release: Release) -> BitmapMapping:
        """Refuse: only QMP can set a mapping."""
        raise ParameterError(name, text, "a list; only QMP can set it")

    def lines(self, name: str, value: BitmapMapping | None) -> list[str]:
        """Return a heading and one indented line per node and bitmap; nothing for None."""
        if value is None:
            return []
        lines = [f"{name}:"]
        for node in value:
            lines.append(f"  '{node.node_name}' -> '{node.alias}'")
            lines += [f"    '{bitmap.name}' -> '{bitmap.alias}'" for bitmap in node.bitmaps]
        return lines

    def to_json(self, value: BitmapMapping | None) -> object:
        """Return a list of objects, or None."""
        return None if value is None else [node.to_json() for node in value]

    def is_valid(self, value: BitmapMapping | None) -> bool:
        """Return whether names are unique, well formed and short enough."""
        return value is None or bitmap_mapping.why_invalid(value) is None

    def expected(self, release: Release = Release.DEFAULT) -> str:
        """Return the rule in words."""
        return "unique, well-formed node aliases and unique bitmap aliases"
