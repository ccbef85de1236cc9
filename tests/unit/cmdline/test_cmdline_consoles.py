"""Character devices in both forms, and who uses them."""

from __future__ import annotations

import pytest
from cmdlines import cmdline

from migsim.cmdline.chardev_options import parse_short
from migsim.cmdline.parts import MonitorMode
from migsim.errors import ConfigError, MigsimError


def test_a_whole_line_of_a_test_client():
    line = cmdline(
        "-qtest unix:/q -qtest-log /dev/null -chardev socket,path=/m,id=char0"
        " -mon chardev=char0,mode=control -display none -audio none -machine none -accel kvm"
        " -accel qtest -serial file:/s"
    )
    assert line.chardev("char0").properties == {"path": "/m"}
    assert [(m.chardev, m.mode) for m in line.monitors] == [("char0", MonitorMode.CONTROL)]
    qtest = line.chardev(line.qtest)
    assert (qtest.backend, qtest.properties) == ("socket", {"path": "/q"})
    assert line.qtest_log == "/dev/null"
    (serial,) = line.serials
    assert (line.chardev(serial).backend, line.chardev(serial).properties) == (
        "file",
        {"path": "/s"},
    )
    assert line.warnings == ()


@pytest.mark.parametrize(
    ("text", "backend", "properties"),
    [
        ("null", "null", {}),
        ("stdio", "stdio", {}),
        ("unix:/x", "socket", {"path": "/x"}),
        (
            "unix:/x,,y,server=on,wait=off",
            "socket",
            {"path": "/x,y", "server": True, "wait": False},
        ),
        ("unix:/x,server,nowait", "socket", {"path": "/x", "server": True, "wait": False}),
        ("tcp:h:1,nodelay", "socket", {"host": "h", "port": "1", "nodelay": True}),
        ("tcp::1,server=on", "socket", {"port": "1", "server": True}),
        ("telnet:h:1", "socket", {"host": "h", "port": "1", "telnet": True}),
        ("udp:h:1@g:2", "udp", {"host": "h", "port": "1", "localaddr": "g", "localport": "2"}),
        ("file:/x,append=on", "file", {"path": "/x", "append": True}),
        ("pipe:/x", "pipe", {"path": "/x"}),
        ("vc", "vc", {}),
        ("vc:80Cx24C", "vc", {"cols": 80, "rows": 24}),
        ("vc:800x600", "vc", {"width": 800, "height": 600}),
        ("/dev/ttyS0", "serial", {"path": "/dev/ttyS0"}),
        ("/dev/parport0", "parallel", {"path": "/dev/parport0"}),
    ],
)
def test_short_forms(text, backend, properties):
    made = parse_short(text, "c", "-serial")
    assert (made.id, made.backend, dict(made.properties)) == ("c", backend, properties)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "nosuch",
        "null,mux=on",
        "null:",
        "tcp:h",
        "tcp:h:1,x=1",
        "udp:1",
        "vc:x",
        "con:",
        "unix:" + "x" * 108,
        "tcp:" + "h" * 65 + ":1",
        "file:/x,size=1Q",
        "ringbuf",
    ],
)
def test_no_short_forms(text):
    with pytest.raises(MigsimError):
        parse_short(text, "c", "-serial")


def test_several_monitors_in_order():
    line = cmdline(
        "-machine none -qmp unix:/a,server=on,wait=off -qmp-pretty null -monitor none -monitor null"
        " -chardev null,id=c -mon c -monitor chardev:d -chardev null,id=d"
    )
    assert [(m.chardev, m.mode.value, m.pretty) for m in line.monitors] == [
        ("c", "readline", False),
        ("compat_monitor0", "readline", False),
        ("d", "readline", False),
        ("compat_monitor2", "control", False),
        ("compat_monitor3", "control", True),
    ]


def test_one_device_for_serial_and_monitor():
    line = cmdline("-machine none -serial mon:null")
    assert line.serials == ("serial0",)
    assert [m.chardev for m in line.monitors] == ["serial0"]
    assert line.chardev("serial0").mux


def test_serial_ports_left_out():
    assert cmdline("-machine none -serial none -serial null").serials == (None, "serial1")


def test_without_graphics_the_terminal_is_serial_port_and_monitor():
    line = cmdline("-machine none -nographic")
    assert line.chardev(line.serials[0]).backend == "stdio"
    assert len(line.monitors) == 1
    assert cmdline("-machine none -nographic -nodefaults").serials == ()
    assert cmdline("-machine none -nographic -monitor null").serials == ()


@pytest.mark.parametrize(
    "text",
    [
        "-chardev null",
        "-chardev nosuch,id=c",
        "-chardev null,id=c -chardev null,id=c",
        "-chardev socket,id=c,path=/x,wait=off",
        "-chardev socket,id=c,path=/x,fd=3",
        "-chardev stdio,id=c -serial stdio",
        "-chardev null,id=serial0 -serial null",
        "-chardev null,id=c -mon c -serial chardev:c",
        "-mon c",
        "-chardev null,id=c -mon c,id=m -chardev null,id=d -mon d,id=m",
        "-serial chardev:c",
        "-parallel null -parallel null -parallel null -parallel null",
        "-chardev null,id=c -device isa-serial,chardev=c -mon c",
        "-daemonize -serial stdio",
        "-daemonize -serial mon:stdio",
    ],
)
def test_contradictions(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine pc {text}")


def test_four_users_of_a_multiplexed_device():
    users = " -mon c" * 4
    assert len(cmdline(f"-machine none -chardev null,id=c,mux=on{users}").monitors) == 4
    with pytest.raises(ConfigError, match="in use"):
        cmdline(f"-machine none -chardev null,id=c,mux=on{users} -mon c")


def test_debug_console_and_parallel_port_are_devices():
    line = cmdline("-nodefaults -machine pc -debugcon null -parallel null")
    assert [d.driver for d in line.devices] == ["isa-parallel", "isa-debugcon"]
