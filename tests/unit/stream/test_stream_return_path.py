"""What destinations tell sources."""

from __future__ import annotations

import hashlib
import struct

import pytest

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream.return_path import (
    PagesRequest,
    Pong,
    ReceivedBitmap,
    ResumeAck,
    ReturnPathReader,
    Shut,
    SwitchoverAck,
)
from migsim.stream.source import ByteSource

END = struct.pack(">Q", 0x0123456789ABCDEF)


def message(kind, data=b"", size=None):
    return struct.pack(">HH", kind, len(data) if size is None else size) + data


def request(start, size, block=None):
    data = struct.pack(">QI", start, size)
    if block is None:
        return message(4, data)
    return message(3, data + bytes((len(block),)) + block)


def bitmap(block, bits, size=None, end=END):
    length = struct.pack(">Q", len(bits) if size is None else size)
    return message(5, bytes((len(block),)) + block) + length + bits + end


def read(raw, *, chunk_bytes=None, **options):
    channel = MemoryInput(raw, seekable=chunk_bytes is None, chunk_bytes=chunk_bytes)
    return list(ReturnPathReader(ByteSource(channel), **options))


@pytest.mark.parametrize("chunk_bytes", [None, 1])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pc-8m-return-path", [Pong(0, 1), Shut(8, 0)]),
        (
            "pc-8m-postcopy",
            [
                Pong(0, 1),
                Pong(8, 2),
                Pong(16, 4),  # the package is still being loaded when this one is answered
                Pong(24, 3),
                PagesRequest(32, "ram0", 0x240000, 0x1000, True),
                Shut(53, 0),
            ],
        ),
        (
            "pc-8m-postcopy-hugepages",
            [Pong(0, 1), Pong(8, 2), Pong(16, 4), Pong(24, 3), Shut(32, 0)],
        ),
    ],
)
def test_recorded_return_paths(sample, recording, name, expected, chunk_bytes):
    facts = sample(name)[1]["return_path"]
    raw = recording(facts["file"])
    assert len(raw) == facts["raw_size"]
    assert hashlib.sha256(raw).hexdigest() == facts["raw_sha256"]
    assert read(raw, chunk_bytes=chunk_bytes) == expected


@pytest.mark.parametrize("chunk_bytes", [None, 3])
def test_every_message(chunk_bytes):
    raw = [
        message(2, struct.pack(">I", 0xFFFFFFFF)),
        request(0x3000, 0x1000, b"pc.bios"),
        request(0x200000, 0x200000),
        request(0, 0),
        bitmap(b"ram0", bytes(range(16))),
        bitmap(b"r", b""),
        message(6, struct.pack(">I", 1)),
        message(7),
        message(1, struct.pack(">I", 1)),
    ]
    at = [sum(map(len, raw[:index])) for index in range(len(raw))]
    assert read(b"".join(raw), chunk_bytes=chunk_bytes) == [
        Pong(at[0], 0xFFFFFFFF),
        PagesRequest(at[1], "pc.bios", 0x3000, 0x1000, True),
        PagesRequest(at[2], "pc.bios", 0x200000, 0x200000, False),
        PagesRequest(at[3], "pc.bios", 0, 0, False),
        ReceivedBitmap(at[4], "ram0", bytes(range(16))),
        ReceivedBitmap(at[5], "r", b""),
        ResumeAck(at[6]),
        SwitchoverAck(at[7]),
        Shut(at[8], 1),
    ]


def test_nothing_was_said():
    assert read(b"") == []


def test_a_recording_may_stop_between_messages():
    assert read(message(7)) == [SwitchoverAck(0)]


def test_pages_of_other_sizes():
    assert read(request(0x400, 0x800, b"r"), page_bytes=1024)[0].start == 0x400
    with pytest.raises(StreamError, match="pages of 65536"):
        read(request(0x1000, 0x10000, b"r"), page_bytes=1 << 16)


@pytest.mark.parametrize(
    ("raw", "at", "expected"),
    [
        (b"\0", 0, "a message"),
        (message(0), 0, "a known message"),
        (message(8), 0, "a known message"),
        (message(1), 2, "4 bytes of SHUT"),
        (message(2, bytes(5)), 2, "4 bytes of PONG"),
        (message(4, bytes(13)), 2, "12 bytes of REQ_PAGES"),
        (message(7, b"x"), 2, "0 bytes of SWITCHOVER_ACK"),
        (message(3, bytes(513)), 2, "at most 512"),
        (message(2, b"\0\0", 4), 4, "4 bytes of PONG"),
        (message(3, bytes(12)), 16, "a block name that ends"),
        (message(3, bytes(11)), 16, "a block name that ends"),
        (message(3, b""), 16, "a block name that ends"),
        (message(3, bytes(13)), 16, "a block name that ends"),
        (message(3, bytes(12) + b"\3ram0"), 16, "a block name that ends"),
        (message(3, bytes(12) + b"\5ram0"), 16, "a block name that ends"),
        (request(0, 0x1000), 0, "a block name in the first"),
        (request(0x1001, 0x1000, b"r"), 4, "pages of 4096"),
        (request(0x1000, 0x800, b"r"), 4, "pages of 4096"),
        (message(5, b""), 4, "a block name that ends"),
        (message(5, b"\0"), 4, "a block name that ends"),
        (message(5, b"\1r"), 6, "the length of a bitmap"),
        (bitmap(b"r", b"", size=7), 6, "a multiple of 8"),
        (bitmap(b"r", b"", size=1 << 63), 6, "a multiple of 8 up to"),
        (bitmap(b"r", bytes(8), size=1 << 20), 14, "a bitmap of 1048576"),
        (bitmap(b"r", bytes(8), end=END[:7]), 22, "the number behind"),
        (bitmap(b"r", bytes(8), end=bytes(8)), 22, "0x123456789abcdef behind"),
        (message(6, struct.pack(">I", 2)), 4, "value 1 of RESUME_ACK"),
        (message(1, bytes(4)) + message(7), 8, "the end behind SHUT"),
    ],
)
def test_malformed_messages(raw, at, expected):
    with pytest.raises(StreamError, match=expected) as caught:
        read(raw)
    assert (caught.value.offset, caught.value.section) == (at, "return path")


def test_names_that_are_no_text_survive():
    (found,) = read(request(0, 0x1000, b"\xff\xfe"))
    assert found.block.encode("utf-8", "surrogateescape") == b"\xff\xfe"
