"""Every recorded form of the stream: read, applied, decoded, written again, converted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from migsim.channel import FileOutput, MemoryInput, MemoryOutput
from migsim.errors import StateError, StreamError
from migsim.stream import (
    Configuration,
    Description,
    DeviceSection,
    FileStore,
    MemoryStore,
    OutFile,
    PageBatch,
    RamBlocks,
    StreamSummary,
    StreamWriter,
    XbzrleBatch,
    apply_items,
    counted,
    open_stream,
    rewrite,
)
from migsim.stream.multifd_writer import MultifdWriter
from migsim.vmstate.described import decode_body, encode_body
from migsim.vmstate.entries import parse_vmdesc

MANIFEST = json.loads(
    (Path(__file__).parents[2] / "data" / "streams" / "manifest.json").read_text()
)
ENTRIES = {entry["name"]: entry for entry in MANIFEST["samples"]}
GOOD = [name for name, entry in ENTRIES.items() if not entry.get("malformed")]
MAPPED = [name for name in GOOD if "mapped-ram" in ENTRIES[name]["capabilities"]]
IGNORING = [name for name in GOOD if "x-ignore-shared" in ENTRIES[name]["capabilities"]]
MULTIFD = [name for name in GOOD if "channels" in ENTRIES[name]]
DESCRIBED = [name for name in GOOD if ENTRIES[name]["description_bytes"]]


@pytest.fixture
def opened(sample, recording):
    """Return a function that opens a sample with all that belongs to it."""

    def open_sample(name, *, seekable=True, chunk_bytes=None, channels=True):
        raw, entry = sample(name)
        form = {"seekable": seekable, "chunk_bytes": chunk_bytes}
        further = [
            MemoryInput(recording(channel["file"]), **form)
            for channel in (entry.get("channels", ()) if channels else ())
        ]
        main = MemoryInput(raw, offset=entry["offset"], **form)
        return open_stream(main, channels=further[::-1])

    return open_sample


def hashes(items) -> dict[str, str]:
    """Return the hash of every block after all pages."""
    store = MemoryStore()
    apply_items(items, store)
    return {name: hashlib.sha256(pages).hexdigest() for name, pages in store.blocks.items()}


def expected_hashes(entry) -> dict[str, str]:
    return {
        name: block["sha256"] or hashlib.sha256(bytes(block["length"])).hexdigest()
        for name, block in entry["blocks"].items()
    }


def written(items, **form) -> bytes:
    """Return ``items`` as a writer of that form puts them."""
    sink = MemoryOutput()
    rewrite(items, StreamWriter(OutFile(sink), **form))
    return sink.getvalue()


@pytest.mark.parametrize("name", GOOD)
def test_ram_is_that_of_the_sender(opened, name):
    with opened(name) as stream:
        assert hashes(stream.items()) == expected_hashes(ENTRIES[name])


@pytest.mark.parametrize("name", [name for name in GOOD if name not in MAPPED])
def test_ram_and_devices_from_pipes(opened, name):
    devices = [item for item in opened(name).items() if isinstance(item, DeviceSection)]
    found = []

    def seen(items):
        for item in items:
            if isinstance(item, DeviceSection):
                found.append(item)
            yield item

    stream = opened(name, seekable=False, chunk_bytes=100_003)
    assert hashes(seen(stream.items())) == expected_hashes(ENTRIES[name])
    assert [(item.name, item.body) for item in found] == [
        (item.name, item.body) for item in devices
    ]


@pytest.mark.parametrize("name", GOOD)
def test_counts_are_those_of_the_manifest(opened, name):
    entry, stream = ENTRIES[name], opened(name)
    summary = stream.summary()
    stored = sum(summary.normal_pages.values())
    zero = sum(summary.zero_pages.values())
    if name in MAPPED:
        zero = sum(block.pages for block in summary.blocks) - stored
    assert (stored, zero) == (entry["normal_pages"], entry["zero_pages"])
    assert sum(summary.delta_pages.values()) == entry.get("xbzrle_pages", 0)
    assert summary.multifd_flushes == entry.get("multifd_flushes", 0)
    assert summary.length_bytes == entry["length"]
    assert summary.offset == entry["offset"]
    assert len(summary.devices) == entry["devices"]
    assert summary.ram_parts == entry["ram_parts"]
    assert summary.description_bytes == entry["description_bytes"]
    assert summary.mapped == (name in MAPPED)
    assert summary.postcopy == ("postcopy" in name)
    assert summary.complete
    switches = {"footers": True, "configuration": True} | entry.get("switches", {})
    assert summary.options.footers is switches["footers"]
    assert summary.options.configuration is switches["configuration"]
    lengths = {block.name: block.used_bytes for block in summary.blocks}
    assert lengths == {block: facts["length"] for block, facts in entry["blocks"].items()}


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_device_decodes_by_the_description_and_encodes_again(opened, name):
    items = [item for item in opened(name).items() if isinstance(item, DeviceSection | Description)]
    *devices, description = items
    entries = parse_vmdesc(description.raw, description.offset + 5).devices
    assert [(entry.name, entry.instance_id) for entry in entries] == [
        (item.name, item.instance_id) for item in devices
    ]
    for entry, item in zip(entries, devices, strict=True):
        body, end = decode_body(entry.body, item.body, section=item.name, base=item.body_offset)
        assert end == len(item.body)
        assert encode_body(body) == item.body


def test_a_cancelled_save_is_refused_where_it_ends(opened):
    entry = ENTRIES["pc-8m-cancelled"]
    seen = StreamSummary()
    with pytest.raises(StreamError, match="the footer of section") as caught:
        for _ in counted(opened("pc-8m-cancelled").items(), seen):
            pass
    assert caught.value.offset == entry["error_offset"] == entry["raw_size"]
    assert not seen.complete
    assert seen.ram_parts == 6


# Writing again


def kept(items):
    """Return items that stay valid and can be compared."""
    found = []
    for item in items:
        if isinstance(item, PageBatch):
            data = None if item.data is None else item.data.tobytes()
            found.append((item.offset, item.block, item.pfns.tolist(), data, item.named))
        elif isinstance(item, XbzrleBatch):
            deltas = item.deltas.data.tobytes(), item.deltas.sizes.tolist()
            found.append((item.offset, item.block, item.pfns.tolist(), deltas, item.named))
        else:
            found.append(item)
    return found


@pytest.mark.parametrize("name", GOOD)
def test_writing_again_gives_the_same_bytes_and_items(sample, opened, name):
    """The main channel alone: further channels are files of their own."""
    raw, entry = sample(name)
    stream = opened(name, channels=False)
    sink = MemoryOutput()
    sink.write(raw[: entry["offset"]])
    options = stream.summary().options
    writer = StreamWriter(OutFile(sink), options=options, mapped_ram=name in MAPPED)
    rewrite(stream.items(keep_order=True), writer)
    again = sink.getvalue()
    assert len(again) == len(raw)
    assert same_but_for_clear_bits(raw, again, stream) if name in MAPPED else again == raw
    reread = open_stream(MemoryInput(again, offset=entry["offset"]))
    for old, new in zip_longest(
        kept(stream.items(keep_order=True)), kept(reread.items(keep_order=True))
    ):
        assert old == new


def same_but_for_clear_bits(raw: bytes, again: bytes, stream) -> bool:
    """Whether two mapped-ram files are the same where the bitmap says that something is."""
    differs = np.frombuffer(raw, np.uint8) != np.frombuffer(again, np.uint8)
    for item in stream.items():
        if isinstance(item, RamBlocks):
            for block in item.blocks:
                pages = np.zeros(block.pages, bool)
                size = -(-block.pages // 64) * 8
                place = block.mapped.bitmap_offset
                bits = np.frombuffer(raw[place : place + size], np.uint8)
                pages |= np.unpackbits(bits, bitorder="little")[: block.pages] != 0
                begin = block.mapped.pages_offset
                region = differs[begin : begin + block.used_bytes].reshape(-1, 4096)
                region[~pages] = False
    return not differs.any()


# What these senders counted is not in the recorded file: further channels, the same pages again at
# the same place, write protection that the guest ran into, requests.
UNEQUAL = [
    *MULTIFD,
    "pc-8m-mapped-ram-live",
    "pc-8m-background-snapshot",
    "pc-8m-postcopy",
]


@pytest.mark.parametrize(
    "name", [name for name in GOOD if ENTRIES[name].get("transferred") and name not in UNEQUAL]
)
def test_the_writer_counts_what_the_sender_reported(opened, name):
    out = OutFile(MemoryOutput())
    stream = opened(name)
    options = stream.summary().options
    rewrite(
        stream.items(keep_order=True),
        StreamWriter(out, options=options, mapped_ram=name in MAPPED),
    )
    assert out.transferred == ENTRIES[name]["transferred"]


# Converting


CONVERTIBLE = [name for name in GOOD if name not in IGNORING]


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_any_form_becomes_mapped_ram_and_plain_again(opened, name):
    entry = ENTRIES[name]
    mapped = written(opened(name).items(), mapped_ram=True)
    stream = open_stream(MemoryInput(mapped))
    assert hashes(stream.items()) == expected_hashes(entry)
    summary = stream.summary()
    if summary.options.configuration:
        assert summary.capabilities[-1] == "mapped-ram"
    for block in summary.blocks:
        assert block.mapped.pages_offset % (1 << 20) == 0
    plain = open_stream(MemoryInput(written(stream.items())))
    assert hashes(plain.items()) == expected_hashes(entry)
    assert plain.summary().capabilities == ()
    bodies = [
        [item.body for item in some.items() if isinstance(item, DeviceSection)]
        for some in (opened(name), stream, plain)
    ]
    assert bodies[0] == bodies[1] == bodies[2]


@pytest.mark.parametrize("name", ["none-1m", "pc-8m-two-nodes", "q35-8m-mapped-ram"])
def test_the_description_follows_the_configuration(opened, name):
    """Only the configuration's own entry changes, and it decodes what is written."""
    turned = name not in MAPPED
    stream = open_stream(MemoryInput(written(opened(name).items(), mapped_ram=turned)))
    *_, old = (item for item in opened(name).items() if isinstance(item, Description))
    configuration, new = (
        item for item in stream.items() if isinstance(item, Configuration | Description)
    )
    before, after = old.parsed(), new.parsed()
    assert before["devices"] == after["devices"]
    assert list(before) == list(after)
    names = [entry["vmsd_name"] for entry in after["configuration"].get("subsections", ())]
    assert ("configuration/capabilities" in names) == turned
    entry = parse_vmdesc(new.raw).configuration
    raw = written([configuration], mapped_ram=turned)
    body, end = decode_body(entry, raw[1:])
    assert end == len(raw) - 1
    assert body["name"] == configuration.machine.encode()


