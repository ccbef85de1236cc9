from __future__ import annotations

import os
from pathlib import Path

import pytest

from migsim.channel.addresses import parse_channel, parse_channels
from migsim.channel.descriptors import DescriptorTable
from migsim.channel.uri import ChannelAddress, Scheme, parse_uri
from migsim.errors import ChannelError, ParameterError

UNIX = {"transport": "socket", "type": "unix", "path": "/x"}
FILE = {"transport": "file", "filename": "f", "offset": 0}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (UNIX, ChannelAddress(Scheme.UNIX, "/x")),
        (FILE, ChannelAddress(Scheme.FILE, "f")),
        ({**FILE, "offset": 4096}, ChannelAddress(Scheme.FILE, "f", 4096)),
        (
            {"transport": "socket", "type": "inet", "host": "::1", "port": "5"},
            ChannelAddress(Scheme.TCP, "[::1]:5"),
        ),
        ({"transport": "socket", "type": "fd", "str": "n"}, ChannelAddress(Scheme.FD, "n")),
        (
            {"transport": "exec", "args": ["cat", "-"]},
            ChannelAddress(Scheme.EXEC, "cat", args=("cat", "-")),
        ),
    ],
)
def test_addresses(address: dict[str, object], expected: ChannelAddress) -> None:
    assert parse_channel({"channel-type": "main", "addr": address}) == ("main", expected)


@pytest.mark.parametrize(
    "address",
    [
        {"transport": "file", "filename": "f"},
        {"transport": "file", "filename": "f", "offset": "0"},
        {"transport": "file", "filename": "f", "offset": True},
        {**UNIX, "colour": "red"},
        {"transport": "socket", "type": "unix", "path": 5},
        {"transport": "socket"},
        {"transport": "exec", "args": []},
        {"transport": "exec", "args": ["a", 1]},
        {"transport": "pigeon"},
        {"transport": []},
        {},
    ],
)
def test_bad_addresses(address: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        parse_channel({"channel-type": "main", "addr": address})


def test_one_channel_of_each_type() -> None:
    main = {"channel-type": "main", "addr": FILE}
    both = parse_channels([{"channel-type": "cpr", "addr": UNIX}, main])
    assert both.cpr == ChannelAddress(Scheme.UNIX, "/x")
    assert both.main == ChannelAddress(Scheme.FILE, "f")
    with pytest.raises(ParameterError):
        parse_channels([main, main])
    with pytest.raises(ParameterError):
        parse_channels([{"channel-type": "side", "addr": FILE}])


def test_tcp_needs_a_port() -> None:
    assert parse_uri("tcp:host:word").target == "host:word"
    for bad in ("tcp:host", "tcp:", "tcp:host:"):
        with pytest.raises(ParameterError):
            parse_uri(bad)


def test_a_set_gives_the_member_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    table = DescriptorTable()
    table.add(1, None, os.open(path, os.O_WRONLY))
    with pytest.raises(ChannelError):
        table.open_path("/dev/fdset/1", os.O_RDONLY)
    table.add(1, None, os.open(path, os.O_RDONLY))
    fd = table.open_path("/dev/fdset/1", os.O_RDONLY)
    assert fd is not None
    assert os.read(fd, 9) == b"x"
    os.close(fd)
    assert table.open_path(str(path), os.O_RDONLY) is None
    with pytest.raises(ChannelError):
        table.open_path("/dev/fdset/2", os.O_RDONLY)
    table.close()


def test_names_do_not_begin_with_a_digit() -> None:
    table = DescriptorTable()
    with pytest.raises(ParameterError):
        table.name("5x", os.open("/dev/null", os.O_RDONLY))
