"""Structured options against the schema, typed from JSON and read from text."""

from __future__ import annotations

import pytest

from migsim.cmdline.schema import cases, check, check_object, member_names
from migsim.errors import ParameterError

FILE = {"transport": "file", "filename": "f", "offset": 0}


def test_typed_and_textual_values_come_to_the_same():
    typed = {"channel-type": "main", "addr": FILE}
    textual = {"channel-type": "main", "addr": {**FILE, "offset": "0x0"}}
    assert check("channel", typed) == check("channel", textual, textual=True) == typed


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"offset": "0"}, "addr.offset"),
        ({"offset": True}, "addr.offset"),
        ({"offset": 1.0}, "addr.offset"),
        ({"offset": 1 << 64}, "addr.offset"),
        ({"filename": 3}, "addr.filename"),
        ({"filename": None}, "addr.filename"),
        ({"colour": 1}, "addr.colour"),
        ({"transport": "pigeon"}, "addr.transport"),
        ({"transport": "socket"}, "addr.type"),
        ({"transport": ["file"]}, "addr.transport"),
    ],
)
def test_errors_name_the_member(change, path):
    with pytest.raises(ParameterError) as refused:
        check("channel", {"channel-type": "main", "addr": {**FILE, **change}})
    assert refused.value.name == path


@pytest.mark.parametrize("gone", ["transport", "filename", "offset"])
def test_members_that_have_to_be_there(gone):
    address = {name: value for name, value in FILE.items() if name != gone}
    with pytest.raises(ParameterError, match="missing"):
        check("channel", {"channel-type": "main", "addr": address})


def test_offsets_of_channels_take_no_suffix_but_sizes_of_memory_do():
    address = {"transport": "file", "filename": "f", "offset": "1k"}
    with pytest.raises(ParameterError, match=r"addr\.offset"):
        check("channel", {"channel-type": "main", "addr": address}, textual=True)
    members = {"qom-type": "memory-backend-ram", "id": "r", "size": "1k"}
    assert check_object("object", members, textual=True)["size"] == 1024


def test_alternatives_are_picked_by_their_type():
    node = {"driver": "raw", "node-name": "n"}
    assert check("blockdev", {**node, "file": "other"})
    assert check("blockdev", {**node, "file": {"driver": "null-co"}})
    backing = {"driver": "qcow2", "node-name": "n", "file": "f", "backing": None}
    assert check_object("blockdev", backing)["backing"] is None
    for value in (3, True, [], None):
        with pytest.raises(ParameterError):
            check("blockdev", {**node, "file": value})


def test_nested_cases():
    cipher = {"driver": "luks", "node-name": "n", "file": "f", "key-secret": "s"}
    assert check_object("blockdev", cipher)["key-secret"] == "s"
    with pytest.raises(ParameterError, match="key-secret"):
        check("blockdev", {**cipher, "driver": "raw"})


def test_lists():
    address = {"transport": "exec", "args": ["a", "b"]}
    assert check_object("channel", {"channel-type": "cpr", "addr": address})["addr"] == address
    with pytest.raises(ParameterError, match=r"addr\.args\.1"):
        check("channel", {"channel-type": "cpr", "addr": {**address, "args": ["a", 1]}})


def test_names_of_members():
    assert {"driver", "node-name", "read-only"} <= member_names("blockdev", "raw")
    assert "offset" in member_names("blockdev", "raw")
    assert "l2-cache-size" not in member_names("blockdev", "raw")
    assert "l2-cache-size" in member_names("blockdev")
    assert {"vmdk", "vvfat"} <= set(cases("blockdev"))


def test_an_object_is_needed():
    with pytest.raises(ParameterError, match="an object"):
        check_object("channel", "text")
