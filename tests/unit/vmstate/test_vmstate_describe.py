"""The description of a device's state: arrays, conditions, repeated names, subsections."""

from __future__ import annotations

import pytest

from migsim.errors import ConfigError, IncompatibleError
from migsim.vmstate.codec import encode
from migsim.vmstate.common import (
    CONFIGURATION,
    GLOBALSTATE,
    TIMER,
    configuration_values,
    globalstate_values,
    read_globalstate,
    timer_values,
)
from migsim.vmstate.describe import describe, describe_opaque, describe_section, to_json
from migsim.vmstate.entries import parse_device
from migsim.vmstate.fields import Field, FieldType, Subsection, VMStateDescription

T = FieldType


def fields_of(*fields: Field, values) -> list[dict[str, object]]:
    return describe(VMStateDescription("d", 1, fields), values)["fields"]


def test_equal_elements_share_an_entry_and_one_element_is_no_array() -> None:
    entry = {"name": "x", "type": "uint16", "size": 2}
    for count in (0, 1, 2, 3):
        found = fields_of(Field("x", T.UINT16, count=count), values={"x": [7] * count})
        shared = [{"name": "x", "array_len": count, "type": "uint16", "size": 2}]
        assert found == ([], [entry], shared, shared)[count]


def test_elements_with_a_condition_or_a_subsection_have_an_entry_each() -> None:
    sub = Subsection(VMStateDescription("i/s", 1, (Field("s", T.UINT8),)), lambda v: "s" in v)
    conditional = Field("c", T.UINT8, exists=lambda _, __: True)
    for inner in (
        VMStateDescription("i", 1, (Field("a", T.UINT8),), 0, (sub,)),
        VMStateDescription("i", 1, (Field("a", T.UINT8), conditional)),
    ):
        values = {"x": [{"a": 1, "c": 1}, {"a": 2, "c": 1, "s": 1}, {"a": 3, "c": 1}]}
        found = fields_of(Field("x", T.STRUCT, count=3, struct=inner), values=values)
        # The real program leaves the last index out; a reader fills it in.
        assert [entry.get("index") for entry in found] == [0, 1, None]
        body = {"name": "d", "instance_id": 0, "vmsd_name": "d", "version": 1, "fields": found}
        assert [field.index for field in parse_device(body).body.fields] == [0, 1, 2]
        assert list(found[0]) == ["name", "index", "type", "struct", "size"]
    plain = Field("x", T.UINT8, count=2, exists=lambda _, __: True)
    assert [e.get("index") for e in fields_of(plain, values={"x": [1, 2]})] == [0, None]


def test_the_size_of_a_structure_counts_its_subsections() -> None:
    sub = Subsection(VMStateDescription("i/s", 1, (Field("s", T.UINT8),)), lambda v: "s" in v)
    inner = VMStateDescription("i", 1, (Field("a", T.UINT8),), 0, (sub,))
    field = Field("x", T.STRUCT, struct=inner)
    (without,) = fields_of(field, values={"x": {"a": 1}})
    (with_it,) = fields_of(field, values={"x": {"a": 1, "s": 1}})
    assert without["size"] == 1
    assert "subsections" not in without["struct"]
    assert with_it["size"] == 1 + 1 + 1 + len("i/s") + 4 + 1
    assert [s["vmsd_name"] for s in with_it["struct"]["subsections"]] == ["i/s"]


def test_a_repeated_name_is_numbered_though_only_one_is_written() -> None:
    first = Field("config", T.BUFFER, size=1, exists=lambda _, __: False)
    second = Field("config", T.BUFFER, size=2)
    found = fields_of(first, second, values={"config": b"ab"})
    assert [(e["name"], e["size"]) for e in found] == [("config[1]", 2)]


def test_an_opaque_section_is_one_buffer() -> None:
    entry = describe_opaque("old", 3, 9)
    assert to_json(entry) == (
        b'{"name": "old", "instance_id": 3, "size": 9, '
        b'"fields": [{"name": "data", "size": 9, "type": "buffer"}]}'
    )
    parsed = parse_device(entry)
    assert (parsed.name, parsed.instance_id, parsed.body.fields[0].size) == ("old", 3, 9)


def test_members_of_a_section_come_in_order() -> None:
    entry = describe_section("bus/d", 4, VMStateDescription("d", 2, ()), {})
    assert list(entry) == ["name", "instance_id", "vmsd_name", "version", "fields"]


def test_configuration_with_capability_and_identity() -> None:
    values = configuration_values("none", ["x-ignore-shared"], bytes(range(16)))
    entry = describe(CONFIGURATION, values)
    capabilities, identity = entry["subsections"]
    assert capabilities["fields"] == [
        {"name": "caps_count", "type": "uint32", "size": 4},
        {"name": "capabilities", "type": "capability", "size": 16},
    ]
    assert identity["fields"] == [
        {"name": "uuid.data", "array_len": 16, "type": "uint8", "size": 1}
    ]
    with pytest.raises(ConfigError):
        configuration_values("none", uuid=b"short")


def test_configuration_without_extras_is_length_and_name() -> None:
    assert encode(CONFIGURATION, configuration_values("none")) == b"\0\0\0\4none"


def test_timer_values_are_ticks_and_clock() -> None:
    data = encode(TIMER, timer_values(clock_ns=5, ticks=-1))
    assert data == b"\xff" * 8 + bytes(8) + bytes(7) + b"\5"


@pytest.mark.parametrize("name", ["", "r" * 31])
def test_run_state_names_of_every_length(name: str) -> None:
    values = globalstate_values(name, vm_was_suspended=True)
    assert read_globalstate(values) == (name, True)
    assert len(values["runstate"]) == 32
    assert describe(GLOBALSTATE, values)["fields"][1]["size"] == 32


@pytest.mark.parametrize("name", ["r" * 32, "laufend-ä"])
def test_run_state_names_without_room(name: str) -> None:
    with pytest.raises(ConfigError):
        globalstate_values(name)


@pytest.mark.parametrize("raw", [b"r" * 32, b"\xff".ljust(32, b"\0"), 5])
def test_run_state_bytes_that_are_no_name(raw: object) -> None:
    with pytest.raises(IncompatibleError) as caught:
        read_globalstate({"runstate": raw}, offset=10)
    assert caught.value.offset == 14
