"""The description at the end: found from behind, and used to measure device bodies."""

from __future__ import annotations

import json
import struct

import pytest

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream.source import open_source
from migsim.stream.vmdesc import body_bytes, find_description, make_description


def tail(text, marker=b"\0\6", size=None):
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return marker + struct.pack(">I", len(raw) if size is None else size) + raw


def find(raw, start=0):
    return find_description(open_source(MemoryInput(raw)), start)


GOOD = {"devices": [{"name": "timer"}]}


@pytest.mark.parametrize("before", [0, 1, 5, (1 << 20) - 20, (1 << 20) - 3, 1 << 20, 3 << 20])
@pytest.mark.parametrize("behind", [0, 1, (1 << 20) - 30, (1 << 20) - 3, 1 << 20, 2 << 20])
def test_it_is_found_wherever_it_lies(before, behind):
    raw = bytes(before) + tail(GOOD) + b"\7" * behind
    found = find(raw)
    assert found is not None
    assert found.offset == before
    assert [entry["name"] for entry in found.devices] == ["timer"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        b"\0\6",
        b"\0\6\0\0\0\2",
        tail([1, 2]),
        tail({"devices": 5}),
        tail({"devices": [5]}),
        tail({}),
        tail(GOOD, size=1 << 31),
        tail(GOOD, size=7),
        tail(GOOD, size=0),
        tail(GOOD, marker=b"\1\6"),
        tail(b"{" + b" " * 30),
        tail(b'{"devices": [] ' + b"[" * 100_000 + b"}"),
        tail(b'{"devices": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}"),
        tail(b'{"devices": [], "n": ' + b"9" * 10_000 + b"}", size=50),
        tail(b"{\xff}"),
    ],
)
def test_what_only_looks_like_one_is_none(raw):
    assert find(raw) is None


def test_the_last_one_counts_and_what_is_before_the_start_does_not():
    raw = tail({"devices": []}) + tail(GOOD) + tail({"no": 1})
    found = find(raw)
    assert found is not None
    assert found.devices
    assert find(raw, found.offset + 1) is None


def field(size, **more):
    return {"name": "f", "type": "buffer", "size": size, **more}


def sub(name, version=1):
    return b"\5" + bytes((len(name),)) + name.encode() + struct.pack(">I", version)


def test_fields_arrays_and_subsections_add_up():
    inner = {"vmsd_name": "d/s/t", "version": 2, "fields": [field(1)]}
    entry = {
        "fields": [
            field(4),
            field(3, array_len=5),
            field(0),
            field(2, type="tmp", fields=[field(9)]),
        ],
        "subsections": [
            {"vmsd_name": "d/s", "version": 1, "fields": [field(8)], "subsections": [inner]},
            {"vmsd_name": "d/u", "version": 1, "fields": []},
        ],
    }
    body = bytes(21) + sub("d/s") + bytes(8) + sub("d/s/t", 2) + b"\1" + sub("d/u")
    view = memoryview(body + b"\x7ebehind")
    assert body_bytes(entry, view, "d", 100) == len(body)


def nested(depth):
    entry = {"vmsd_name": "d", "version": 1}
    for _ in range(depth):
        entry = {"vmsd_name": "d", "version": 1, "subsections": [entry]}
    return entry


@pytest.mark.parametrize(
    ("entry", "offset"),
    [
        ({"fields": [field(4), field(5)]}, 104),
        ({"fields": [field(1 << 70)]}, 100),
        ({"fields": [field(1, array_len=1 << 40)]}, 100),
        ({"fields": [field(-1)]}, 100),
        ({"fields": [field(True)]}, 100),
        ({"fields": [field(1.5)]}, 100),
        ({"fields": [field(None)]}, 100),
        ({"fields": [field(1, array_len=-1)]}, 100),
        ({"fields": 5}, 100),
        ({"fields": ["x"]}, 100),
        ({"subsections": {}}, 100),
        ({"fields": [field(1)], "subsections": [{"vmsd_name": "d/s", "version": 1}]}, 101),
        ({"subsections": [{}]}, 100),
    ],
)
def test_descriptions_that_do_not_fit_the_bytes(entry, offset):
    with pytest.raises(StreamError) as caught:
        body_bytes(entry, memoryview(bytes(8)), "d", 100)
    assert caught.value.offset == offset
    assert caught.value.section == "d"


def test_a_subsection_of_another_version():
    entry = {"subsections": [{"vmsd_name": "d/s", "version": 2}]}
    with pytest.raises(StreamError, match="version 2 of d/s"):
        body_bytes(entry, memoryview(sub("d/s", 1)), "d", 0)


def test_nesting_has_a_limit():
    body = memoryview(sub("d") * 100)
    assert body_bytes(nested(60), body, "d", 0) == 60 * len(sub("d"))
    with pytest.raises(StreamError, match="levels"):
        body_bytes(nested(80), body, "d", 0)


def test_made_descriptions_read_as_qemu_spells_them():
    raw = make_description({"vmsd_name": "configuration"}, [{"name": "timer", "instance_id": 0}])
    assert raw == (
        b'{"configuration": {"vmsd_name": "configuration"}, "page_size": 4096, '
        b'"devices": [{"name": "timer", "instance_id": 0}]}'
    )
