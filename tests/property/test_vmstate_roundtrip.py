"""Descriptions and values of every shape: what is written is read back, and described truly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import StreamError
from migsim.testing.strategies import DescribedState, described_states
from migsim.vmstate.codec import decode, encode
from migsim.vmstate.describe import describe_section, to_json
from migsim.vmstate.described import decode_body, encode_body, walk
from migsim.vmstate.entries import parse_device


@given(described_states(), st.binary(max_size=3))
def test_what_is_written_is_read_back(case: DescribedState, before: bytes) -> None:
    data = encode(case.description, case.values)
    values, end = decode(case.description, before + data + b"\x7e", len(before))
    assert end == len(before) + len(data)
    assert values == case.values
    assert encode(case.description, values) == data


@given(described_states())
def test_the_description_decodes_to_the_same_bytes(case: DescribedState) -> None:
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


@given(described_states(), st.data())
def test_cut_or_changed_bytes_give_a_stream_error_or_values_that_fit(
    case: DescribedState, data: st.DataObject
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


@given(described_states(), st.data())
def test_bytes_cut_short_never_decode_by_the_description(
    case: DescribedState, data: st.DataObject
) -> None:
    good = encode(case.description, case.values)
    cut = data.draw(st.integers(0, len(good) - 1))
    parsed = parse_device(describe_section("dev", 0, case.description, case.values))
    with pytest.raises(StreamError) as caught:
        decode_body(parsed.body, good[:cut])
    assert 0 <= caught.value.offset <= cut
