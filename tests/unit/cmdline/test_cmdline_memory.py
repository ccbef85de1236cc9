"""RAM: sizes, backends, nodes, and the names of blocks."""

from __future__ import annotations

import pytest
from cmdlines import bare as cmdline

from migsim.cmdline.layout import plan_blocks
from migsim.cmdline.memory_options import ram_size
from migsim.errors import ConfigError, ParameterError
from migsim.ram.backends import BackendKind

MIB = 1 << 20
R = "-object memory-backend-ram,id=r,size=16M"
FILE = "-object memory-backend-file,id=r,size=16M,mem-path=/x"
MEMFD = "-object memory-backend-memfd,id=r,size=16M"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16", 16 * MIB),
        ("16M", 16 * MIB),
        ("1.5G", 1536 * MIB),
        ("0.5", MIB // 2),
        ("1K", 8192),
        ("8193b", 16384),
        ("0", 0),
        (" +1", MIB),
    ],
)
def test_sizes_count_mebibytes_and_fill_pairs_of_pages(text, size):
    assert ram_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "0x10", "1Z", "1e3", "16E", "99999999999999999999"]
)
def test_what_is_no_size(text):
    with pytest.raises(ParameterError):
        ram_size(text)


def blocks(text):
    return [(b.name, b.used_bytes) for b in plan_blocks(cmdline(text))]


@pytest.mark.parametrize(
    ("text", "main"),
    [
        ("-machine none", []),
        ("-machine none -m 0", []),
        ("-machine none -m 16M", [("ram", 16 * MIB)]),
        (f"-machine none,memory-backend=r {R}", [("r", 16 * MIB)]),
        (f"-machine none,memory-backend=r -m 16 {FILE}", [("r", 16 * MIB)]),
        (f"-machine none {R}", []),
        ("-machine none -m 16M -mem-path /x", [("ram", 16 * MIB)]),
        (
            "-machine none,memory-backend=q -object memory-backend-ram,id=q,size=5000",
            [("q", 8192)],
        ),
    ],
)
def test_the_main_block_of_machine_none(text, main):
    assert blocks(text) == main


@pytest.mark.parametrize(
    ("machine", "name"), [("pc", "pc.ram"), ("q35", "pc.ram"), ("microvm", "microvm.ram")]
)
def test_default_names_and_sizes(machine, name):
    assert blocks(f"-machine {machine}")[0] == (name, 128 * MIB)
    assert blocks(f"-machine {machine} -m 32M")[0] == (name, 32 * MIB)


@pytest.mark.parametrize(
    ("machine", "memory", "name"),
    [
        ("pc-q35-3.1", MEMFD, "/objects/r"),
        ("pc-q35-3.1", FILE, "/objects/r"),
        ("pc-q35-3.1", R, "r"),
        ("pc-q35-4.0", MEMFD, "r"),
        ("pc-i440fx-2.4", FILE, "/objects/r"),
        ("pc-q35-3.1", f"{MEMFD},x-use-canonical-path-for-ramblock-id=off", "r"),
        ("q35", f"{R},x-use-canonical-path-for-ramblock-id=on", "/objects/r"),
    ],
)
def test_old_machines_name_blocks_by_path(machine, memory, name):
    assert blocks(f"-machine {machine},memory-backend=r {memory}")[0][0] == name


def test_firmware_blocks_in_the_order_of_registration():
    assert blocks("-machine q35 -m 32M")[1:] == [
        ("pc.bios", 256 << 10),
        ("pc.rom", 128 << 10),
        ("/rom@etc/acpi/tables", 128 << 10),
        ("/rom@etc/table-loader", 4 << 10),
        ("/rom@etc/acpi/rsdp", 4 << 10),
    ]
    names = [name for name, _ in blocks("-machine pc,acpi=off -vga std")]
    assert names == ["pc.ram", "pc.bios", "pc.rom", "0000:00:02.0/vga.vram", "0000:00:02.0/vga.rom"]


