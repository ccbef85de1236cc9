"""Every device section of real streams: decoded by the stream's own description, and back."""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from migsim.errors import StreamError
from migsim.vmstate.codec import decode, encode
from migsim.vmstate.common import CONFIGURATION, GLOBALSTATE, TIMER, read_globalstate
from migsim.vmstate.describe import describe, describe_section, to_json
from migsim.vmstate.described import (
    DecodedField,
    DecodedStruct,
    decode_body,
    encode_body,
    walk,
)
from migsim.vmstate.entries import DeviceEntry, parse_vmdesc

STREAMS = Path(__file__).parents[2] / "data" / "streams"
SAMPLES = ("q35-8m-devices", "q35-8m-kvm-running", "pc-8m", "microvm-8m", "none-1m")


class Section(NamedTuple):
    entry: DeviceEntry
    json: dict[str, object]
    body: int
    end: int


@cache
def load(name: str) -> bytes:
    return lzma.decompress((STREAMS / f"{name}.bin.xz").read_bytes())


def find_vmdesc(stream: bytes) -> int:
    """Return the offset of the JSON, found backwards from the end."""
    at = len(stream)
    while (at := stream.rfind(b"\x00\x06", 0, at)) >= 0:
        size = int.from_bytes(stream[at + 2 : at + 6], "big")
        if at + 6 + size == len(stream):
            return at + 6
    raise AssertionError("no description")


@cache
def sections(name: str) -> list[Section]:
    """Return the FULL sections, by walking from the first one to the end marker."""
    stream = load(name)
    text = find_vmdesc(stream)
    raw = json.loads(stream[text:])["devices"]
    entries = parse_vmdesc(stream[text:], text).devices
    at = stream.rfind(header(entries[0])) - 5
    found = []
    for entry, member in zip(entries, raw, strict=True):
        assert stream[at] == 4
        assert stream[at + 5 :].startswith(header(entry))
        body = at + 5 + len(header(entry))
        _, end = decode_body(entry.body, stream, body)
        assert stream[end : end + 5] == b"\x7e" + stream[at + 1 : at + 5]
        found.append(Section(entry, member, body, end))
        at = end + 5
    assert at == text - 6
    return found


def header(entry: DeviceEntry) -> bytes:
    name = entry.name.encode()
    numbers = (entry.instance_id, entry.body.version)
    return bytes([len(name)]) + name + b"".join(n.to_bytes(4, "big") for n in numbers)


def find(name: str, section: str) -> Section:
    return next(s for s in sections(name) if s.entry.name == section)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_section_decodes_to_its_footer_and_encodes_to_the_same_bytes(name: str) -> None:
    stream = load(name)
    for section in sections(name):
        body, end = decode_body(section.entry.body, stream, section.body)
        assert encode_body(body) == stream[section.body : section.end]
        assert (body.offset, body.size) == (section.body, end - section.body)


@pytest.mark.parametrize("name", SAMPLES)
def test_only_subsection_headers_lie_between_the_places_of_values(name: str) -> None:
    stream = load(name)
    for section in sections(name):
        body, end = decode_body(section.entry.body, stream, section.body)
        at = section.body
        for _, field in walk(body):
            assert stream[at : field.offset][:1] in (b"", b"\x05")
            at = field.offset + field.size
        assert at == end


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("known", [TIMER, GLOBALSTATE], ids=lambda d: d.name)
def test_own_description_reads_writes_and_describes_as_the_real_program(name, known) -> None:
    stream = load(name)
    section = find(name, known.name)
    values, end = decode(known, stream, section.body)
    assert end == section.end
    assert encode(known, values) == stream[section.body : section.end]
    entry = describe_section(known.name, 0, known, values)
    assert to_json(entry) == json.dumps(section.json).encode()
    assert to_json(entry) in stream[find_vmdesc(stream) :]


def test_globalstate_of_a_stopped_and_a_running_guest() -> None:
    for name, state in (("q35-8m-devices", "prelaunch"), ("q35-8m-kvm-running", "running")):
        values, _ = decode(GLOBALSTATE, load(name), find(name, "globalstate").body)
        assert read_globalstate(values) == (state, False)
        assert values["size"] == len(state) + 1


@pytest.mark.parametrize("name", SAMPLES)
def test_configuration_reads_writes_and_describes_as_the_real_program(name: str) -> None:
    stream = load(name)
    values, end = decode(CONFIGURATION, stream, 9)
    assert encode(CONFIGURATION, values) == stream[9:end]
    assert stream[end] == 1  # the first section
    expected = json.loads(stream[find_vmdesc(stream) :])["configuration"]
    assert to_json(describe(CONFIGURATION, values)) == json.dumps(expected).encode()


def test_values_have_names_types_and_places() -> None:
    stream = load("q35-8m-devices")
    section = find("q35-8m-devices", "cpu")
    body, _ = decode_body(section.entry.body, stream, section.body)
    fields: dict[str, DecodedField] = dict(walk(body))
    assert isinstance(body["env.regs"], tuple)
    assert len(body["env.regs"]) == 16
    eip = fields["env.eip"]
    assert (eip.entry.type, eip.size, eip.value) == ("uint64", 8, 0xFFF0)
    assert stream[eip.offset : eip.offset + 8] == (0xFFF0).to_bytes(8, "big")
    assert fields["env.fpregs[7].tmp"].value == stream_slice(stream, fields["env.fpregs[7].tmp"])
    assert any(path.startswith("cpu/poll_control_msr:") for path in fields)


def stream_slice(stream: bytes, field: DecodedField) -> bytes:
    return stream[field.offset : field.offset + field.size]


def test_elements_with_an_entry_each_are_told_apart_by_index() -> None:
    stream = load("q35-8m-devices")
    section = find("q35-8m-devices", "0000:00:1f.2/ich9_ahci")
    body, _ = decode_body(section.entry.body, stream, section.body)
    ahci = body["ahci"]
    assert isinstance(ahci, DecodedStruct)
    assert isinstance(ahci["dev[0]"], DecodedStruct)
    assert isinstance(ahci["dev[5]"], DecodedStruct)
    assert ahci["dev[0]"] != ahci["dev[1]"]
    with pytest.raises(KeyError):
        ahci["dev"]


@pytest.mark.parametrize("name", ["q35-8m-devices", "microvm-8m"])
def test_a_section_cut_anywhere_is_a_stream_error(name: str) -> None:
    stream = load(name)
    for section in sections(name):
        size = section.end - section.body
        body = stream[section.body : section.end]
        for cut in {0, 1, size // 2, size - 1} - {size}:
            with pytest.raises(StreamError) as caught:
                decode_body(section.entry.body, body[:cut], base=section.body, section="cut")
            assert section.body <= caught.value.offset <= section.body + cut
            assert caught.value.section == "cut"


def test_a_subsection_of_another_name_or_version_is_refused() -> None:
    stream = load("q35-8m-devices")
    section = find("q35-8m-devices", "fw_cfg")
    body = bytearray(stream[section.body : section.end])
    at = body.index(b"\x05\x0afw_cfg/dma")
    for place in (at, at + 3, at + 15):
        wrong = bytearray(body)
        wrong[place] ^= 1
        with pytest.raises(StreamError):
            decode_body(section.entry.body, wrong)
