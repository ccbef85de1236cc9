"""Devices: models, properties, buses, places, names of sections."""

from __future__ import annotations

import pytest
from cmdlines import bare as cmdline
from cmdlines import cmdline as plain_cmdline

from migsim.cmdline.facts import device, device_names
from migsim.cmdline.placement import place, state_name
from migsim.errors import ConfigError, MigsimError


def paths(text):
    line = cmdline(text)
    return dict(zip([d.driver for d in line.devices], place(line), strict=True))


@pytest.mark.parametrize(
    ("text", "driver", "path"),
    [
        ("-machine q35 -device nvme,serial=x", "nvme", "0000:00:01.0"),
        ("-machine pc -device nvme,serial=x", "nvme", "0000:00:02.0"),
        ("-machine pc -device nvme,serial=x,addr=1f.7", "nvme", "0000:00:1f.7"),
        ("-machine pc -device nvme,serial=x,addr=0x1", None, None),
        ("-machine q35 -vga std -device nvme,serial=x", "nvme", "0000:00:02.0"),
        ("-machine microvm,pcie=on -device nvme,serial=x", "nvme", "0000:00:01.0"),
        (
            "-machine q35 -device pcie-root-port,id=p -device nvme,serial=x,bus=p",
            "nvme",
            "0000:00:01.0:00.0",
        ),
        ("-machine q35 -device amd-iommu", "amd-iommu", ""),
        ("-machine q35 -device isa-debug-exit", "isa-debug-exit", ""),
        ("-machine q35 -usb -device usb-tablet", "usb-tablet", "0000:00:1d.7/1"),
        ("-machine pc -usbdevice tablet", "usb-tablet", "0000:00:01.2/1"),
        ("-machine microvm,usb=on -device usb-tablet", "usb-tablet", "1"),
        (
            "-machine pc -device qemu-xhci -device usb-kbd -device usb-tablet",
            "usb-tablet",
            "0000:00:02.0/2",
        ),
        (
            "-machine pc -device qemu-xhci -device usb-tablet,port=3",
            "usb-tablet",
            "0000:00:02.0/3",
        ),
    ],
)
def test_paths(text, driver, path):
    if driver is None:
        with pytest.raises(ConfigError, match="has a device already"):
            cmdline(text)
    else:
        assert paths(text)[driver] == path


def test_a_hub_appears_before_the_last_port_is_gone():
    line = cmdline("-machine q35 -device qemu-xhci,p2=3" + " -device usb-tablet" * 4)
    assert place(line)[1:] == tuple(f"0000:00:01.0/{port}" for port in ("1", "2", "3.1", "3.2"))


def test_the_bus_is_full():
    line = "-machine pc" + " -device virtio-rng-pci" * 30
    assert place(cmdline(line))[-1] == "0000:00:1f.0"
    with pytest.raises(ConfigError, match="full"):
        cmdline(f"{line} -device virtio-rng-pci")


def test_names_of_states_are_those_of_the_inner_device():
    line = cmdline("-machine q35 -device virtio-rng-pci -device qemu-xhci -device usb-wacom-tablet")
    assert [state_name(d) for d in line.devices] == ["virtio-rng", "xhci", "usb-wacom"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "no device model"),
        ("virtio-rng-pci,nosuch=1", "no property"),
        ("virtio-rng-pci,multifunction=maybe", "refused"),
        ("virtio-rng-pci,addr=20", "addr"),
        ("virtio-rng-pci,addr=1.8", "addr"),
        ("virtio-rng-pci,addr=x", "addr"),
        ("virtio-rng-pci,bus=isa.0", "kind PCI"),
        ("virtio-rng-pci,bus=nope", "no bus"),
        ("usb-tablet", "no bus of kind usb-bus"),
        ("nvme", "serial= is missing"),
        ("nvme,serial=x,drive=d", "refers to nothing"),
        ("virtio-blk-pci", "drive= is missing"),
        ("virtio-blk-pci-non-transitional", "drive= is missing"),
        ("virtio-net-pci,netdev=n", "refers to nothing"),
        ("ivshmem-plain,memdev=m", "refers to nothing"),
        ("virtio-sound-pci", "audiodev= is missing"),
        ("isa-serial,chardev=c", "no character device"),
        ("id=x", "a device model is missing"),
        ("virtio-rng-pci,id=1", "cannot be an id"),
    ],
)
def test_refused(text, message):
    with pytest.raises(MigsimError, match=message):
        cmdline(f"-machine q35 -device {text}")


