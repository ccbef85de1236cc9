"""Drives and block nodes: what is opened, where it is plugged in, how it is called."""

from __future__ import annotations

import pytest
from cmdlines import bare as cmdline

from migsim.cmdline.block_nodes import DEPTH_LIMIT, from_filename, walk
from migsim.errors import ConfigError, MigsimError, ParameterError


def drives(text, machine="pc"):
    return cmdline(f"-machine {machine} {text}").drives


def test_a_drive_is_a_format_on_top_of_a_file():
    (drive,) = drives("-drive if=none,id=d,file=/x,format=qcow2,read-only=on,node-name=n")
    assert (drive.id, drive.interface, drive.node.driver, drive.node.name) == (
        "d",
        "none",
        "qcow2",
        "n",
    )
    assert drive.node.read_only
    assert drive.node.children["file"].filename == "/x"
    (drive,) = drives("-drive if=none,file=/x")
    assert drive.node.driver is None


@pytest.mark.parametrize(
    ("name", "driver", "filename"),
    [
        ("/a:b", "file", "/a:b"),
        ("./a:b", "file", "./a:b"),
        ("file:a", "file", "a"),
        ("nbd:unix:/s", "nbd", "nbd:unix:/s"),
        ("null-co://", "null-co", "null-co://"),
        ("https://h/x", "https", "https://h/x"),
        ("fat:/d", "vvfat", "/d"),
        ("fat:rw:/d", "vvfat", "/d"),
        ("fat:floppy:16:rw:/d", "vvfat", "/d"),
    ],
)
def test_file_names_with_prefixes(name, driver, filename):
    node = from_filename(name)
    assert (node.driver, node.filename) == (driver, filename)
    if driver == "vvfat":
        assert node.read_only is (":rw:" not in name)


def test_json_file_names():
    node = from_filename('json:{"driver":"qcow2","file":{"driver":"file","filename":"f"}}')
    assert [n.driver for n in walk(node)] == ["file", "qcow2"]
    for bad in ("json:", "json:{", "json:[]"):
        with pytest.raises(ConfigError):
            from_filename(bad)


def test_places_and_names_of_drives():
    found = drives("-hda /a -cdrom /c -drive file=/b -fda /f -drive if=virtio,file=/v", "pc")
    assert [(d.id, d.interface, d.bus, d.unit) for d in found] == [
        ("ide0-hd0", "ide", 0, 0),
        ("ide1-cd0", "ide", 1, 0),
        ("ide0-hd1", "ide", 0, 1),
        ("floppy0", "floppy", 0, 0),
        ("virtio0", "virtio", 0, 0),
    ]
    found = drives("-drive file=/a -drive file=/b", "q35")
    assert [(d.id, d.bus, d.unit) for d in found] == [("ide0-hd0", 0, 0), ("ide1-hd0", 1, 0)]
    found = drives("-drive file=/a -drive file=/b", "none")
    assert [(d.id, d.interface) for d in found] == [("none0", "none"), ("none1", "none")]


def test_snapshot_for_one_or_for_all():
    assert [d.snapshot for d in drives("-hda /a -drive if=none,file=/b,snapshot=on")] == [
        False,
        True,
    ]
    assert [d.snapshot for d in drives("-snapshot -hda /a")] == [True]


def test_a_virtio_drive_implies_its_device():
    line = cmdline("-machine q35 -drive if=virtio,file=/v -device virtio-rng-pci")
    assert [d.driver for d in line.devices] == ["virtio-blk-pci", "virtio-rng-pci"]
    assert line.devices[0].properties == {"drive": "virtio0"}


def test_options_with_dots_are_nodes_below():
    (drive,) = drives(
        "-drive if=none,driver=qcow2,file.driver=file,file.filename=/x,file.node-name=f"
        ",backing.driver=vmdk,backing.file.filename=/y"
    )
    children = drive.node.children
    assert (children["file"].name, children["file"].filename) == ("f", "/x")
    assert children["backing"].driver == "vmdk"
    assert children["backing"].children["file"].filename == "/y"


def test_nodes_may_stand_on_nodes_that_came_before():
    line = cmdline(
        "-machine none -blockdev file,filename=/x,node-name=f -blockdev raw,file=f,node-name=r"
    )
    assert line.blockdevs[1].children == {"file": "f"}


@pytest.mark.parametrize(
    "text",
    [
        "-blockdev raw,file=f,node-name=r -blockdev file,filename=/x,node-name=f",
        "-blockdev null-co,node-name=a -blockdev null-co,node-name=a",
        "-blockdev null-co,node-name=a -drive if=none,id=a,file=/x",
        "-blockdev raw,node-name=a,file.driver=null-co,file.node-name=a",
        "-blockdev null-co,node-name=1a",
        "-blockdev null-co,node-name=" + "a" * 32,
        "-blockdev null-co",
        "-drive if=none,file=/x,node-name=#a",
        "-drive if=none,id=a -drive if=none,id=a",
        "-drive if=ide,index=0,file=/x -hda /y",
        "-drive if=none,file=/x,format=raw,driver=raw",
        "-drive if=none,format=raw",
        "-drive if=none,file=/x,nosuch=1",
        "-drive if=none,file=/x,format=raw,l2-cache-size=1M",
        "-drive if=none,file=pigeon:x",
        "-drive index=1,bus=0",
    ],
)
def test_contradictions(text):
    with pytest.raises(ConfigError):
        cmdline(f"-machine pc {text}")


@pytest.mark.parametrize("pair", ["if=x", "media=x", "cache=x", "aio=x", "discard=x", "index=x"])
def test_values_of_a_closed_set(pair):
    with pytest.raises(MigsimError):
        cmdline(f"-machine pc -drive file=/x,{pair}")


def test_longest_node_name():
    assert cmdline("-machine none -blockdev null-co,node-name=" + "a" * 31)


def test_nodes_too_deep():
    text = '{"driver":"raw","file":' * (DEPTH_LIMIT + 2) + '"x"' + "}" * (DEPTH_LIMIT + 2)
    with pytest.raises(ConfigError, match="below each other"):
        from_filename(f"json:{text}")


def test_flash_is_refused():
    with pytest.raises(ConfigError, match="flash"):
        cmdline("-machine pc -drive if=pflash,file=/x,format=raw")


def test_wrong_types_in_blockdev():
    with pytest.raises((ConfigError, ParameterError)):
        cmdline("-machine none -blockdev null-co,node-name=a,size=1M")
