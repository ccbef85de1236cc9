"""Descriptions and values of every shape: what is written is read back, and described truly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import StreamError
from migsim.vmstate.codec import decode, encode
from migsim.vmstate.describe import describe_section, to_json
from migsim.vmstate.described import decode_body, encode_body, walk
from migsim.vmstate.entries import parse_device
from migsim.vmstate.fields import (
    SCALARS,
    Field,
    FieldType,
    Subsection,
    Value,
    Values,
    VMStateDescription,
)

RAW = (FieldType.BUFFER, FieldType.BITMAP, FieldType.UNUSED)


class Case(NamedTuple):
    description: VMStateDescription
    values: Values


def scalars(kind: FieldType) -> st.SearchStrategy[int]:
    if kind is FieldType.BOOL:
        return st.booleans()
    scalar = SCALARS[kind]
    top = 1 << 8 * scalar.width
    if kind is FieldType.INT32_LE:
        return st.integers(0, top // 2 - 1)
    return st.integers(-top // 2, top // 2 - 1) if scalar.signed else st.integers(0, top - 1)


def values_of(field: Field, size: int) -> st.SearchStrategy[Value]:
    match field.type:
        case FieldType.BUFFER:
            return st.binary(min_size=size, max_size=size)
        case FieldType.BITMAP:
            return st.integers(0, (1 << size) - 1)
        case FieldType.CAPABILITY:
            return st.text("abc-", max_size=9)
        case _:
            return scalars(field.type)


@st.composite
def plain_field(draw: st.DrawFn, name: str, values: Values) -> Field:
    kind = draw(st.sampled_from([k for k in FieldType if k is not FieldType.STRUCT]))
    size = draw(st.integers(1, 200)) if kind in RAW else 0
    count = draw(st.none() | st.integers(0, 4))
    field = Field(name, kind, size=size, count=count)
    if kind is not FieldType.UNUSED:
        element = values_of(field, size)
        values[name] = draw(
            element if count is None else st.lists(element, min_size=count, max_size=count)
        )
    return field


@st.composite
def struct_field(draw: st.DrawFn, name: str, values: Values, depth: int) -> Field:
    count = draw(st.none() | st.integers(0, 3))
    parts = [draw(cases(f"inner{depth}", depth + 1))]
    description = parts[0].description
    if count is None:
        values[name] = parts[0].values
    else:
        values[name] = [parts[0].values for _ in range(count)]
    return Field(name, FieldType.STRUCT, count=count, struct=description)


@st.composite
def cases(draw: st.DrawFn, name: str = "d", depth: int = 0) -> Case:
    # A structure without any field of its own cannot be told from the one before it in an array:
    # the optional parts of both would follow each other.
    values: Values = {f"id{depth}": draw(st.integers(0, 255))}
    fields = [Field(f"id{depth}", FieldType.UINT8)]
    for index in range(draw(st.integers(0, 4))):
        if depth < 3 and draw(st.booleans()):
            fields.append(draw(struct_field(f"s{depth}{index}", values, depth)))
        else:
            fields.append(draw(plain_field(f"f{depth}{index}", values)))
    subsections = []
    if depth < 3 and draw(st.booleans()):
        inner = draw(cases(f"{name}/sub", depth + 1))
        wanted = draw(st.booleans())
        subsections.append(Subsection(inner.description, constant(wanted)))
        if wanted:
            values |= {key: value for key, value in inner.values.items() if key not in values}
    version = draw(st.integers(0, 3))
    return Case(VMStateDescription(name, version, tuple(fields), 0, tuple(subsections)), values)


def constant(answer: bool) -> Callable[[object], bool]:
    return lambda _: answer


@given(cases(), st.binary(max_size=3))
def test_what_is_written_is_read_back(case: Case, before: bytes) -> None:
    data = encode(case.description, case.values)
    values, end = decode(case.description, before + data + b"\x7e", len(before))
    assert end == len(before) + len(data)
    assert values == case.values
    assert encode(case.description, values) == data


@given(cases())
def test_the_description_decodes_to_the_same_bytes(case: Case) -> None:
    data = encode(case.description, case.values)
    entry = describe_section("dev", 0, case.description, case.values)
    parsed = parse_device(json.loads(to_json(entry)))
    body, end = decode_body(parsed.body, data)
    assert end == len(data)
    assert encode_body(body) == data
    at = 0
    for _, field in walk(body):
        assert field.offset >= at
        at = field.offset + field.size


@given(cases(), st.data())
def test_cut_or_changed_bytes_give_a_stream_error_or_values_that_fit(
    case: Case, data: st.DataObject
) -> None:
    good = encode(case.description, case.values)
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 3)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        values, end = decode(case.description, bad, local=case.values)
    except StreamError:
        return
    assert end <= len(bad)
    assert set(values) == set(case.values)


@given(cases(), st.data())
def test_bytes_cut_short_never_decode_by_the_description(case: Case, data: st.DataObject) -> None:
    good = encode(case.description, case.values)
    cut = data.draw(st.integers(0, len(good) - 1))
    parsed = parse_device(describe_section("dev", 0, case.description, case.values))
    with pytest.raises(StreamError) as caught:
        decode_body(parsed.body, good[:cut])
    assert 0 <= caught.value.offset <= cut