@pytest.mark.parametrize(
    "name", [name for name in CONVERTIBLE if not ENTRIES[name].get("xbzrle_pages")]
)
@pytest.mark.parametrize("count", [1, 3])
def test_any_form_goes_over_multifd_channels(opened, name, count):
    sinks = [MemoryOutput() for _ in range(count)]
    main = written(opened(name).items(), multifd=MultifdWriter(sinks))
    channels = [MemoryInput(sink.getvalue()) for sink in sinks]
    stream = open_stream(MemoryInput(main), channels=channels)
    assert hashes(stream.items()) == expected_hashes(ENTRIES[name])
    assert stream.multifd.early_pages == 0
    alone = open_stream(MemoryInput(main)).summary()
    assert not alone.normal_pages
    assert not alone.zero_pages


@pytest.mark.parametrize("offset", [1, 4096, 0x5000, (3 << 20) + 17])
def test_mapped_ram_offsets_count_from_the_beginning_of_the_file(opened, tmp_path, offset):
    channel = FileOutput(tmp_path / "file", offset)
    rewrite(opened("pc-8m-two-nodes").items(), StreamWriter(OutFile(channel), mapped_ram=True))
    channel.close()
    with open_stream(tmp_path / "file", offset=offset) as stream:
        assert hashes(stream.items()) == expected_hashes(ENTRIES["pc-8m-two-nodes"])
        blocks = stream.summary().blocks
    assert all(block.mapped.pages_offset % (1 << 20) == 0 for block in blocks)
    assert blocks[0].mapped.bitmap_offset > offset
    # A stream that was moved inside its file does not load: everything is absolute.
    raw = (tmp_path / "file").read_bytes()
    with pytest.raises(StreamError):
        hashes(open_stream(MemoryInput(raw[offset:])).items())


