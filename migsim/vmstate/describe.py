"""The description of a device's state that a stream carries behind its end marker.

Source: spec stream.md section 6, QEMU 10.0; key order and spelling are those of the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from .codec import elements, encode_element
from .fields import Field, FieldType, Value, VMStateDescription

Json: TypeAlias = "dict[str, object]"
"""One object of the description, members in the order in which they are written."""


def describe(
    description: VMStateDescription, values: Mapping[str, Value], version: int | None = None
) -> Json:
    """Return the description of what ``encode`` writes for these values.

    Members: ``vmsd_name``, ``version``, ``fields`` and, when one is written, ``subsections``.

    Raises:
        DeviceError: a value does not fit its field.
    """
    number = description.version_id if version is None else version
    fields: list[Json] = []
    for field in description.fields:
        if field.present(values, number):
            fields += _describe_field(description, field, values)
    entry: Json = {"vmsd_name": description.name, "version": number, "fields": fields}
    written = [
        describe(subsection.description, values)
        for subsection in description.subsections
        if subsection.needed(values)
    ]
    if written:
        entry["subsections"] = written
    return entry


def describe_section(
    name: str, instance_id: int, description: VMStateDescription, values: Mapping[str, Value]
) -> Json:
    """Return the entry of a FULL section in the list ``devices``."""
    return {"name": name, "instance_id": instance_id, **describe(description, values)}


def describe_opaque(name: str, instance_id: int, size_bytes: int) -> Json:
    """Return the entry of a section without description: one buffer of ``size_bytes``."""
    data: Json = {"name": "data", "size": size_bytes, "type": "buffer"}
    return {"name": name, "instance_id": instance_id, "size": size_bytes, "fields": [data]}


def to_json(entry: Mapping[str, object]) -> bytes:
    """Return an entry, or a whole description, as the one line of ASCII that a stream holds."""
    return json.dumps(entry, ensure_ascii=True).encode("ascii")


def _describe_field(
    owner: VMStateDescription, field: Field, values: Mapping[str, Value]
) -> list[Json]:
    parts = elements(owner.name, field, values)
    name: Json = {"name": _unique_name(owner, field)}
    if len(parts) > 1 and _compressible(field):
        # The size is that of the first element, even where elements differ (capability names).
        return [name | {"array_len": len(parts)} | _kind(owner, field, parts[0], values)]
    # The last element has no index: QEMU 10.0 looks at how many are left, not how many there are.
    return [
        name
        | ({"index": index} if index + 1 < len(parts) else {})
        | _kind(owner, field, part, values)
        for index, part in enumerate(parts)
    ]


def _kind(
    owner: VMStateDescription, field: Field, part: Value, values: Mapping[str, Value]
) -> Json:
    kind: Json = {"type": field.type.value}
    size = len(encode_element(owner.name, field, part, values))
    if field.struct is not None and isinstance(part, dict):
        kind["struct"] = describe(field.struct, part)
    return kind | {"size": size}


def _unique_name(owner: VMStateDescription, field: Field) -> str:
    """Return the field's name, numbered where the description has it more than once.

    Fields that are not written count too.
    """
    same = [other for other in owner.fields if other.name == field.name]
    if len(same) == 1:
        return field.name
    index = next(i for i, other in enumerate(same) if other is field)
    return f"{field.name}[{index}]"


def _compressible(field: Field) -> bool:
    """Return whether one entry can stand for all elements of an array.

    It cannot when something inside depends on values: a condition or a subsection.
    """
    if field.exists is not None:
        return False
    if field.type is not FieldType.STRUCT or field.struct is None:
        return True
    inner = field.struct
    return not inner.subsections and all(_compressible(part) for part in inner.fields)
