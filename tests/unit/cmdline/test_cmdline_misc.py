"""Names, actions, globals, descriptors, back ends of which only the ids matter."""

from __future__ import annotations

import pytest
from cmdlines import cmdline

from migsim.cmdline.model import Actions, AddFdOption, GlobalOption
from migsim.errors import MigsimError

UUID = "00112233-4455-6677-8899-aAbBcCdDeEfF"


def test_values_that_stand_for_themselves():
    line = cmdline(
        f"-machine none -name a,,b,debug-threads=on -uuid {UUID} -S -only-migratable -nodefaults"
        " -no-user-config -daemonize -pidfile /p -dump-vmstate /v"
    )
    assert line.name == "a,b"
    assert line.uuid == bytes.fromhex(UUID.replace("-", ""))
    assert line.start_stopped
    assert line.only_migratable
    assert line.nodefaults
    assert not line.user_config
    assert line.daemonize
    assert (line.pidfile, line.dump_vmstate) == ("/p", "/v")


@pytest.mark.parametrize("text", ["x", UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}"])
def test_malformed_uuids(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine none -uuid {text}")


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("", Actions()),
        ("-action panic=pause", Actions(panic="pause")),
        ("-action panic=pause -action reboot=shutdown", Actions(panic="pause", reboot="shutdown")),
        ("-action shutdown=pause,shutdown=poweroff", Actions()),
        ("-watchdog-action none", Actions(watchdog="none")),
        ("-no-shutdown -no-reboot", Actions(shutdown="pause", reboot="shutdown")),
    ],
)
def test_actions(text, actions):
    assert cmdline(f"-machine none {text}").actions == actions


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("migration.mode=cpr-reboot", ("migration", "mode", "cpr-reboot")),
        ("a.b=c,d=e", ("a", "b", "c,d=e")),
        ("a.b.c=", ("a", "b.c", "")),
        ("driver=a,property=b,value=c,,d", ("a", "b", "c,d")),
    ],
)
def test_globals(text, parts):
    line = cmdline(f"-machine none -global {text}")
    assert line.globals == (GlobalOption(*parts),)
    assert line.migration_globals() == ((parts[1:],) if parts[0] == "migration" else ())


@pytest.mark.parametrize("text", ["x", "a.b", "a.=1", ".b=1", "driver=a,property=b", ""])
def test_malformed_globals(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine none -global '{text}'")


def test_descriptors():
    line = cmdline("-machine none -add-fd fd=3,set=1 -add-fd fd=4,set=1,opaque=x")
    assert line.fds == (AddFdOption(3, 1), AddFdOption(4, 1, "x"))
    for text in (
        "fd=2,set=1",
        "fd=3",
        "set=1",
        "fd=x,set=1",
        "fd=3,set=1,x=1",
        "fd=4294967296,set=1",
    ):
        with pytest.raises(MigsimError):
            cmdline(f"-machine none -add-fd {text}")


def test_displays():
    assert cmdline("-machine none -display none").warnings == ()
    assert len(cmdline("-machine none -display gtk").warnings) == 1
    assert len(cmdline("-machine none -display vnc=:1").warnings) == 1
    for text in ("nosuch", "none,foo=1", "none,gl"):
        with pytest.raises(MigsimError):
            cmdline(f"-machine none -display {text}")


@pytest.mark.parametrize(
    ("text", "attribute", "ids"),
    [
        ('-netdev user,id=a -netdev \'{"type":"user","id":"b"}\'', "netdevs", ("a", "b")),
        ("-audiodev none,id=a", "audiodevs", ("a",)),
        ("-fsdev local,id=a,path=.,security_model=none", "fsdevs", ("a",)),
        ("-tpmdev passthrough,id=a", "tpmdevs", (("a", "passthrough"),)),
    ],
)
def test_back_ends(text, attribute, ids):
    assert getattr(cmdline(f"-machine none {text}"), attribute) == ids


@pytest.mark.parametrize(
    "text",
    [
        "-netdev user",
        "-netdev nosuch,id=a",
        "-netdev user,id=a,nosuch=1",
        "-netdev user,id=a -netdev user,id=a",
        "-audiodev none",
        "-audiodev none,id=1a",
        "-audio nosuch",
        "-fsdev local,id=a",
        "-fsdev nosuch,id=a",
        "-tpmdev emulator",
    ],
)
def test_malformed_back_ends(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine none {text}")
