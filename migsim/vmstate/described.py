"""Device state of any machine, decoded by the description in the stream, and encoded back.

Nothing about the device need be known: the description names every field, its type and its
size.  A type without a known layout is carried as bytes.  What comes out says where in the
stream each value lies; encoding it gives the same bytes again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from migsim.errors import ConfigError

from .bits import pack_bitmap, unpack_bitmap
from .cursor import Buffer, Cursor, subsection_header
from .fields import SCALARS, FieldType, Scalar

if TYPE_CHECKING:
    from .entries import FieldEntry, StructEntry

_NULLPTR = "nullptr"
_NULL_MARK = b"0"
_SCALARS: dict[str, Scalar] = {kind.value: scalar for kind, scalar in SCALARS.items()}
_SLACK_VALUES = 1 << 16

DecodedValue: TypeAlias = (
    "bool | int | str | bytes | DecodedStruct | tuple[DecodedValue, ...] | None"
)
"""A number, text, raw bytes, None (a NULL pointer in an array), a structure, or an array.

A ``bool`` whose byte is neither 0 nor 1 is that number; a ``bitmap`` is an integer whose bit i is
bit i of the map.
"""


@dataclass(frozen=True, slots=True)
class DecodedField:
    """One field with its value and its place.

    Attributes:
        entry: the field's description.
        offset: offset of its first byte in the source.
        size: bytes of the whole field, all elements of an array.
        value: the value; a tuple for an array.
    """

    entry: FieldEntry
    offset: int
    size: int
    value: DecodedValue

    @property
    def name(self) -> str:
        """Name of the field, with its index when the array has an entry for each element."""
        index = self.entry.index
        return self.entry.name if index is None else f"{self.entry.name}[{index}]"


@dataclass(frozen=True, slots=True)
class DecodedStruct:
    """A device's state, a structure in it, or a subsection.

    Attributes:
        entry: its description.
        offset: offset of its first byte in the source; that of the header for a subsection.
        size: bytes in all.
    """

    entry: StructEntry
    offset: int
    size: int
    fields: tuple[DecodedField, ...]
    subsections: tuple[DecodedStruct, ...] = ()

    def __getitem__(self, name: str) -> DecodedValue:
        """Return the value of the field called ``name`` (with ``[index]`` where it has one).

        Raises:
            KeyError: there is no such field; subsections are not searched.
        """
        for field in self.fields:
            if field.name == name:
                return field.value
        raise KeyError(name)


def decode_body(
    entry: StructEntry, buffer: Buffer, offset: int = 0, *, section: str = "", base: int = 0
) -> tuple[DecodedStruct, int]:
    """Return the section body at ``buffer[offset:]`` as values, and the index behind it.

    ``section`` is its name and ``base`` the buffer's place in the source, for errors and offsets.
    Work and memory are bounded by the bytes that are there and the length of the description.

    Raises:
        StreamError: the bytes end early, or do not fit the description.
    """
    cursor = Cursor(buffer, offset, section or entry.vmsd_name, base)
    return _Decoder(cursor).struct(entry), cursor.position


def encode_body(body: DecodedStruct) -> bytes:
    """Return the bytes of ``body``: exactly those that it was decoded from.

    Raises:
        ConfigError: a value was replaced by one that does not fit its type.
    """
    parts = [encode_field(field) for field in body.fields]
    for inner in body.subsections:
        parts.append(subsection_header(inner.entry.vmsd_name, inner.entry.version))
        parts.append(encode_body(inner))
    return b"".join(parts)


def walk(body: DecodedStruct, path: str = "") -> Iterator[tuple[str, DecodedField]]:
    """Yield every field that holds no structure, with its path, in stream order.

    A path joins names by ``.``, array places by ``[i]``; a subsection's fields follow its name
    and a ``:``.
    """
    for field in body.fields:
        yield from _walk_field(field, path + field.name)
    for inner in body.subsections:
        yield from walk(inner, f"{inner.entry.vmsd_name}:")


def _walk_field(field: DecodedField, path: str) -> Iterator[tuple[str, DecodedField]]:
    if isinstance(field.value, DecodedStruct):
        yield from walk(field.value, path + ".")
    elif field.entry.struct is not None and isinstance(field.value, tuple):
        for index, element in enumerate(field.value):
            assert isinstance(element, DecodedStruct)  # elements of a struct field
            yield from walk(element, f"{path}[{index}].")
    else:
        yield path, field


class _Decoder:
    """Walks one body; counts values, so that sizes of 0 cannot make a small body a large result."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._values_left = 4 * cursor.left + _SLACK_VALUES

    def struct(self, entry: StructEntry) -> DecodedStruct:
        begin = self._cursor.offset
        fields = tuple(self._field(field) for field in entry.fields)
        subsections = tuple(self._subsection(inner) for inner in entry.subsections)
        size = self._cursor.offset - begin
        return DecodedStruct(entry, begin, size, fields, subsections)

    def _subsection(self, entry: StructEntry) -> DecodedStruct:
        begin = self._cursor.offset
        version = self._cursor.subsection_header(entry.vmsd_name)
        if version != entry.version:
            expected = f"version {entry.version} of {entry.vmsd_name}"
            raise self._cursor.error(expected, f"version {version}", back=4)
        body = self.struct(entry)
        size = self._cursor.offset - begin
        return DecodedStruct(entry, begin, size, body.fields, body.subsections)

    def _field(self, entry: FieldEntry) -> DecodedField:
        begin = self._cursor.offset
        self._spend(1, entry)
        if entry.array_len is None:
            value = self._element(entry)
        else:
            value = self._array(entry, entry.array_len)
        return DecodedField(entry, begin, self._cursor.offset - begin, value)

    def _array(self, entry: FieldEntry, count: int) -> tuple[DecodedValue, ...]:
        scalar = _SCALARS.get(entry.type)
        if scalar is not None and entry.type != FieldType.BOOL:
            self._check_width(entry, scalar)
            return self._cursor.numbers(scalar.code, count, scalar.width, entry.name)
        if entry.type != FieldType.CAPABILITY:  # the one kind whose elements differ in size
            self._cursor.need(count * entry.size, entry.name)
        self._spend(count, entry)
        return tuple(self._element(entry) for _ in range(count))

    def _element(self, entry: FieldEntry) -> DecodedValue:
        if entry.struct is not None:
            return self._struct_element(entry, entry.struct)
        if (scalar := _SCALARS.get(entry.type)) is not None:
            self._check_width(entry, scalar)
            (number,) = self._cursor.numbers(scalar.code, 1, scalar.width, entry.name)
            return bool(number) if entry.type == FieldType.BOOL and number < 2 else number
        if entry.type == FieldType.CAPABILITY:
            return self._capability(entry)
        raw = self._cursor.take(entry.size, entry.name)
        if entry.type == FieldType.BITMAP:
            if len(raw) % 8:
                raise self._cursor.error(f"whole words in bitmap {entry.name}", f"{len(raw)} bytes")
            return unpack_bitmap(raw)
        if entry.type == _NULLPTR:
            if raw != _NULL_MARK:
                raise self._cursor.error(f"the mark of a null pointer in {entry.name}", repr(raw))
            return None
        return raw

    def _struct_element(self, entry: FieldEntry, inner: StructEntry) -> DecodedStruct:
        self._cursor.need(entry.size, entry.name)
        body = self.struct(inner)
        if body.size != entry.size:
            expected = f"{entry.size} bytes of structure {entry.name}"
            raise self._cursor.error(expected, f"members of {body.size} bytes", back=body.size)
        return body

    def _capability(self, entry: FieldEntry) -> str:
        size = self._cursor.u8(entry.name)
        if entry.array_len is None and size + 1 != entry.size:
            expected = f"a name of {entry.size - 1} bytes in {entry.name}"
            raise self._cursor.error(expected, f"{size} bytes", back=1)
        return self._cursor.take(size, entry.name).decode("utf-8", "surrogateescape")

    def _check_width(self, entry: FieldEntry, scalar: Scalar) -> None:
        if entry.size != scalar.width:
            expected = f"size {scalar.width} of {entry.type} {entry.name}"
            raise self._cursor.error(expected, f"size {entry.size} in the description")

    def _spend(self, count: int, entry: FieldEntry) -> None:
        self._values_left -= count
        if self._values_left < 0:
            raise self._cursor.error("fewer values than that", f"{count} more in {entry.name}")


