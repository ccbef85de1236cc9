"""Addresses as text."""

from __future__ import annotations

import pytest

from migsim.channel import ChannelAddress, Scheme, parse_uri
from migsim.errors import ParameterError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("file:/tmp/vm", ChannelAddress(Scheme.FILE, "/tmp/vm")),
        ("file:vm,offset=4096", ChannelAddress(Scheme.FILE, "vm", 4096)),
        ("file:vm,offset=4k", ChannelAddress(Scheme.FILE, "vm", 4096)),
        ("file:vm,offset=0x1000", ChannelAddress(Scheme.FILE, "vm", 4096)),
        ("file:vm,offset=1M", ChannelAddress(Scheme.FILE, "vm", 1 << 20)),
        ("file:a:b", ChannelAddress(Scheme.FILE, "a:b")),
        ("file:", ChannelAddress(Scheme.FILE, "")),
        ("tcp:host:4444", ChannelAddress(Scheme.TCP, "host:4444")),
        ("unix:/run/s,offset=3", ChannelAddress(Scheme.UNIX, "/run/s,offset=3")),
        ("exec:cat > x", ChannelAddress(Scheme.EXEC, "cat > x")),
        ("fd:name", ChannelAddress(Scheme.FD, "name")),
        ("vsock:3:4", ChannelAddress(Scheme.VSOCK, "3:4")),
        ("rdma:host:1", ChannelAddress(Scheme.RDMA, "host:1")),
    ],
)
def test_addresses(text, address):
    assert parse_uri(text) == address
    assert parse_uri(address.uri) == address


@pytest.mark.parametrize(
    "text",
    ["", "file", "ftp:x", "FILE:x", "/tmp/vm", ":x"]
    + [f"file:vm,offset={size}" for size in ("", "-1", "1e3", "x", "0x10k", "4kk", "1 ", "2E100")],
)
def test_what_is_no_address(text):
    with pytest.raises(ParameterError):
        parse_uri(text)


def test_only_files_can_be_written_anywhere():
    assert [scheme for scheme in Scheme if scheme.seekable] == [Scheme.FILE]