def test_nodes_are_blocks_of_their_own():
    text = (
        "-machine q35 -m 32M -numa node,memdev=s -numa node,memdev=r"
        f" {R} -object memory-backend-memfd,id=s,size=16M"
    )
    assert [name for name, _ in blocks(text)][:2] == ["s", "r"]
    assert cmdline(text).memory.node_backends == ("s", "r")


@pytest.mark.parametrize(
    ("memory", "kind", "usable"),
    [
        (R, BackendKind.RAM, False),
        (f"{R},share=on", BackendKind.RAM, True),
        (MEMFD, BackendKind.MEMFD, True),
        (f"{MEMFD},share=off", BackendKind.MEMFD, False),
        (FILE, BackendKind.FILE, False),
        (f"{FILE},share=on", BackendKind.FILE, True),
        ("-object memory-backend-shm,id=r,size=16M", BackendKind.MEMFD, True),
    ],
)
def test_what_another_process_could_be_handed(memory, kind, usable):
    (block,) = plan_blocks(cmdline(f"-machine none,memory-backend=r {memory}"))
    assert block.backing.qom_type is kind
    assert block.usable_in_place is usable


def test_shared_auxiliary_blocks_leave_the_main_one_private():
    plans = plan_blocks(cmdline("-machine pc,aux-ram-share=on -m 16M"))
    assert [b.usable_in_place for b in plans] == [False, *[True] * 5]


def test_mem_path_is_a_private_file():
    (block,) = plan_blocks(cmdline("-machine none -m 16M -mem-path /x"))
    assert (block.backing.qom_type, block.backing.mem_path) == (BackendKind.FILE, "/x")
    assert not block.usable_in_place


@pytest.mark.parametrize(
    "text",
    [
        f"-machine none,memory-backend=nope {R}",
        "-machine none,memory-backend=o -object iothread,id=o",
        f"-machine none,memory-backend=r -m 32M {R}",
        f"-machine none,memory-backend=r -mem-path /x {R}",
        f"-machine q35,memory-backend=r -numa node,memdev=r {R}",
        f"-machine q35 -m 32M -numa node,memdev=r {R}",
        f"-machine none -numa node,memdev=r {R}",
        "-machine q35 -numa dist,src=0,dst=0,val=10",
        "-m 16M,slots=1",
        "-m 16M,maxmem=8M",
    ],
)
def test_contradictions(text):
    with pytest.raises(ConfigError):
        cmdline(text)


def test_rules_between_properties_of_a_backend():
    for extra in ("rom=on", "policy=bind", "host-nodes=0", "share=maybe", "align=3M"):
        with pytest.raises((ConfigError, ParameterError)):
            cmdline(f"-machine none {FILE},{extra}")
    assert cmdline(f"-machine none {FILE},readonly=on,rom=on,align=2M,host-nodes=0,policy=bind")


def test_ranges_of_numbers():
    line = cmdline(f"-machine none {R},policy=interleave,host-nodes=0-2,host-nodes=5")
    assert line.objects[0].properties["host-nodes"] == [0, 1, 2, 5]


def test_huge_pages_are_refused():
    with pytest.raises(ConfigError, match="huge pages"):
        cmdline(f"-machine none {MEMFD},hugetlb=on")


def test_device_memory():
    text = (
        "-machine q35 -m 32M,slots=1,maxmem=1G"
        " -object memory-backend-ram,id=d,size=128M -device pc-dimm,memdev=d"
        " -object memory-backend-ram,id=s,size=1M -device ivshmem-plain,memdev=s"
        " -device e1000 -device VGA,vgamem_mb=8,rombar=0"
    )
    assert blocks(text)[3:7] == [
        ("d", 128 * MIB),
        ("0000:00:01.0/s", MIB),
        ("0000:00:02.0/e1000.rom", 256 << 10),
        ("0000:00:03.0/vga.vram", 8 * MIB),
    ]
