"""Streams that a real QEMU 10.0.2 wrote."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from migsim.channel import FileInput, MemoryInput, MemoryOutput
from migsim.stream import (
    BlockInfo,
    Command,
    Configuration,
    Description,
    DeviceSection,
    OutFile,
    PageBatch,
    RamBlocks,
    StreamReader,
    StreamWriter,
    Trailing,
    check_stream,
    rewrite,
    write_item,
)
from migsim.vmstate.common import read_globalstate

SAMPLES = [
    "microvm-8m",
    "none-1m",
    "none-1m-ignore-shared",
    "none-1m-ignore-shared-memfd",
    "none-1m-offset",
    "none-4m-default-ram",
    "none-noram",
    "pc-8m",
    "q35-8m",
]
NONE_SAMPLES = [name for name in SAMPLES if name.startswith("none")]


def ram_of(items):
    ram = {}
    for item in items:
        if isinstance(item, RamBlocks):
            ram = {block.name: np.zeros((block.pages, 4096), np.uint8) for block in item.blocks}
        elif isinstance(item, PageBatch):
            ram[item.block][item.pfns] = 0 if item.is_zero else item.data
    return {name: hashlib.sha256(pages).hexdigest() for name, pages in ram.items()}


def expected_ram(entry):
    return {
        name: block["sha256"]
        if block.get("in_stream", True)
        else hashlib.sha256(bytes(block["length"])).hexdigest()
        for name, block in entry["blocks"].items()
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_the_recorded_one(sample, name):
    raw, entry = sample(name)
    assert len(raw) == entry["raw_size"]
    assert hashlib.sha256(raw).hexdigest() == entry["raw_sha256"]


@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_ram_is_that_of_the_sender(sample, name, keep_order):
    raw, entry = sample(name)
    reader = StreamReader(MemoryInput(raw, offset=entry["offset"]), keep_order=keep_order)
    assert ram_of(reader) == expected_ram(entry)


@pytest.mark.parametrize("chunk_bytes", [1, 4097, 65536])
@pytest.mark.parametrize(
    "name", ["none-1m-ignore-shared-memfd", "none-noram", "none-4m-default-ram"]
)
def test_ram_from_a_pipe(sample, describe, name, chunk_bytes):
    raw, entry = sample(name)
    channel = MemoryInput(raw, seekable=False, chunk_bytes=chunk_bytes)
    assert ram_of(StreamReader(channel, describe)) == expected_ram(entry)


@pytest.mark.parametrize("name", SAMPLES)
def test_check_counts_what_the_manifest_says(sample, name):
    raw, entry = sample(name)
    summary = check_stream(MemoryInput(raw, offset=entry["offset"]))
    assert summary.offset == entry["offset"]
    assert summary.length_bytes == entry["length"] == len(raw) - entry["offset"]
    assert summary.ram_parts == entry["ram_parts"]
    assert sum(summary.normal_pages.values()) == entry["normal_pages"]
    assert sum(summary.zero_pages.values()) == entry["zero_pages"]
    assert len(summary.devices) == entry["devices"]
    assert summary.description_bytes == entry["description_bytes"]
    assert {block.name: block.used_bytes for block in summary.blocks} == {
        block: facts["length"] for block, facts in entry["blocks"].items()
    }
    assert list(summary.capabilities) == entry["capabilities"]
    assert summary.trailing_bytes == 0
    assert summary.commands == [11]


@pytest.mark.parametrize("name", SAMPLES)
def test_rewriting_gives_the_same_bytes_and_the_senders_count(sample, name):
    raw, entry = sample(name)
    sink = MemoryOutput()
    out = OutFile(sink)
    reader = StreamReader(MemoryInput(raw, offset=entry["offset"]), keep_order=True)
    rewrite(reader, StreamWriter(out))
    assert sink.getvalue() == raw[entry["offset"] :]
    assert out.transferred == entry["transferred"]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_writer_makes_the_same_description(sample, name):
    raw, entry = sample(name)
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink))
    for item in StreamReader(MemoryInput(raw, offset=entry["offset"]), keep_order=True):
        if isinstance(item, Description):
            writer.description()
        else:
            write_item(item, writer)
    writer.out.flush()
    assert sink.getvalue() == raw[entry["offset"] :]


@pytest.mark.parametrize("name", NONE_SAMPLES)
def test_machine_none_written_from_nothing_but_values(sample, describe, name):
    raw, entry = sample(name)
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink))
    for item in StreamReader(MemoryInput(raw, offset=entry["offset"]), describe, keep_order=True):
        if isinstance(item, DeviceSection):
            known = describe(item.name, item.instance_id)
            writer.device(item.section_id, item.name, item.instance_id, known, item.values)
        elif isinstance(item, Description):
            writer.description()
        else:
            write_item(item, writer)
    writer.out.flush()
    assert sink.getvalue() == raw[entry["offset"] :]


@pytest.mark.parametrize("name", NONE_SAMPLES)
def test_known_sections_are_decoded(sample, describe, name):
    raw, entry = sample(name)
    reader = StreamReader(MemoryInput(raw, offset=entry["offset"]), describe)
    devices = {item.name: item for item in reader if isinstance(item, DeviceSection)}
    assert list(devices) == ["timer", "globalstate"]
    assert read_globalstate(devices["globalstate"].values) == (entry["runstate_before"], False)
    assert len(devices["timer"].body) == 24


def test_configuration_and_addresses_with_ignored_ram(sample):
    raw, _ = sample("none-1m-ignore-shared")
    items = list(StreamReader(MemoryInput(raw)))
    (configuration,) = (item for item in items if isinstance(item, Configuration))
    assert configuration == Configuration(8, "none", ("x-ignore-shared",))
    (blocks,) = (item for item in items if isinstance(item, RamBlocks))
    assert blocks.blocks == (BlockInfo("ram0", 1 << 20, address=0),)
    assert blocks.total_bytes == 1 << 20
    assert not any(isinstance(item, PageBatch) for item in items)


def test_pages_of_a_file_are_looked_at_in_one_buffer(sample, tmp_path):
    raw, entry = sample("none-1m-offset")
    path = tmp_path / "stream"
    path.write_bytes(raw)
    channel = FileInput(path, entry["offset"])
    pages = 0
    for item in StreamReader(channel, keep_order=True):
        if isinstance(item, PageBatch) and not item.is_zero:
            assert not item.data.flags.owndata
            assert not item.data.flags.writeable
            pages += len(item.data)
    assert pages == entry["normal_pages"]


def test_bytes_behind_the_end_are_told(sample):
    raw, entry = sample("none-noram")
    items = list(StreamReader(MemoryInput(raw + b"tail")))
    assert items[-1] == Trailing(len(raw), 4)
    assert isinstance(items[-2], Description)
    assert check_stream(MemoryInput(raw + b"tail")).length_bytes == entry["length"]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 4096, None])
def test_unknown_devices_from_a_pipe_end_at_their_footers(sample, chunk_bytes):
    raw, _ = sample("none-noram")
    piped = MemoryInput(raw, seekable=False, chunk_bytes=chunk_bytes)
    found = [item for item in StreamReader(piped) if isinstance(item, DeviceSection)]
    known = [item for item in StreamReader(MemoryInput(raw)) if isinstance(item, DeviceSection)]
    assert [item.body for item in found] == [item.body for item in known]
    assert [item.entry is None for item in found + known] == [True, True, False, False]


def test_the_switchover_command_is_where_the_writer_put_it(sample):
    raw, _ = sample("none-noram")
    items = list(StreamReader(MemoryInput(raw)))
    (command,) = (item for item in items if isinstance(item, Command))
    assert (command.number, command.data) == (11, b"")
