"""Device state to bytes and back, by a description.

A reader keeps what the stream does not mention: absent subsections and fields of newer versions
keep the local values.  Loading changes a copy; nothing is half loaded.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterator, Mapping, Sequence

from migsim.errors import DeviceError, IncompatibleError

from .bits import bitmap_bytes, pack_bitmap, unpack_bitmap
from .cursor import Buffer, Cursor, subsection_header
from .fields import SCALARS, Check, Field, FieldType, Value, Values, VMStateDescription


def encode(
    description: VMStateDescription, values: Mapping[str, Value], version: int | None = None
) -> bytes:
    """Return the state as bytes: fields in order, then the subsections that are needed.

    ``version`` is the version to write, the description's own by default; it decides which
    fields are written.  Unused bytes are written as zeros (spec stream.md section 5.1).

    Raises:
        DeviceError: a value is missing, of the wrong kind or too large for its field.
    """
    out = bytearray()
    number = description.version_id if version is None else version
    for field in description.fields:
        if field.present(values, number):
            out += _encode_field(description.name, field, values)
    for subsection in description.subsections:
        if subsection.needed(values):
            inner = subsection.description
            out += subsection_header(inner.name, inner.version_id) + encode(inner, values)
    return bytes(out)


def elements(owner: str, field: Field, values: Mapping[str, Value]) -> list[Value]:
    """Return the values that ``field`` writes one after another: one unless it is an array.

    Raises:
        DeviceError: the value is missing or has another number of elements than it must.
    """
    if field.type is FieldType.UNUSED:
        return [b""] * (1 if not field.is_array else _count(owner, field, values))
    if field.name not in values:
        raise DeviceError(owner, "save", f"it has no value for {field.name}")
    value = values[field.name]
    if not field.is_array:
        return [value]
    count = _count(owner, field, values)
    if not isinstance(value, list) or len(value) != count:
        raise DeviceError(owner, "save", f"{field.name} must be a list of {count} elements")
    return value


def _encode_field(owner: str, field: Field, values: Mapping[str, Value]) -> bytes:
    parts = elements(owner, field, values)
    if field.is_array and field.type in SCALARS:
        # A long array of numbers is one call.
        try:
            return struct.pack(f">{len(parts)}{SCALARS[field.type].code}", *parts)
        except (struct.error, OverflowError) as error:
            reason = f"{field.name} is no array of {field.type}: {error}"
            raise DeviceError(owner, "save", reason) from error
    return b"".join(encode_element(owner, field, part, values) for part in parts)


def encode_element(owner: str, field: Field, value: Value, values: Mapping[str, Value]) -> bytes:
    """Return one element of ``field`` as bytes.

    Raises:
        DeviceError: the value is of the wrong kind or too large.
    """
    try:
        return _encode_one(owner, field, value, values)
    except (struct.error, OverflowError, TypeError, AttributeError) as error:
        reason = f"{field.name} = {value!r} is no {field.type}: {error}"
        raise DeviceError(owner, "save", reason) from error


def decode(
    description: VMStateDescription,
    buffer: Buffer,
    offset: int = 0,
    version: int | None = None,
    section: str | None = None,
    *,
    local: Mapping[str, Value] | None = None,
    base: int = 0,
) -> tuple[Values, int]:
    """Return the values of the state at ``buffer[offset:]`` and the index behind it.

    ``version`` is the one the section header gave, the description's own by default; ``section``
    and ``base`` (the buffer's place in the source) are for errors.  ``local`` are the values here:
    what the stream leaves out is copied from them, and the ``equal`` and ``le`` kinds are compared
    with them.

    Raises:
        StreamError: the bytes end early, or a count or size makes no sense.
        IncompatibleError: a version, subsection or compared value does not fit.
    """
    cursor = Cursor(buffer, offset, description.name if section is None else section, base)
    values = copy.deepcopy(dict(local)) if local else {}
    number = description.version_id if version is None else version
    _decode_into(cursor, description, values, number)
    return values, cursor.position


def _count(owner: str, field: Field, values: Mapping[str, Value]) -> int:
    if field.count_field is None:
        return field.count or 0
    count = values.get(field.count_field)
    if not isinstance(count, int) or count < 0:
        raise DeviceError(owner, "save", f"{field.count_field} is no number of elements")
    return count


def _size(field: Field, values: Mapping[str, Value]) -> object:
    return field.size if field.size_field is None else values.get(field.size_field)


def _encode_one(owner: str, field: Field, value: Value, values: Mapping[str, Value]) -> bytes:
    if (scalar := SCALARS.get(field.type)) is not None:
        return struct.pack(f">{scalar.code}", value)
    if field.struct is not None:
        if not isinstance(value, dict):
            raise TypeError("a structure is a dict")
        return encode(field.struct, value)
    if field.type is FieldType.CAPABILITY:
        return _encode_capability(value)
    size = _size(field, values)
    if not isinstance(size, int) or size < 0:
        raise DeviceError(owner, "save", f"{field.size_field} is no size")
    if field.type is FieldType.UNUSED:
        return bytes(size)
    if field.type is FieldType.BITMAP:
        if not isinstance(value, int):
            raise TypeError("a bitmap is an integer")
        return pack_bitmap(value, bitmap_bytes(size))
    if not isinstance(value, bytes) or len(value) != size:
        raise TypeError(f"expected {size} bytes")
    return value


def _encode_capability(value: Value) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a capability is text")
    text = value.encode("utf-8", "surrogateescape")
    return struct.pack(">B", len(text)) + text


def _decode_into(
    cursor: Cursor, description: VMStateDescription, values: Values, version: int
) -> None:
    if not description.accepts(version):
        low, high = description.minimum_version_id, description.version_id
        expected = f"version {low} to {high} of {description.name}"
        raise IncompatibleError(cursor.offset, cursor.section, expected, f"version {version}")
    for field in description.fields:
        if field.present(values, version):
            _decode_field(cursor, field, values)
    _decode_subsections(cursor, description, values)


def _decode_subsections(cursor: Cursor, description: VMStateDescription, values: Values) -> None:
    known = {subsection.description.name: subsection for subsection in description.subsections}
    while (name := cursor.subsection_name(description.name + "/")) is not None:
        if name not in known:
            expected = f"a subsection that {description.name} has here"
            raise IncompatibleError(cursor.offset, cursor.section, expected, name)
        version = cursor.subsection_header(name)
        _decode_into(cursor, known[name].description, values, version)


def _decode_field(cursor: Cursor, field: Field, values: Values) -> None:
    if not field.is_array:
        value = _decode_one(cursor, field, values, values.get(field.name))
    else:
        count = _incoming_count(cursor, field, values)
        here = values.get(field.name)
        value = list(_decode_array(cursor, field, values, here, count))
    if field.type is not FieldType.UNUSED:
        values[field.name] = value


def _incoming_count(cursor: Cursor, field: Field, values: Mapping[str, Value]) -> int:
    if field.count_field is None:
        return field.count or 0
    count = values.get(field.count_field)
    # An element takes a byte at least, so this bounds the memory taken for any count.
    if not isinstance(count, int) or not 0 <= count <= cursor.left:
        expected = f"a number of elements of {field.name} that fits into the rest"
        raise cursor.error(expected, repr(count))
    return count


def _decode_array(
    cursor: Cursor, field: Field, values: Mapping[str, Value], here: Value | None, count: int
) -> Iterator[Value]:
    scalar = SCALARS.get(field.type)
    if scalar is not None and scalar.check is Check.NONE and field.type is not FieldType.BOOL:
        yield from cursor.numbers(scalar.code, count, scalar.width, field.name)
        return
    local: Sequence[Value | None] = [None] * count
    if isinstance(here, list) and len(here) == count:
        local = here
    for index in range(count):
        yield _decode_one(cursor, field, values, local[index])


def _decode_one(
    cursor: Cursor, field: Field, values: Mapping[str, Value], here: Value | None
) -> Value:
    if field.type in SCALARS:
        return _decode_scalar(cursor, field, here)
    if field.struct is not None:
        inner = dict(here) if isinstance(here, dict) else {}
        _decode_into(cursor, field.struct, inner, field.struct.version_id)
        return inner
    if field.type is FieldType.CAPABILITY:
        raw = cursor.take(cursor.u8(field.name), field.name)
        return raw.decode("utf-8", "surrogateescape")
    size = _size(field, values)
    if not isinstance(size, int) or size < 0:
        raise cursor.error(f"a size of {field.name}", repr(size))
    if field.type is FieldType.BITMAP:
        return unpack_bitmap(cursor.take(bitmap_bytes(size), field.name))
    return cursor.take(size, field.name)


def _decode_scalar(cursor: Cursor, field: Field, here: Value | None) -> Value:
    scalar = SCALARS[field.type]
    (value,) = cursor.numbers(scalar.code, 1, scalar.width, field.name)
    if field.type is FieldType.BOOL:
        return value != 0
    local = here if isinstance(here, int) else None
    refused = (scalar.check is Check.EQUAL and local is not None and value != local) or (
        scalar.check is Check.AT_MOST and (value < 0 or (local is not None and value > local))
    )
    if refused:
        expected = f"{field.name}: {scalar.check.value}, {local}"
        where = cursor.offset - scalar.width
        raise IncompatibleError(where, cursor.section, expected, str(value))
    return value