def encode_field(field: DecodedField) -> bytes:
    """Return the bytes of one field, all elements of an array.

    Raises:
        ConfigError: the value was replaced by one that does not fit the type.
    """
    entry, value = field.entry, field.value
    if entry.array_len is None:
        return _encode_element(entry, value)
    if not isinstance(value, tuple) or len(value) != entry.array_len:
        raise ConfigError(f"field {entry.name}", f"it has {entry.array_len} elements")
    return b"".join(_encode_element(entry, element) for element in value)


def _encode_element(entry: FieldEntry, value: DecodedValue) -> bytes:
    try:
        data = _encode_value(entry, value)
    except (struct.error, OverflowError, TypeError) as error:
        raise ConfigError(f"field {entry.name}", f"{value!r} is no {entry.type}") from error
    if len(data) != entry.size and not (entry.type == FieldType.CAPABILITY and entry.array_len):
        raise ConfigError(f"field {entry.name}", f"{len(data)} bytes in place of {entry.size}")
    return data


def _encode_value(entry: FieldEntry, value: DecodedValue) -> bytes:
    if isinstance(value, DecodedStruct):
        return encode_body(value)
    if (scalar := _SCALARS.get(entry.type)) is not None:
        return struct.pack(f">{scalar.code}", value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        return struct.pack(">B", len(text)) + text
    if isinstance(value, int):
        return pack_bitmap(value, entry.size)
    if value is None:
        return _NULL_MARK
    if not isinstance(value, bytes):
        raise TypeError("an array in place of one element")
    return value