@pytest.mark.parametrize(
    "text",
    [
        '{"driver":"virtio-rng-pci","multifunction":"on"}',
        '{"driver":"virtio-rng-pci","multifunction":1}',
        '{"driver":"virtio-rng-pci","max-bytes":"1"}',
        '{"driver":"virtio-rng-pci","max-bytes":true}',
        '{"driver":"virtio-rng-pci","period":4294967296}',
        '{"driver":3}',
        '{"driver":"virtio-rng-pci","id":3}',
        "{}",
    ],
)
def test_types_in_json(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine q35 -device '{text}'")


def test_json_and_flat_forms_are_the_same_device():
    json = '{"driver":"virtio-rng","id":"r","max-bytes":5,"addr":"0x7","multifunction":true}'
    line = cmdline(f"-machine q35 -device '{json}'")
    (one,) = line.devices
    assert (one.driver, one.id, one.text("max-bytes")) == ("virtio-rng-pci", "r", "5")
    assert one.text("multifunction") == "on"
    assert place(line) == ("0000:00:07.0",)


def test_keys_can_be_set_afterwards():
    line = cmdline("-machine q35 -device virtio-rng-pci,id=r -set device.r.addr=9")
    assert place(line) == ("0000:00:09.0",)
    for text in ("device.s.addr=9", "device.r.nosuch=1", "nosuch.r.a=1", "device.r"):
        with pytest.raises(MigsimError):
            cmdline(f"-machine q35 -device virtio-rng-pci,id=r -set {text}")


def test_names_of_buses():
    scsi = "-drive if=none,id=d,file=/x -device virtio-scsi-pci"
    assert cmdline(f"-machine q35 {scsi},id=s -device scsi-hd,drive=d,bus=s.0")
    assert cmdline(f"-machine q35 {scsi} -device scsi-hd,drive=d,bus=scsi.0")
    with pytest.raises(ConfigError):
        cmdline(f"-machine q35 {scsi},id=s -device scsi-hd,drive=d,bus=scsi.0")


def test_one_drive_for_one_device():
    with pytest.raises(ConfigError, match="has a device already"):
        cmdline("-machine q35 -drive if=none,id=d,file=/x" + " -device virtio-blk-pci,drive=d" * 2)


def test_shared_folders_imply_their_device():
    line = cmdline("-machine pc -virtfs local,path=.,mount_tag=t,security_model=none,id=f")
    assert [(d.driver, d.properties["fsdev"]) for d in line.devices] == [("virtio-9p-pci", "f")]


def test_facts_about_all_devices_can_be_read():
    for name in device_names():
        facts = device(name)
        assert facts.name
        assert facts.properties is None or all(facts.properties.values())
    assert device("virtio-blk").name == "virtio-blk-pci"
    assert device("no such device") is None


def drivers(text):
    return [(d.driver, d.option) for d in plain_cmdline(text).devices]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-machine pc", ["VGA", "e1000"]),
        ("-machine q35", ["VGA", "e1000e"]),
        ("-machine q35 -nodefaults", []),
        ("-machine q35 -vga none -nic none", []),
        ("-machine q35 -vga cirrus -net none", ["cirrus-vga"]),
        ("-machine q35 -netdev user,id=n", ["VGA"]),
        ("-machine q35 -device cirrus-vga", ["e1000e", "cirrus-vga"]),
        ("-machine microvm", []),
        ("-machine none", []),
    ],
)
def test_what_a_machine_has_when_nobody_asks(text, expected):
    """Seen on QEMU 10.0.2 with ``info ramblock`` and in streams."""
    assert [driver for driver, _ in drivers(text)] == expected
