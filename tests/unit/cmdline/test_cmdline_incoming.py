"""Where a machine loads from."""

from __future__ import annotations

import pytest
from cmdlines import cmdline

from migsim.channel.uri import ChannelAddress, Scheme
from migsim.cmdline.build import incoming_of
from migsim.cmdline.parse import early_incoming, parse
from migsim.errors import MigsimError
from migsim.qapi.release import Release

CPR = "-incoming cpr,addr.transport=socket,addr.type=unix,addr.path=/c"


def origin(*incoming):
    """Return where a machine with these options loads from."""
    words = [word for text in incoming for word in ("-incoming", text)]
    return incoming_of(parse(["-machine", "none", *words]))


@pytest.mark.parametrize(
    "given",
    [
        "defer",
        "file:/x,offset=4k",
        "tcp:127.0.0.1:0",
        "tcp::0,to=5,ipv4=on",
        "unix:/x",
        "fd:7",
        "exec:cat /x",
        "vsock:1:2",
    ],
)
def test_a_uri_stays_as_it_was_given(given):
    assert origin(given) == given


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (
            "main,addr.transport=file,addr.filename=/x,,y,addr.offset=512",
            ChannelAddress(Scheme.FILE, "/x,y", 512),
        ),
        (
            "channel-type=main,addr.transport=socket,addr.type=unix,addr.path=/s",
            ChannelAddress(Scheme.UNIX, "/s"),
        ),
        (
            "main,addr.transport=socket,addr.type=inet,addr.host=::1,addr.port=1",
            ChannelAddress(Scheme.TCP, "[::1]:1"),
        ),
        (
            "main,addr.transport=exec,addr.args.0=cat,addr.args.1=a b",
            ChannelAddress(Scheme.EXEC, "cat", args=("cat", "a b")),
        ),
        (
            '{"channel-type":"main","addr":{"transport":"exec","args":["cat","x"]}}',
            ChannelAddress(Scheme.EXEC, "cat", args=("cat", "x")),
        ),
        (
            "{'channel-type':'main','addr':{'transport':'socket','type':'fd','str':'7'}}",
            ChannelAddress(Scheme.FD, "7"),
        ),
    ],
)
def test_channels_in_both_forms_are_addresses(given, address):
    assert origin(given) == address


def test_the_last_of_each_type_counts():
    assert origin("file:/a", "defer") == "defer"
    assert origin("defer", "file:/a") == "file:/a"
    line = cmdline(f"-machine none {CPR} -incoming defer")
    assert line.incoming.deferred
    assert line.incoming.cpr.parsed() == ChannelAddress(Scheme.UNIX, "/c")
    line = cmdline(f"-machine none -incoming unix:/m {CPR}")
    assert line.incoming.main.parsed() == ChannelAddress(Scheme.UNIX, "/m")
    assert line.incoming.cpr.parsed() == ChannelAddress(Scheme.UNIX, "/c")
    assert not line.incoming.deferred


def test_the_first_ones_are_checked_too():
    with pytest.raises(MigsimError):
        origin("bogus:x", "defer")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "tcp:",
        "tcp:h",
        "unix:",
        "unix:/" + "x" * 108,
        "fd:name",
        "rdma:h:1",
        "File:/x",
        "file:/x,offset=-1",
        "help",
        "defer,",
        "cpr,addr.transport=file,addr.filename=x,addr.offset=0",
        "main",
        "main,addr.transport=carrier",
        "{}",
        "{",
        "side,addr.transport=exec",
        '{"channel-type":"main","addr":{"transport":"exec","args":[]}}',
    ],
)
def test_refused(given):
    with pytest.raises(MigsimError):
        origin(given)


def test_channels_on_the_command_line_came_with_10_0():
    with pytest.raises(MigsimError, match=r"10\.0"):
        cmdline(f"-machine none {CPR}", release=Release.V8_2)


def test_what_excludes_it():
    for text in ("-loadvm s -incoming defer", "-preconfig -incoming tcp:h:1", "-loadvm s"):
        with pytest.raises(MigsimError):
            cmdline(f"-machine none {text}")
    assert cmdline("-machine none -preconfig -incoming defer").preconfig


def test_the_cpr_channel_is_known_before_devices_are_looked_at():
    argv = [
        *["-machine", "none,memory-backend=nope", "-device", "nosuch", "-cpu", "nosuch"],
        *CPR.split(),
    ]
    assert early_incoming(argv).cpr is not None
    with pytest.raises(MigsimError):
        parse(argv)
    for bad in (["-machine", "nosuch"], ["-uuid", "x"], ["-m", "1x"], ["-nosuch"]):
        with pytest.raises(MigsimError):
            early_incoming([*argv, *bad])
    assert early_incoming(["-version"]) is None
    assert early_incoming(["-S"]) is None
