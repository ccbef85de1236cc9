"""Results as plain JSON values: one rule for all dataclasses."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TypeAlias

from .compare_ram import PageRanges

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
"""What the module ``json`` writes without help."""


def to_json(value: object) -> JsonValue:
    """Return ``value`` as JSON values.

    A dataclass becomes an object of its fields, an enum its value, a tuple a list, bytes a string
    of hexadecimal digits, a path its text, pages a list of first and last numbers.

    Raises:
        TypeError: anything else that JSON does not know.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum | PurePath | str):
        return str(value.value if isinstance(value, Enum) else value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PageRanges):
        return [[first, last] for first, last in value]
    if isinstance(value, list | tuple):
        return [to_json(element) for element in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"no JSON for {type(value).__name__}")
