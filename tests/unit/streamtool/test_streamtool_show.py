"""Decoded state: every sample, selection of sections and fields, what has no description."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from state_files import (
    MANIFEST,
    WHOLE,
    device,
    globalstate,
    sample_files,
    stream,
    unpacked,
    written,
)

from migsim.errors import ParameterError, StreamError
from migsim.streamtool import StreamFiles, show_state

NONE = "none-1m"


@pytest.mark.parametrize("name", WHOLE)
def test_every_device_of_every_sample_is_decoded_where_it_is_described(name):
    state = show_state(sample_files(name))
    assert state.fault is None
    described = MANIFEST[name]["description_bytes"] is not None
    for section in state.sections:
        if described or section.name in ("timer", "globalstate", "configuration"):
            assert section.described, section.name
        # Fields lie one behind the other; headers of subsections come between them.
        places = [(field.offset, field.size_bytes) for field in section.fields]
        assert places == sorted(places, key=lambda place: place[0])
        for (first, size), (second, _) in pairwise(places):
            assert first + size <= second
    raw = sample_files(name).path.read_bytes()
    for section in state.sections:
        for field in section.fields:
            if isinstance(field.value, bytes):
                place = slice(field.offset, field.offset + field.size_bytes)
                assert raw[place] == field.value
            if field.type == "uint32" and isinstance(field.value, int):
                assert struct.unpack_from(">I", raw, field.offset) == (field.value,)


def test_a_section_by_its_name():
    state = show_state(sample_files("q35-8m"), "0000:00:1f.3/ich9_smb")
    (section,) = state.sections
    assert section.name == "0000:00:1f.3/ich9_smb"
    assert len(section.fields) > 5


def test_a_field_of_a_section_whose_name_has_slashes():
    state = show_state(sample_files("q35-8m"), "0000:00:1f.3/ich9_smb/dev.config")
    (section,) = state.sections
    (field,) = section.fields
    assert (field.path, field.type, field.size_bytes) == ("dev.config[0]", "pci config", 256)
    assert isinstance(field.value, bytes)


@pytest.mark.parametrize(
    ("wanted", "instances"), [("i8259", [0, 1]), ("i8259#1", [1]), ("i82*", [0, 1, 0])]
)
def test_instances_and_patterns(wanted, instances):
    state = show_state(sample_files("q35-8m"), wanted)
    assert [section.instance_id for section in state.sections] == instances


def test_a_structure_is_the_beginning_of_a_path():
    whole = show_state(sample_files("q35-8m"), "i8254").sections[0].fields
    some = show_state(sample_files("q35-8m"), "i8254/channels[1]").sections[0].fields
    assert some == tuple(f for f in whole if f.path.startswith("channels[1]."))
    assert len(some) > 5
    assert show_state(sample_files("q35-8m"), "cpu/env.regs").sections[0].fields[0].value[1] == 0


def test_the_configuration_is_a_section_too():
    (section,) = show_state(sample_files("q35-8m-mapped-ram"), "configuration").sections
    values = {field.path: field.value for field in section.fields}
    assert values["name"] == b"pc-q35-10.0"
    assert values["configuration/capabilities:capabilities"] == "mapped-ram"
    raw = sample_files("q35-8m-mapped-ram").path.read_bytes()
    name = next(field for field in section.fields if field.path == "name")
    assert raw[name.offset : name.offset + name.size_bytes] == b"pc-q35-10.0"


@pytest.mark.parametrize(
    "wanted", ["nonsense", "cpu/nonsense", "i8259#7", "ram", "cpu/env.reg", ""]
)
def test_what_is_not_there_is_refused_with_names_that_are(wanted):
    with pytest.raises(ParameterError) as error:
        show_state(sample_files("q35-8m"), wanted)
    assert error.value.value == wanted
    if wanted.startswith("cpu"):
        assert "cpu_common" in str(error.value)


def test_without_a_description_common_sections_are_known_and_others_are_bytes():
    state = show_state(sample_files("pc-8m-postcopy"))
    sections = {section.name: section for section in state.sections}
    assert sections["timer"].described
    assert sections["globalstate"].described
    assert not sections["cpu"].described
    (field,) = sections["cpu"].fields
    assert field.type == "buffer"
    assert len(field.value) == sections["cpu"].size_bytes


def test_a_description_that_does_not_fit_counts_as_none(tmp_path):
    raw = unpacked("none-1m.bin.xz").read_bytes()
    broken = raw.replace(
        b'"cpu_clock_offset", "type": "int64", "size": 8',
        b'"cpu_clock_offset", "type": "int64", "size": 9',
    )
    assert broken != raw
    state = show_state(written(tmp_path / "s", broken), "timer")
    (section,) = state.sections
    assert section.described  # by what is known of it without the stream
    assert [field.path for field in section.fields][-1] == "cpu_clock_offset"


def test_what_comes_before_a_fault_is_shown(tmp_path):
    raw = stream(devices=device("one", b"\1\2\3") + globalstate()[:50], end=b"")
    state = show_state(written(tmp_path / "s", raw))
    assert [section.name for section in state.sections] == ["configuration", "one"]
    assert state.sections[1].fields[0].value == b"\1\2\3"
    assert state.fault.section == "globalstate"


def test_what_is_no_stream_is_an_error(tmp_path):
    (tmp_path / "s").write_bytes(b"nothing of the kind")
    with pytest.raises(StreamError):
        show_state(StreamFiles.at(tmp_path / "s"))
