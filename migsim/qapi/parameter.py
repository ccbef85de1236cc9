"""One migration parameter: a row of the table, and the attribute that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast, overload

from ..errors import ParameterError
from ..units import parse_size
from .release import Release
from .values import Boolean, Choice, Unsigned, ValueType

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Owner(Protocol):
    """What a row needs of the value set that it is an attribute of."""

    @property
    def stored(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, kw_only=True)
class Parameter(Generic[T]):
    """A migration parameter (spec parameters.md section 1).

    Rows are the attributes of ``MigrationParameters``: on the class an attribute is its row, on a
    value set it is the value, typed.

    Attributes:
        name: spelling in QMP.
        type: type and range of the values.
        default: value at the start of a process.
        doc: what it influences.
        since: first release that has it.
        until: first release that does not have it any more, or None.
        absent: value that counts in a release without the parameter, where not the default.
        unit: ``ms``, ``bytes``, ``bytes/second``, ``MB/s``, ``%``, or nothing.
        hmp_unit_since: first release whose human monitor prints the unit; None: not printed.
        hmp_shown: whether ``info migrate_parameters`` has a line for it.
        hmp_multiplier: bytes or base units that a bare number means in the human monitor where
            suffixes are taken; 0 where only plain integers are.
        hmp_limit: first number that the human monitor does not read any more.
        global_name: name in ``-global migration.NAME=``, or None where there is none.
        dashed_in_errors: whether QEMU's range error names it with dashes.
    """

    name: str
    type: ValueType[T]
    default: T
    doc: str
    since: str
    until: str | None = None
    absent: T | None = None
    unit: str = ""
    hmp_unit_since: str | None = None
    hmp_shown: bool = True
    hmp_multiplier: int = 0
    hmp_limit: int = 1 << 64
    global_name: str | None = None
    dashed_in_errors: bool = False

    @overload
    def __get__(self, instance: None, owner: object) -> Parameter[T]: ...
    @overload
    def __get__(self, instance: _Owner, owner: object) -> T: ...
    def __get__(self, instance: _Owner | None, owner: object) -> Parameter[T] | T:
        """Return the row on the class, the value on a value set."""
        return self if instance is None else cast("T", instance.stored[self.name])

    @property
    def attribute(self) -> str:
        """Name as an attribute of ``MigrationParameters``."""
        return self.name.replace("-", "_")

    @property
    def error_name(self) -> str:
        """Name as QEMU's range errors spell it."""
        return self.name if self.dashed_in_errors else self.attribute

    @property
    def unstable(self) -> bool:
        """Whether QEMU may change or drop it without notice."""
        return self.name.startswith("x-")

    @property
    def minimum(self) -> int | None:
        """Smallest accepted number, or None if values are no numbers."""
        return self.type.minimum if isinstance(self.type, Unsigned) else None

    @property
    def maximum(self) -> int | None:
        """Largest accepted number, or None if values are no numbers."""
        return self.type.maximum if isinstance(self.type, Unsigned) else None

    @property
    def power_of_two(self) -> bool:
        """Whether only powers of two are accepted."""
        return isinstance(self.type, Unsigned) and self.type.power_of_two

    def choices(self, release: Release = Release.DEFAULT) -> tuple[object, ...]:
        """Return all values where they can be listed (enums, booleans), else nothing."""
        if isinstance(self.type, Choice):
            return self.type.members_of(release)
        return (False, True) if isinstance(self.type, Boolean) else ()

    def exists_in(self, release: Release) -> bool:
        """Return whether ``release`` has the parameter."""
        return release.has(self.since, self.until)

    def initial(self, release: Release) -> T:
        """Return the value at the start of a process, or the one that counts without a value."""
        if self.absent is not None and not self.exists_in(release):
            return self.absent
        return self.default

    def accept(self, value: object, release: Release) -> T:
        """Return the value that a decoded JSON value stands for; its range is not tested.

        Raises:
            ParameterError: of the wrong type.
        """
        return self.type.accept(self.name, value, release)

    def check_range(self, value: T, release: Release = Release.DEFAULT) -> None:
        """Do nothing if ``value`` is in the range.

        Raises:
            ParameterError: it is not.
        """
        if not self.type.is_valid(value):
            expected = self.type.expected(release)
            raise ParameterError(self.name, self.type.to_json(value), expected)

    def parse_hmp(self, text: str, release: Release = Release.DEFAULT) -> T:
        """Return the value that ``text`` means in ``migrate_set_parameter``; no range test.

        Raises:
            ParameterError: not readable as a value of this parameter.
        """
        if not self.hmp_multiplier:
            return self.type.parse(self.name, text, release)
        value = parse_size(text, self.name, self.hmp_multiplier)
        if value >= self.hmp_limit:
            raise ParameterError(self.name, text, f"a size below {self.hmp_limit} bytes")
        return self.accept(value, release)

    def parse_global(self, text: str, release: Release = Release.DEFAULT) -> T:
        """Return the value that ``text`` means in ``-global``; its range is not tested.

        Raises:
            ParameterError: not readable as a value of this parameter.
        """
        return self.type.parse(self.name, text, release)

    def hmp_lines(self, value: T, release: Release = Release.DEFAULT) -> list[str]:
        """Return what ``info migrate_parameters`` prints for this parameter: mostly one line."""
        if not self.hmp_shown:
            return []
        lines = self.type.lines(self.name, value)
        if self.hmp_unit_since is not None and release.has(self.hmp_unit_since):
            lines[-1] += f" {self.unit}"
        return lines