# Files


@pytest.mark.parametrize(
    "name", ["pc-8m-xbzrle", "pc-8m-mapped-ram-live", "pc-8m-postcopy", "pc-8m-multifd-zlib"]
)
def test_blocks_go_to_sparse_files(opened, tmp_path, name):
    entry = ENTRIES[name]
    wanted = ["ram0", "pc.rom"]
    channels = {block: FileOutput(tmp_path / block) for block in (*wanted, "no-such-block")}
    store = FileStore(channels)
    apply_items(opened(name).items(), store)
    for channel in channels.values():
        channel.close()
    for block in wanted:
        data = (tmp_path / block).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["blocks"][block]["sha256"]
        pages = np.frombuffer(data, np.uint8).reshape(-1, 4096)
        used = int(pages.any(axis=1).sum()) * 4096
        assert (tmp_path / block).stat().st_blocks * 512 <= used + (64 << 10)
    assert (tmp_path / "no-such-block").stat().st_size == 0
    assert set(store.blocks) == set(entry["blocks"])


def test_pages_that_become_zero_are_zero_in_the_file(tmp_path):
    channel = FileOutput(tmp_path / "ram")
    store = FileStore({"a": channel})
    blocks = RamBlocks(0, (replace(BLOCK, name="a"),))
    store.announce(blocks)
    ones = np.ones((4, 4096), np.uint8)
    store.write("a", np.array([0, 1, 2, 5]), ones)
    store.zero("a", np.array([1, 3]))
    store.write("a", np.array([2, 6]), np.zeros((2, 4096), np.uint8))
    twice = np.zeros((3, 4096), np.uint8)
    twice[2] = 9
    store.write("a", np.array([7, 0, 7]), twice)
    assert store.read("a", np.array([7, 3, 5]))[:, 0].tolist() == [9, 0, 1]
    assert store.read("b", np.array([7])) is None
    channel.close()
    pages = np.fromfile(tmp_path / "ram", np.uint8).reshape(8, 4096)
    assert pages[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 9]
    assert (pages == pages[:, :1]).all()


