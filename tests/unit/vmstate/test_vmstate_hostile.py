"""A description from a stream is not trusted: a StreamError, or a bounded result."""

from __future__ import annotations

import json
import time

import pytest

from migsim.errors import ConfigError, StreamError
from migsim.vmstate.described import DecodedField, DecodedStruct, decode_body, encode_body
from migsim.vmstate.entries import (
    DEPTH_LIMIT,
    VMDESC_LIMIT_BYTES,
    StructEntry,
    parse_device,
    parse_vmdesc,
)


def device(*fields: object, **members: object) -> dict[str, object]:
    return {
        "name": "d",
        "instance_id": 0,
        "vmsd_name": "d",
        "version": 1,
        "fields": list(fields),
    } | members


def entry(*fields: object) -> StructEntry:
    return parse_device(device(*fields)).body


def field(type: str = "uint8", size: object = 1, **members: object) -> dict[str, object]:
    return {"name": "x", "type": type, "size": size} | members


def structure(*fields: object, size: int, **members: object) -> dict[str, object]:
    inner = {"vmsd_name": "i", "version": 1, "fields": list(fields)}
    return {"name": "x", "type": "struct", "struct": inner, "size": size} | members


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        '{"name": "ä"}'.encode(),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"page_size": ' + b"9" * 5000 + b"}",
        b'{"page_size": 4096}',
        b'{"page_size": 4096, "devices": {}}',
        b'{"page_size": NaN, "devices": []}',
        b'{"page_size": true, "devices": []}',
        b'{"page_size": -1, "devices": []}',
        b'{"page_size": 4096, "devices": [], "configuration": 1}',
    ],
)
def test_what_is_no_description(text: bytes) -> None:
    with pytest.raises(StreamError) as caught:
        parse_vmdesc(text, 77)
    assert (caught.value.offset, caught.value.section) == (77, "vmdesc")


def test_a_description_beyond_the_limit_is_not_parsed() -> None:
    with pytest.raises(StreamError, match="at most"):
        parse_vmdesc(b" " * (VMDESC_LIMIT_BYTES + 1))


def test_the_smallest_description() -> None:
    found = parse_vmdesc(memoryview(b'{"page_size": 4096, "devices": []}'))
    assert (found.page_size, found.configuration, found.devices) == (4096, None, ())


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        device(name=None),
        device(name="n" * 256),
        device(instance_id="0"),
        device(instance_id=1 << 32),
        device(version=-1),
        device(fields={}),
        device(subsections=5),
        device(subsections=[5]),
        device(5),
        device(field(size=None)),
        device(field(size=-1)),
        device(field(size=1.0)),
        device(field(size=True)),
        device(field(size=1 << 64)),
        device(field(type=None)),
        device(field(array_len=-1)),
        device(field(array_len="2")),
        device(field(index=None)),
        device(field(type="struct")),
        device(field(struct={"vmsd_name": "i", "version": 1, "fields": []})),
        device(structure({"no": "field"}, size=0)),
    ],
)
def test_members_that_are_missing_or_of_a_wrong_type(wrong: object) -> None:
    with pytest.raises(StreamError) as caught:
        parse_device(wrong, 5)
    assert caught.value.offset == 5


def nested(levels: int) -> dict[str, object]:
    inner = field()
    for _ in range(levels):
        inner = structure(inner, size=1)
    return inner


def test_nesting_up_to_the_limit_and_no_further() -> None:
    body, end = decode_body(entry(nested(DEPTH_LIMIT)), b"\7")
    assert end == 1
    assert encode_body(body) == b"\7"
    with pytest.raises(StreamError, match="levels"):
        parse_device(device(nested(DEPTH_LIMIT + 1)))


