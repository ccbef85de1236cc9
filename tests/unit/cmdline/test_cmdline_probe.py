"""Formats of images by their first bytes, and the images below them."""

from __future__ import annotations

import os
import struct

import pytest
from cmdlines import IMAGES, image

from migsim.cmdline.probe import HEAD_BYTES, PROBED, SIGNATURES, probe_file, probe_format
from migsim.errors import ConfigError


@pytest.mark.parametrize("name", IMAGES)
def test_images_made_by_qemu(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(image(f"{name}.img"))
    assert probe_format(image(f"{name}.img")[:HEAD_BYTES]) == name
    assert probe_file(str(path)).driver == name


@pytest.mark.parametrize("name", [n for n in IMAGES if n != "raw"])
def test_one_changed_bit_of_the_magic_makes_it_raw(name):
    head = bytearray(image(f"{name}.img")[:HEAD_BYTES])
    signature = next(s for s in SIGNATURES if s.matches(bytes(head)))
    head[signature.offset] ^= 1
    assert probe_format(bytes(head)) == "raw"


@pytest.mark.parametrize(
    ("head", "driver"),
    [
        (b"", "raw"),
        (b"QFI\xfb", "raw"),
        (b"QFI\xfb\0\0\0\x01", "qcow"),
        (b"QFI\xfb\0\0\0\x02", "qcow2"),
        (b"QFI\xfb\0\0\0\x04", "raw"),
        (b"# Disk DescriptorFile\nversion=1\n", "vmdk"),
        (b"COWD", "vmdk"),
        (b"LUKS\xba\xbe\0\x01", "luks"),
        (b"LUKS\xba\xbe\0\x02", "raw"),
        (b"WithoutFreeSpace" + struct.pack("<I", 2), "parallels"),
        (b"WithoutFreeSpace" + struct.pack("<I", 3), "raw"),
    ],
)
def test_versions_and_short_heads(head, driver):
    assert probe_format(head) == driver


def test_a_fixed_vhd_shows_at_its_end_only(tmp_path):
    path = tmp_path / "fixed"
    path.write_bytes(bytes(4096) + b"conectix" + bytes(504))
    found = probe_file(str(path))
    assert found.driver == "raw"
    assert found.opens_as("vpc")
    assert found.opens_as("raw")
    assert not found.opens_as("vdi")


def test_drivers_that_do_not_show_open_anything(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(image("qcow2.img"))
    found = probe_file(str(path))
    assert found.opens_as("raw")
    assert found.opens_as("nosuch")
    assert [driver for driver in sorted(PROBED) if found.opens_as(driver)] == ["qcow2"]


def qcow2(backing: bytes, kind: bytes = b"", version: int = 3) -> bytes:
    """Return the head of a qcow2 image with a backing file."""
    header = bytearray(104 if version >= 3 else 72)
    header[0:4] = b"QFI\xfb"
    extension = struct.pack(">II", 0xE2792ACA, len(kind)) + kind.ljust(
        -(-len(kind) // 8) * 8, b"\0"
    )
    extension = (extension if kind else b"") + bytes(8)
    struct.pack_into(">IQI", header, 4, version, len(header) + len(extension), len(backing))
    if version >= 3:
        struct.pack_into(">I", header, 100, 104)
    return bytes(header) + extension + backing


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["", "raw", "vmdk"])
def test_backing_files_of_qcow2(tmp_path, version, kind):
    path = tmp_path / "top"
    path.write_bytes(qcow2(b"base.img", kind.encode(), version))
    found = probe_file(str(path))
    assert (found.driver, found.backing) == ("qcow2", "base.img")
    assert found.backing_driver == (kind or None)


def test_backing_file_of_qed(tmp_path):
    head = bytearray(64)
    head[:4] = b"QED\0"
    struct.pack_into("<Q", head, 16, 1)
    struct.pack_into("<II", head, 56, 64, 4)
    (tmp_path / "top").write_bytes(bytes(head) + b"base")
    assert probe_file(str(tmp_path / "top")).backing == "base"


def test_damaged_backing_fields_are_no_backing_file(tmp_path):
    for offset, size in ((0, 5), (72, 0), (72, 1024), (1 << 63, 5)):
        head = bytearray(qcow2(b"base.img", version=2))
        struct.pack_into(">QI", head, 8, offset, size)
        (tmp_path / "top").write_bytes(head)
        assert probe_file(str(tmp_path / "top")).backing is None


def test_header_extensions_that_do_not_end(tmp_path):
    head = bytearray(qcow2(b"base.img", b"raw", version=2))
    struct.pack_into(">II", head, 72, 5, 0xFFFFFFFF)
    (tmp_path / "top").write_bytes(head)
    assert probe_file(str(tmp_path / "top")).backing_driver is None


def test_what_cannot_be_an_image(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in (tmp_path / "fifo", tmp_path, tmp_path / "nosuch", "a\0b"):
        with pytest.raises(ConfigError):
            probe_file(str(name))
    assert probe_file("/dev/zero").driver == "raw"