def test_stores_take_no_more_than_they_have_room_for(tmp_path):
    huge = RamBlocks(77, (replace(BLOCK, used_bytes=1 << 62),))
    channel = FileOutput(tmp_path / "ram")
    for store in (MemoryStore(), FileStore({BLOCK.name: channel})):
        with pytest.raises(StreamError) as caught:
            store.announce(huge)
        assert caught.value.offset == 77
    with pytest.raises(StreamError):
        MemoryStore(BLOCK.used_bytes - 1).announce(RamBlocks(0, (BLOCK,)))
    channel.close()


# Opening


def test_a_file_can_be_read_again_and_a_pipe_cannot(opened):
    stream = opened("none-1m")
    assert stream.summary() == stream.summary()
    assert stream.position == stream.size_bytes == ENTRIES["none-1m"]["raw_size"]
    pipe = opened("none-1m", seekable=False)
    pipe.summary()
    assert pipe.size_bytes is None
    with pytest.raises(StateError, match="once"):
        pipe.items()


def test_a_missing_channel_is_found(opened, sample, recording):
    raw, entry = sample("pc-8m-multifd")
    files = [channel["file"] for channel in entry["channels"]]
    with pytest.raises(StreamError):
        open_stream(MemoryInput(raw), channels=[MemoryInput(recording(files[1]))]).summary()
    with pytest.raises(StreamError, match="missing"):
        open_stream(MemoryInput(raw), channels=[MemoryInput(recording(files[0]))]).summary()


def wrapped(stream: bytes, *, number: int = 0) -> bytes:
    """Put libvirt's wrapper in front of a stream."""
    xml = b"<domain type='kvm'/>\0"
    head = b"LibvirtQemudSave" + b"".join(
        n.to_bytes(4, "little") for n in (2, len(xml), 1, number, 0, *[0] * 14)
    )
    return head + xml + stream


@pytest.mark.parametrize("seekable", [True, False])
def test_the_wrapper_of_libvirt_is_stepped_over(sample, seekable):
    raw, entry = sample("none-1m")
    stream = open_stream(MemoryInput(wrapped(raw), seekable=seekable))
    assert stream.wrapper.xml == b"<domain type='kvm'/>"
    assert stream.offset == len(wrapped(b""))
    assert hashes(stream.items()) == expected_hashes(entry)
    with pytest.raises(StreamError, match="gzip"):
        open_stream(MemoryInput(wrapped(raw, number=1)))


BLOCK = next(
    item.blocks[0]
    for item in open_stream(
        MemoryInput(
            b"QEVM\0\0\0\3\x07\0\0\0\4none\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4"
            b"\0\0\0\0\0\0\x80\4\4ram0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\1\0"
        )
    ).items()
    if isinstance(item, RamBlocks)
)


@pytest.mark.parametrize(
    ("pfns", "rounds"), [([0, 1, 2], 2), ([0, 1, 0], 3), ([0, 0, 0], 4), ([3, 1, 3, 1, 2, 1], 4)]
)
def test_a_page_that_comes_again_waits_for_the_channels(pfns, rounds):
    """Channels have no order among each other but that of the synchronisation points."""
    sinks, main = [MemoryOutput(), MemoryOutput()], MemoryOutput()
    writer = StreamWriter(OutFile(main), multifd=MultifdWriter(sinks))
    writer.header()
    writer.configuration("none")
    writer.ram_setup(1, [BLOCK])
    writer.begin_part(1)
    data = np.zeros((len(pfns), 4096), np.uint8)
    data[:, 0] = np.arange(len(pfns)) + 1
    writer.pages(BLOCK.name, np.array(pfns), data, np.zeros(len(pfns), bool))
    writer.end_ram_part(1)
    writer.finish()
    channels = [MemoryInput(sink.getvalue()) for sink in sinks]
    stream = open_stream(MemoryInput(main.getvalue()), channels=channels)
    store = MemoryStore()
    apply_items(stream.items(), store)
    last = {pfn: index + 1 for index, pfn in enumerate(pfns)}
    assert store.blocks[BLOCK.name][:, 0].tolist() == [last.get(pfn, 0) for pfn in range(8)]
    assert stream.multifd.rounds == rounds
