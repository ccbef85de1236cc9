"""What the writer puts on the wire."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import ConfigError, DeviceError
from migsim.stream import (
    BlockInfo,
    Configuration,
    DeviceSection,
    EndMarker,
    OutFile,
    RamBlocks,
    StreamReader,
    StreamWriter,
)
from migsim.stream.wire import CommandKind, SectionType
from migsim.vmstate.common import GLOBALSTATE, globalstate_values


@pytest.fixture
def sink():
    return MemoryOutput()


@pytest.fixture
def writer(sink):
    return StreamWriter(OutFile(sink))


def test_pieces_make_the_hand_made_stream(writer, sink, parts):
    data = np.zeros((4, 4096), np.uint8)
    data[1], data[2] = 0x11, 0x22
    writer.header()
    writer.configuration("none")
    writer.ram_setup(1, [BlockInfo("ram0", 0x8000)])
    writer.begin_part(1)
    writer.pages("ram0", np.arange(4), data, np.array([True, False, False, True]))
    writer.end_ram_part(1)
    writer.begin_part(1, SectionType.END)
    writer.end_ram_part(1)
    writer.finish(description=False)
    assert sink.getvalue() == parts().join()
    assert writer.out.transferred == len(sink.getvalue())


def test_flushes_happen_where_qemu_has_them(writer):
    writer.header()
    writer.configuration("none")
    assert writer.out.transferred == 0
    writer.ram_setup(1, [BlockInfo("ram0", 0x8000)])
    assert writer.out.queued == 5
    before = writer.out.transferred
    writer.begin_part(1)
    writer.end_ram_part(1)
    assert writer.out.transferred - before == 5 + 5 + 8
    assert writer.out.queued == 5


def test_the_name_is_written_when_the_block_changes(writer, sink):
    one, page, zero = np.arange(1), np.ones((1, 4096), np.uint8), np.ones(1, bool)
    for block, name in (("a", "a"), ("a", None), ("b", "b"), ("a", "a")):
        assert writer.next_name(block) == name
        writer.pages(block, one, page, zero)
    writer.forget_block()
    writer.pages("a", one, page, zero)
    writer.pages("b", one[:0], page[:0], zero[:0])
    assert writer.next_name("a") is None
    writer.out.flush()
    assert len(sink.getvalue()) == 5 * 9 + 4 * 2


def test_configuration_with_capabilities_and_uuid(writer, sink):
    writer.header()
    writer.configuration("pc-q35-10.0", ["x-ignore-shared"], bytes(range(16)))
    writer.finish()
    raw = sink.getvalue()
    assert raw.startswith(
        b"QEVM\0\0\0\3\7\0\0\0\x0bpc-q35-10.0"
        b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0fx-ignore-shared"
        b"\5\x12configuration/uuid\0\0\0\1\0\1\2\3"
    )
    items = list(StreamReader(MemoryInput(raw)))
    assert items[1] == Configuration(8, "pc-q35-10.0", ("x-ignore-shared",), bytes(range(16)))
    described = items[-1].parsed()
    names = [entry["vmsd_name"] for entry in described["configuration"]["subsections"]]
    assert names == ["configuration/capabilities", "configuration/uuid"]
    assert described["page_size"] == 4096


def test_devices_are_described_in_their_order(writer, sink):
    writer.header()
    writer.configuration("none")
    writer.opaque_device(7, "blob", 3, 2, b"\1\2\3")
    writer.device(8, "globalstate", 0, GLOBALSTATE, globalstate_values("running"))
    writer.finish()
    items = list(StreamReader(MemoryInput(sink.getvalue())))
    devices = [item for item in items if isinstance(item, DeviceSection)]
    assert [(d.name, d.instance_id, d.version, d.section_id) for d in devices] == [
        ("blob", 3, 2, 7),
        ("globalstate", 0, 1, 8),
    ]
    assert bytes(devices[0].body) == b"\1\2\3"
    assert len(devices[1].body) == 104
    entries = items[-1].parsed()["devices"]
    assert [entry["name"] for entry in entries] == ["blob", "globalstate"]
    assert json.dumps(items[-1].parsed()).encode() == items[-1].raw


def test_a_suppressed_description_leaves_the_end_marker_last(writer, sink):
    writer.header()
    writer.configuration("none")
    writer.finish(description=False)
    assert sink.getvalue()[-1:] == b"\0"
    assert isinstance(list(StreamReader(MemoryInput(sink.getvalue())))[-1], EndMarker)


def test_commands(writer, sink):
    writer.command(CommandKind.SWITCHOVER_START)
    writer.command(CommandKind.PING, struct.pack(">I", 2))
    writer.out.flush()
    assert sink.getvalue() == b"\x08\0\x0b\0\0" + b"\x08\0\2\0\4\0\0\0\2"


def test_block_lists(writer, sink):
    blocks = (
        BlockInfo("pc.ram", 1 << 40, address=0),
        BlockInfo("/rom@etc/acpi/tables", 0x20000, address=0xC0000),
    )
    writer.header()
    writer.configuration("pc", ["x-ignore-shared"])
    writer.ram_setup(1, blocks)
    writer.finish()
    items = list(StreamReader(MemoryInput(sink.getvalue())))
    (found,) = (item for item in items if isinstance(item, RamBlocks))
    assert found.blocks == blocks
    assert found.total_bytes == (1 << 40) + 0x20000


@pytest.mark.parametrize(
    "blocks",
    [
        [BlockInfo("a", 4095)],
        [BlockInfo("a", 4096), BlockInfo("a", 4096)],
        [BlockInfo("", 4096)],
        [BlockInfo("x" * 256, 4096)],
    ],
)
def test_block_lists_that_cannot_be_written(writer, blocks):
    with pytest.raises(ConfigError):
        writer.ram_setup(1, blocks)


def test_values_that_do_not_fit_are_refused(writer):
    with pytest.raises(DeviceError):
        writer.device(8, "globalstate", 0, GLOBALSTATE, {})