@pytest.mark.parametrize(
    "member",
    [
        field("uint32", 3),
        field("bool", 2),
        field("bool", 0, array_len=1 << 62),
        field("buffer", 1 << 62),
        field("buffer", 0, array_len=1 << 62),
        field("uint64", 8, array_len=1 << 62),
        field("something", 1 << 30, array_len=1 << 30),
        field("capability", 1, array_len=1 << 62),
        field("capability", 3),
        field("bitmap", 7),
        field("nullptr", 1),
        field("nullptr", 0),
        structure(field(), size=2),
        structure(field(), size=0),
        structure(size=0, array_len=1 << 62),
        structure(field("fd", 0), field("fd", 0), size=0, array_len=60_000),
    ],
)
def test_sizes_and_counts_that_do_not_fit_the_bytes(member: dict[str, object]) -> None:
    begin = time.thread_time()
    with pytest.raises(StreamError) as caught:
        decode_body(entry(member), bytes([9] * 64), 8, base=1000, section="dev")
    assert 1008 <= caught.value.offset <= 1064
    assert caught.value.section == "dev"
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("member", "data", "value"),
    [
        (field("bool"), b"\1", True),
        (field("bool"), b"\2", 2),
        (field("int8"), b"\xff", -1),
        (field("timer", 8), b"\xff" * 8, -1),
        (field("int64 equal", 8), b"\xff" * 8, (1 << 64) - 1),
        (field("CPU_Double_U", 8), bytes(7) + b"\1", 1),
        (field("bitmap", 16), bytes(7) + b"\2" + bytes(7) + b"\1", 2 | 1 << 64),
        (field("nullptr"), b"0", None),
        (field("capability", 4), b"\3abc", "abc"),
        (field("capability", 4, array_len=2), b"\3abc\1z", ("abc", "z")),
        (field("virtio", 3), b"abc", b"abc"),
        (field("unused_buffer", 3), b"abc", b"abc"),
        (field("tmp", 2, vmsd_name="t", version=0, fields="ignored"), b"ab", b"ab"),
        (field("qtailq", 2, fields=[5]), b"\1\0", b"\1\0"),
        (field("vstruct", 2), b"ab", b"ab"),
        (field("fd", 0), b"", b""),
        (field("uint16", 2, array_len=2), b"\0\1\0\2", (1, 2)),
        (field("uint16", 2, array_len=0), b"", ()),
        (field("buffer", 2, array_len=2), b"abcd", (b"ab", b"cd")),
        (field("bool", 1, array_len=2), b"\1\0", (True, False)),
    ],
)
def test_every_kind_decodes_and_encodes_back(member, data: bytes, value: object) -> None:
    body, end = decode_body(entry(member), b"..." + data + b"...", 3)
    assert end == 3 + len(data)
    assert body["x"] == value
    assert type(body["x"]) is type(value)
    assert encode_body(body) == data


def test_an_array_of_structures() -> None:
    member = structure(field(), field("uint16", 2), size=3, array_len=2)
    body, _ = decode_body(entry(member), b"\1\0\2\3\0\4")
    first, second = body["x"]
    assert isinstance(first, DecodedStruct)
    assert [f.value for f in first.fields + second.fields] == [1, 2, 3, 4]
    assert [f.offset for f in first.fields + second.fields] == [0, 1, 3, 4]
    assert encode_body(body) == b"\1\0\2\3\0\4"


def test_repeated_keys_of_lists_do_no_harm() -> None:
    text = json.dumps({"page_size": 4096, "devices": [device(field("qtailq", 2))]})
    text = text.replace('"type": "qtailq"', '"fields": [], "type": "qtailq", "fields": [1]')
    (found,) = parse_vmdesc(text.encode()).devices
    assert decode_body(found.body, b"\1\0")[1] == 2


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (field("buffer", 2), b"abc"),
        (field("uint8"), 256),
        (field("uint8"), "a"),
        (field("uint8", array_len=2), 5),
        (field("uint8", array_len=2), (5,)),
        (field("bitmap", 8), 1 << 64),
        (field("bitmap", 8), (1,)),
        (field("capability", 3), "abc"),
        (field("buffer", 2), None),
    ],
)
def test_a_replaced_value_that_does_not_fit_is_refused(member, value: object) -> None:
    body = entry(member)
    changed = DecodedStruct(body, 0, 2, (DecodedField(body.fields[0], 0, 2, value),))
    with pytest.raises(ConfigError, match="field x"):
        encode_body(changed)
