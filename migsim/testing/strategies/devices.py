"""Devices with descriptions of their state, and the reasons that they bring against migration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from ...guest.devices import Device, DeviceBlocker
from ...qapi.enums import MigMode
from ...qapi.release import Release
from ...vmstate.fields import (
    SCALARS,
    Field,
    FieldType,
    Subsection,
    Value,
    Values,
    VMStateDescription,
)
from .vocabulary import modes

_RAW = (FieldType.BUFFER, FieldType.BITMAP, FieldType.UNUSED)
_PLAIN = tuple(kind for kind in FieldType if kind is not FieldType.STRUCT)
_REASONS = ("dump", "9p", "vmdk d0", "ram0")
_DEPTH = 3
"""Levels of structures and subsections below which there are no more."""


class DescribedState(NamedTuple):
    """A description of device state, and values that it describes."""

    description: VMStateDescription
    values: Values


@st.composite
def blockers(draw: st.DrawFn, release: Release = Release.DEFAULT) -> DeviceBlocker:
    """Return a reason against every mode, or against some of those that ``release`` knows."""
    chosen = draw(st.none() | st.sets(modes(release), min_size=1))
    ordered = None if chosen is None else tuple(mode for mode in MigMode if mode in chosen)
    return DeviceBlocker(draw(st.sampled_from(_REASONS)), ordered)


@st.composite
def devices(draw: st.DrawFn, *, most: int = 3) -> tuple[Device, ...]:
    """Return up to ``most`` migratable devices of different sections, with generated state."""
    count = draw(st.integers(0, most))
    made = []
    for index in range(count):
        name = f"device{index}"
        state = draw(described_states(name))
        instance_id = draw(st.sampled_from([0, 1, (1 << 32) - 1]))
        made.append(Device(name, state.description, state.values, instance_id))
    return tuple(made)


@st.composite
def described_states(draw: st.DrawFn, name: str = "d", depth: int = 0) -> DescribedState:
    """Return a description called ``name`` of any shape and values that fit it.

    Structures and subsections go ``depth`` deep less than three levels.
    """
    # A structure without any field of its own cannot be told from the one before it in an array:
    # the optional parts of both would follow each other.
    values: Values = {f"id{depth}": draw(st.integers(0, 255))}
    fields = [Field(f"id{depth}", FieldType.UINT8)]
    for index in range(draw(st.integers(0, 4))):
        if depth < _DEPTH and draw(st.booleans()):
            fields.append(draw(_struct_fields(f"s{depth}{index}", values, depth)))
        else:
            fields.append(draw(_plain_fields(f"f{depth}{index}", values)))
    subsections = []
    if depth < _DEPTH and draw(st.booleans()):
        inner = draw(described_states(f"{name}/sub", depth + 1))
        wanted = draw(st.booleans())
        subsections.append(Subsection(inner.description, _constant(wanted)))
        if wanted:
            values |= {key: value for key, value in inner.values.items() if key not in values}
    version = draw(st.integers(0, 3))
    description = VMStateDescription(name, version, tuple(fields), 0, tuple(subsections))
    return DescribedState(description, values)


@st.composite
def _plain_fields(draw: st.DrawFn, name: str, values: Values) -> Field:
    kind = draw(st.sampled_from(_PLAIN))
    size = draw(st.integers(1, 200)) if kind in _RAW else 0
    count = draw(st.none() | st.integers(0, 4))
    field = Field(name, kind, size=size, count=count)
    if kind is not FieldType.UNUSED:
        element = _values_of(field, size)
        if count is None:
            values[name] = draw(element)
        else:
            values[name] = draw(st.lists(element, min_size=count, max_size=count))
    return field


@st.composite
def _struct_fields(draw: st.DrawFn, name: str, values: Values, depth: int) -> Field:
    count = draw(st.none() | st.integers(0, 3))
    inner = draw(described_states(f"inner{depth}", depth + 1))
    values[name] = inner.values if count is None else [inner.values for _ in range(count)]
    return Field(name, FieldType.STRUCT, count=count, struct=inner.description)


def _values_of(field: Field, size: int) -> st.SearchStrategy[Value]:
    match field.type:
        case FieldType.BUFFER:
            return st.binary(min_size=size, max_size=size)
        case FieldType.BITMAP:
            return st.integers(0, (1 << size) - 1)
        case FieldType.CAPABILITY:
            return st.text("abc-", max_size=9)
        case FieldType.BOOL:
            return st.booleans()
        case _:
            return _scalars(field.type)


def _scalars(kind: FieldType) -> st.SearchStrategy[int]:
    scalar = SCALARS[kind]
    top = 1 << 8 * scalar.width
    if kind is FieldType.INT32_LE:
        return st.integers(0, top // 2 - 1)
    return st.integers(-top // 2, top // 2 - 1) if scalar.signed else st.integers(0, top - 1)


def _constant(answer: bool) -> Callable[[object], bool]:
    return lambda _: answer
