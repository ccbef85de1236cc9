"""The wrapper of libvirt's saved files."""

from __future__ import annotations

import struct

import pytest

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream.libvirt import SAVE_FORMATS, is_wrapped, read_wrapper
from migsim.stream.source import ByteSource

XML = b"<domain type='kvm'>\n  <name>guest</name>\n</domain>\n"
COOKIE = b"<qemusave/>"


def wrapper(**changes):
    values = {
        "order": "<",
        "magic": b"LibvirtQemudSave",
        "version": 2,
        "size": None,
        "running": 1,
        "number": 0,
        "cookie_at": len(XML) + 1,
        "data": XML + b"\0" + COOKIE + b"\0",
    } | changes
    size = len(values["data"]) if values["size"] is None else values["size"]
    numbers = (values["version"], size, values["running"], values["number"], values["cookie_at"])
    return struct.pack(f"{values['order']}16s5I56x", values["magic"], *numbers) + values["data"]


def read(raw, **options):
    source = ByteSource(MemoryInput(raw, **options))
    return source, read_wrapper(source)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_the_stream_begins_behind_xml_and_cookie(order, chunk_bytes):
    raw = wrapper(order=order) + b"QEVM"
    source, found = read(raw, seekable=chunk_bytes is None, chunk_bytes=chunk_bytes)
    assert (found.xml, found.cookie) == (XML, COOKIE)
    assert (found.version, found.big_endian, found.complete) == (2, order == ">", True)
    assert (found.was_running, found.compression) == (True, "raw")
    assert found.stream_offset == source.position == 92 + len(XML) + len(COOKIE) + 2
    assert bytes(source.take(4, "", "")) == b"QEVM"
    found.require_plain()


def test_a_wrapper_inside_a_file():
    _, found = read(bytes(100) + wrapper() + b"QEVM", offset=100)
    assert (found.offset, found.stream_offset) == (100, 192 + len(XML) + len(COOKIE) + 2)


def test_padding_and_no_cookie():
    _, found = read(wrapper(cookie_at=0, data=XML + bytes(1000)))
    assert (found.xml, found.cookie) == (XML, None)
    _, found = read(wrapper(cookie_at=0, data=XML))
    assert found.xml == XML


def test_a_file_that_libvirt_had_not_finished():
    assert not read(wrapper(magic=b"LibvirtQemudPart"))[1].complete


@pytest.mark.parametrize("raw", [b"", b"QEVM", b"LibvirtQemudSav", b"LibvirtQemudSavX" + bytes(90)])
def test_anything_else_is_no_wrapper(raw):
    source, found = read(raw)
    assert found is None
    assert source.position == 0
    assert not is_wrapped(raw)


@pytest.mark.parametrize(
    ("number", "name", "program"),
    [
        (0, "raw", None),
        (1, "gzip", "gzip -dc"),
        (2, "bzip2", "bzip2 -dc"),
        (3, "xz", "xz -dc"),
        (4, "lzop", "lzop -dc"),
        (5, "zstd", "zstd -dc"),
        (6, "sparse", None),
    ],
)
def test_compressed_streams_are_told_with_what_unpacks_them(number, name, program):
    _, found = read(wrapper(number=number, version=3))
    assert found.compression == name
    if program is None:
        found.require_plain()
        return
    with pytest.raises(StreamError, match=f"{name}: unpack with 'tail -c .* | {program}") as caught:
        found.require_plain("guest.save")
    assert caught.value.offset == found.stream_offset
    assert f"tail -c +{found.stream_offset + 1} guest.save" in str(caught.value)


def test_every_format_has_its_number():
    assert [save_format.number for save_format in SAVE_FORMATS] == list(range(7))


def test_version_1_knew_no_formats():
    assert read(wrapper(version=1, number=77))[1].compression == "raw"


@pytest.mark.parametrize(
    ("raw", "at", "expected"),
    [
        (wrapper()[:91], 0, "a header of 92"),
        (wrapper()[:-1], 92, "bytes of XML and cookie"),
        (wrapper(version=0), 16, "a version from 1 to 3"),
        (wrapper(version=4), 16, "a version from 1 to 3"),
        (wrapper(version=0x01000001), 16, "a version from 1 to 3"),
        (wrapper(number=7), 28, "a format from 0 to 6"),
        (wrapper(size=0), 20, "1 to 67108864 bytes"),
        (wrapper(size=0xFFFFFFFF), 20, "1 to 67108864 bytes"),
        (wrapper(size=1 << 20), 92, "1048576 bytes of XML"),
        (wrapper(cookie_at=1 << 20), 32, "a cookie inside"),
        (wrapper(cookie_at=len(XML) + len(COOKIE) + 2), 32, "a cookie inside"),
    ],
)
def test_malformed_wrappers(raw, at, expected):
    with pytest.raises(StreamError, match=expected) as caught:
        read(raw)
    assert (caught.value.offset, caught.value.section) == (at, "libvirt header")
