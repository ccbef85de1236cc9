"""What a device's state looks like: fields, structures, subsections; no bytes are moved here.

The values of a device are one flat name space (``Values``), as the members of one C structure
are: a subsection's fields name members of the same device.  A ``STRUCT`` field holds a nested
name space, an array a list.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from migsim.errors import ConfigError

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value]"
"""One value: a number, text (capability names), raw bytes, an array or a structure."""
Values: TypeAlias = dict[str, Value]
"""The values of a device or structure by field name."""


class FieldType(enum.StrEnum):
    """Kinds of field; the value is the type's spelling in a stream's device description.

    Source: spec stream.md section 5.1, QEMU 10.0.
    """

    BOOL = "bool"
    INT8 = "int8"
    UINT8 = "uint8"
    UINT8_EQUAL = "uint8 equal"
    INT16 = "int16"
    UINT16 = "uint16"
    UINT16_EQUAL = "uint16 equal"
    INT32 = "int32"
    UINT32 = "uint32"
    INT32_EQUAL = "int32 equal"
    UINT32_EQUAL = "uint32 equal"
    INT32_LE = "int32 le"
    INT64 = "int64"
    UINT64 = "uint64"
    INT64_EQUAL = "int64 equal"
    TIMER = "timer"
    CPU_DOUBLE = "CPU_Double_U"
    BUFFER = "buffer"
    UNUSED = "unused_buffer"
    """Room without meaning: no value, written as zeros, stepped over when read."""
    BITMAP = "bitmap"
    CAPABILITY = "capability"
    STRUCT = "struct"


class Check(enum.Enum):
    """What a receiver demands of an incoming number beyond its width."""

    NONE = "any value"
    EQUAL = "the same value as here"
    AT_MOST = "0 <= value <= the value here"


@dataclass(frozen=True, slots=True)
class Scalar:
    """Wire form of a number: big-endian, ``width`` bytes."""

    code: str
    """Letter of the number in the ``struct`` module's notation; it implies the width."""
    width: int
    signed: bool = False
    check: Check = Check.NONE


SCALARS: Mapping[FieldType, Scalar] = MappingProxyType(
    {
        FieldType.BOOL: Scalar("B", 1),
        FieldType.INT8: Scalar("b", 1, signed=True),
        FieldType.UINT8: Scalar("B", 1),
        FieldType.UINT8_EQUAL: Scalar("B", 1, check=Check.EQUAL),
        FieldType.INT16: Scalar("h", 2, signed=True),
        FieldType.UINT16: Scalar("H", 2),
        FieldType.UINT16_EQUAL: Scalar("H", 2, check=Check.EQUAL),
        FieldType.INT32: Scalar("i", 4, signed=True),
        FieldType.UINT32: Scalar("I", 4),
        FieldType.INT32_EQUAL: Scalar("i", 4, signed=True, check=Check.EQUAL),
        FieldType.UINT32_EQUAL: Scalar("I", 4, check=Check.EQUAL),
        FieldType.INT32_LE: Scalar("i", 4, signed=True, check=Check.AT_MOST),
        FieldType.INT64: Scalar("q", 8, signed=True),
        FieldType.UINT64: Scalar("Q", 8),
        # Unsigned in spite of its name (spec stream.md section 5.1).
        FieldType.INT64_EQUAL: Scalar("Q", 8, check=Check.EQUAL),
        # Expiry in ns; all ones, which reads as -1, is a timer that is not armed.
        FieldType.TIMER: Scalar("q", 8, signed=True),
        FieldType.CPU_DOUBLE: Scalar("Q", 8),
    }
)
"""Wire form of every numeric kind (spec stream.md section 5.1)."""

TIMER_NOT_ARMED = -1
"""Value of a ``TIMER`` field whose timer does not run."""

NAME_LIMIT = 255
"""Longest section or subsection name in bytes (spec stream.md section 13)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a description, in wire order.

    A field is present in a stream of version ``v`` when ``version <= v`` and ``exists`` (if any)
    says so of the values known so far.  Counts and sizes that vary are taken from an earlier field.

    Raises:
        ConfigError: the members contradict each other.
    """

    name: str
    type: FieldType
    size: int = 0
    """Bytes of a ``BUFFER`` or ``UNUSED`` field, bits of a ``BITMAP``; 0 for every other kind."""
    size_field: str | None = None
    """Earlier field that holds ``size`` instead."""
    count: int | None = None
    """Number of elements of a fixed array; None when the field is no array."""
    count_field: str | None = None
    """Earlier field that holds the number of elements of a variable array."""
    struct: VMStateDescription | None = None
    version: int = 0
    exists: Callable[[Mapping[str, Value], int], bool] | None = None

    def __post_init__(self) -> None:
        sized = self.type in (FieldType.BUFFER, FieldType.UNUSED, FieldType.BITMAP)
        problem = None
        if sized != (self.size > 0 or self.size_field is not None):
            problem = "a size belongs to buffers and bitmaps, and only to them"
        elif (self.type is FieldType.STRUCT) != (self.struct is not None):
            problem = "a structure description belongs to struct fields, and only to them"
        elif self.count is not None and self.count_field is not None:
            problem = "an array is either fixed or variable"
        elif self.count is not None and self.count < 0:
            problem = "an array cannot have fewer than 0 elements"
        if problem is not None:
            raise ConfigError(f"field {self.name}", problem)

    @property
    def is_array(self) -> bool:
        """Whether the value is a list of elements."""
        return self.count is not None or self.count_field is not None

    def present(self, values: Mapping[str, Value], version: int) -> bool:
        """Return whether a stream of ``version`` with these values holds the field."""
        return self.version <= version and (self.exists is None or self.exists(values, version))


@dataclass(frozen=True, slots=True)
class Subsection:
    """An optional part of a description, written only when ``needed`` says so of the values."""

    description: VMStateDescription
    needed: Callable[[Mapping[str, Value]], bool]


@dataclass(frozen=True, slots=True)
class VMStateDescription:
    """The state of one device, structure or subsection.

    A subsection is named ``<parent's name>/<suffix>``; a reader tells it by that prefix.

    Raises:
        ConfigError: versions, names or references make no sense.
    """

    name: str
    version_id: int
    fields: tuple[Field, ...]
    minimum_version_id: int = 0
    """Oldest version that is still accepted."""
    subsections: tuple[Subsection, ...] = ()

    def __post_init__(self) -> None:
        what = f"description {self.name}"
        if not self.name or len(self.name.encode(errors="surrogateescape")) > NAME_LIMIT:
            raise ConfigError(what, f"a name has 1 to {NAME_LIMIT} bytes")
        if not 0 <= self.minimum_version_id <= self.version_id < 1 << 31:
            raise ConfigError(what, "versions must be 0 <= minimum <= current < 2^31")
        earlier: set[str] = set()
        for field in self.fields:
            for reference in (field.size_field, field.count_field):
                if reference is not None and reference not in earlier:
                    raise ConfigError(what, f"{field.name} refers to {reference}, not yet read")
            earlier.add(field.name)
        for subsection in self.subsections:
            if not subsection.description.name.startswith(self.name + "/"):
                raise ConfigError(what, f"{subsection.description.name} lacks the prefix")

    def accepts(self, version: int) -> bool:
        """Return whether a stream of ``version`` can be read by this description."""
        return self.minimum_version_id <= version <= self.version_id
