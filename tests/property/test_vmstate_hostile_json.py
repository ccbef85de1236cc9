"""JSON of any shape in place of a description: a StreamError, or a decode that is sound."""

from __future__ import annotations

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import StreamError
from migsim.guest.synthetic import nic_device
from migsim.vmstate.described import decode_body, encode_body, walk
from migsim.vmstate.entries import parse_device, parse_vmdesc

KEYS = st.sampled_from(
    [
        "name",
        "type",
        "size",
        "array_len",
        "index",
        "struct",
        "vmsd_name",
        "version",
        "fields",
        "subsections",
    ]
)
KINDS = st.sampled_from(
    [
        "uint8",
        "uint32",
        "bool",
        "buffer",
        "bitmap",
        "nullptr",
        "capability",
        "struct",
        "tmp",
        "int32",
        "le",
        "timer",
        "other",
    ]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 4, 8, 255, 1 << 31, 1 << 32, 1 << 63, 1 << 200, 0.5, 1e300])
LEAVES = st.none() | st.booleans() | NUMBERS | KINDS | st.text(max_size=4)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
BODY = nic_device().save()[0] + bytes(range(256))


def check(entry: object, body: bytes = BODY) -> None:
    try:
        parsed = parse_device(entry)
        decoded, end = decode_body(parsed.body, body)
    except StreamError:
        return
    assert encode_body(decoded) == body[:end]
    assert sum(field.size for _, field in walk(decoded)) <= end


@given(JSON)
def test_arbitrary_json(entry: object) -> None:
    check(entry)
    check({"name": "d", "instance_id": 0, "vmsd_name": "d", "version": 1, "fields": entry})


FIELDS = st.fixed_dictionaries(
    {"name": st.just("x"), "type": KINDS, "size": st.integers(0, 40)},
    optional={"array_len": st.integers(0, 9), "index": st.integers(0, 2)},
)


def structures(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    body = st.fixed_dictionaries(
        {
            "vmsd_name": st.just("i"),
            "version": st.just(1),
            "fields": st.lists(inner, max_size=4),
        },
        optional={"subsections": st.just([])},
    )
    return st.fixed_dictionaries(
        {
            "name": st.just("s"),
            "type": st.just("struct"),
            "size": st.integers(0, 40),
            "struct": body,
        },
        optional={"array_len": st.integers(0, 4)},
    )


@given(st.lists(st.recursive(FIELDS, structures, max_leaves=12), max_size=6), st.binary())
def test_well_formed_json_over_arbitrary_bytes(fields: list[object], body: bytes) -> None:
    entry = {"name": "d", "instance_id": 0, "vmsd_name": "d", "version": 1, "fields": fields}
    check(entry, body)


@given(st.data())
def test_a_true_description_with_one_member_replaced(data: st.DataObject) -> None:
    device = nic_device()
    device.values |= {"offload_flags": 1, "multicast_filter": 9, "pending": b"abc"}
    body, true = device.save()
    entry: object = json.loads(json.dumps(true))
    check(copy.deepcopy(entry), body)
    node = entry
    while True:
        assert isinstance(node, (dict, list))
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        child = node[key]  # type: ignore[index]
        if isinstance(child, (dict, list)) and child and data.draw(st.booleans()):
            node = child
            continue
        node[key] = data.draw(JSON)  # type: ignore[index]
        break
    check(entry, body)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_text(text: bytes) -> None:
    try:
        found = parse_vmdesc(text)
    except StreamError:
        return
    assert found.page_size >= 0
