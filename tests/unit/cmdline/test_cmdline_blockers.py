"""What on a command line blocks migration, in which modes, and by whom."""

from __future__ import annotations

import struct

import pytest
from cmdlines import IMAGES, furnish, image
from cmdlines import bare as cmdline

from migsim.blockers.catalogue import ROWS
from migsim.blockers.registry import BlockerRegistry
from migsim.blockers.rows import Moment
from migsim.cmdline.applied import Certainty
from migsim.cmdline.blockers import device_features, features, register_features
from migsim.cmdline.facts import device_names
from migsim.cmdline.images import try_probe
from migsim.cmdline.parts import DeviceOption
from migsim.errors import ConfigError, OnlyMigratableError
from migsim.qapi.enums import MigMode
from migsim.qapi.release import Release

N, R, T = MigMode.NORMAL, MigMode.CPR_REBOOT, MigMode.CPR_TRANSFER
EVERY = {N, R, T}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(text, **how):
    """Return features and names of a command line, RAM blocks left out."""
    return [(f.feature, f.name) for f in features(cmdline(text), **how) if f.feature != "ram-block"]


@pytest.mark.parametrize("name", IMAGES)
def test_formats_given_or_probed(folder, name):
    blocking = name not in ("raw", "qcow2", "qed")
    for how in (
        f"file={name}.img,format={name}",
        f"file={name}.img",
        f"driver={name},file.driver=file,file.filename={name}.img",
    ):
        assert found(f"-machine none -drive if=none,id=d,{how}") == [(name, "d")] * blocking


def test_an_image_that_is_told_to_be_raw_does_not_block(folder):
    assert found("-machine none -drive if=none,file=vmdk.img,format=raw") == []


def test_an_image_of_another_format_is_an_error(folder):
    with pytest.raises(ConfigError, match="not of format vdi, but vmdk"):
        found("-machine none -drive if=none,file=vmdk.img,format=vdi")


def test_order_and_names_of_several(folder):
    text = (
        "-machine none -chardev qemu-vdagent,id=v -drive if=none,id=a,file=vdi.img"
        " -blockdev vmdk,node-name=n,file.driver=file,file.filename=vmdk.img"
        " -drive if=none,file=fat:rw:d,format=raw,id=f"
    )
    assert found(text) == [
        ("vdagent", "v"),
        ("vmdk", "n"),
        ("vdi", "a"),
        ("qcow", "f"),
        ("vvfat", "f"),
    ]
    owners = [f.owner for f in features(cmdline(text)) if f.feature != "ram-block"]
    assert owners == ["v", "n", "a", "f", "f"]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("file=fat:d,format=raw", False),
        ("file=fat:rw:d,format=raw", True),
        ("file=fat:rw:d", True),
        ("driver=vvfat,dir=d,rw=on", True),
        ("driver=vvfat,dir=d", False),
        ("driver=raw,file.driver=vvfat,file.dir=d,file.rw=on", True),
    ],
)
def test_directories(folder, text, blocks):
    expected = [("qcow", "none0"), ("vvfat", "none0")] if blocks else []
    assert found(f"-machine none -drive if=none,{text}") == expected


def test_a_node_on_a_named_file_is_checked(folder):
    on = "-machine none -blockdev file,node-name=f,filename={} -blockdev vmdk,node-name=v,file=f"
    assert found(on.format("vmdk.img")) == [("vmdk", "v")]
    for name in ("vdi.img", "nosuch.img"):
        with pytest.raises(ConfigError):
            found(on.format(name))


def backed(path, backing, kind=b""):
    """Write a qcow2 image on top of ``backing``."""
    name = backing.encode()
    extension = struct.pack(">II", 0xE2792ACA, len(kind)) + kind.ljust(8, b"\0") if kind else b""
    header = bytearray(72) + extension + bytes(8)
    struct.pack_into(">4sIQI", header, 0, b"QFI\xfb", 2, len(header), len(name))
    path.write_bytes(bytes(header) + name)


def test_images_below_count_too(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "base").write_bytes(image("vmdk.img"))
    backed(folder / "sub" / "mid", "base")
    backed(folder / "top", "sub/mid")
    assert found("-machine none -drive if=none,id=d,file=top") == [("vmdk", "d")]
    assert found("-machine none -drive if=none,id=d,file=top,backing.driver=null-co") == []
    backed(folder / "sub" / "mid", "base", b"raw")
    assert found("-machine none -drive if=none,id=d,file=top") == []


def test_images_below_that_are_missing_or_go_round(folder):
    backed(folder / "top", "nosuch")
    with pytest.raises(ConfigError, match="cannot be read"):
        found("-machine none -drive if=none,file=top")
    assert found("-machine none -drive if=none,file=top", look=try_probe) == []
    backed(folder / "top", "top")
    with pytest.raises(ConfigError, match="below each other"):
        found("-machine none -drive if=none,file=top")


def test_a_dry_run_without_files_believes_the_option():
    text = "-machine none -drive if=none,id=d,file=/nosuch,format=vmdk -drive if=none,file=/nosuch"
    assert found(text, look=try_probe) == [("vmdk", "d")]
    with pytest.raises(ConfigError):
        found(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-accel kvm -machine pc -cpu host", []),
        ("-accel kvm -machine pc -cpu host,+invtsc", [("invtsc-kvm", "host")]),
        ("-accel kvm -machine pc -cpu host,migratable=off", [("invtsc-kvm", "host")]),
        ("-accel kvm -machine pc -cpu host,migratable=off,-invtsc", []),
        ("-accel kvm -machine pc -cpu max,migratable=no", [("invtsc-kvm", "max")]),
        ("-accel kvm -machine pc -cpu qemu64,+invtsc", [("invtsc-kvm", "qemu64")]),
        ("-accel kvm -machine pc -cpu host,+invtsc,tsc-frequency=1000000000", []),
        ("-accel kvm -machine pc -global qemu64-x86_64-cpu.invtsc=on", [("invtsc-kvm", "cpu")]),
        ("-accel kvm -machine pc -global Nehalem-x86_64-cpu.invtsc=on", []),
        ("-accel tcg -machine pc -cpu max,+invtsc", []),
        ("-accel tcg -accel kvm -machine pc -cpu max,+invtsc", []),
        ("-accel kvm -machine pc -cpu host,hv-passthrough", [("hv-passthrough", "hv-passthrough")]),
        (
            "-accel kvm -machine pc -cpu host,hv-no-nonarch-coresharing=auto",
            [("hv-no-nonarch-coresharing", "hv-no-nonarch-coresharing")],
        ),
        ("-accel kvm -machine pc -cpu host,hv-no-nonarch-coresharing=on", []),
    ],
)
def test_processors(text, expected):
    assert found(text) == expected


def test_what_a_command_line_cannot_decide():
    text = (
        "-accel kvm -machine q35 -cpu host,hv-passthrough -device vfio-pci,host=1 -device"
        " vfio-pci,host=2 -chardev null,id=c -tpmdev emulator,id=t,chardev=c"
        " -device vfio-pci,host=3,enable-migration=off -virtfs local,path=.,mount_tag=t,id=f"
        ",security_model=none"
    )
    rows = {
        (f.feature, f.certainty, f.at_start)
        for f in features(cmdline(text, strict=False))
        if f.feature != "ram-block"
    }
    assert rows == {
        ("hv-passthrough", Certainty.DEPENDS, False),
        ("vfio", Certainty.DEPENDS, False),
        ("vfio", Certainty.SURE, True),
        ("vfio-multiple", Certainty.DEPENDS, False),
        ("tpm-emulator", Certainty.DEPENDS, False),
        ("9p", Certainty.SURE, False),
    }


def test_plugins_are_refused_to_run_but_seen_in_a_dry_run():
    rows = features(cmdline("-machine none -plugin p", strict=False))
    assert [f.feature for f in rows] == ["tcg-plugin-time"]


@pytest.mark.parametrize(
    ("properties", "feature"),
    [
        ("ivshmem-plain,memdev=m", True),
        ("ivshmem-plain,memdev=m,master=off", True),
        ("ivshmem-plain,memdev=m,master=auto", True),
        ("ivshmem-plain,memdev=m,master=on", False),
    ],
)
def test_shared_memory_devices(properties, feature):
    memory = "-object memory-backend-ram,id=m,size=1M"
    text = f"-machine q35 {memory} -device {properties},id=i"
    assert found(text) == ([("ivshmem", "i")] if feature else [])


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("nvme,serial=x", "0000:00:01.0/nvme"),
        ("amd-iommu", "amd-iommu"),
        ("virtio-crypto-pci,cryptodev=c", "0000:00:01.0/virtio-crypto"),
        ("virtio-sound-pci,audiodev=a", "0000:00:01.0/virtio-sound-device"),
        ("rocker", "0000:00:01.0/rocker"),
    ],
)
def test_devices_without_saved_state_are_named_by_section(device, name):
    backs = "-object cryptodev-backend-builtin,id=c -audiodev none,id=a"
    (feature,) = [
        f
        for f in features(cmdline(f"-machine q35 {backs} -device {device}"))
        if f.feature != "ram-block"
    ]
    assert feature.name == name
    assert feature.modes() == EVERY
    assert feature.moment is Moment.CREATION


def test_the_catalogue_has_every_feature_that_devices_can_have():
    features_of_all = {
        feature
        for name in device_names()
        for feature in device_features(DeviceOption(name, None, None, {}))
    }
    assert features_of_all <= set(ROWS)
    assert {
        "nvme",
        "ufs",
        "usb-mtp",
        "virtio-gpu-virgl",
        "vhost-scsi",
        "pci-proxy",
    } <= features_of_all
    assert "vhost-user-vsock" in features_of_all


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("-machine none -m 16M", 1),
        ("-machine none,memory-backend=r -object memory-backend-memfd,id=r,size=16M", 0),
        ("-machine none,aux-ram-share=on -m 16M", 1),
        ("-machine pc -m 16M", 6),
        ("-machine pc,aux-ram-share=on -m 16M", 1),
        ("-machine q35,memory-backend=r -object memory-backend-memfd,id=r,size=16M", 5),
        ("-machine q35 -m 16M -vga std", 8),
    ],
)
def test_reasons_of_cpr_transfer(text, count):
    rows = features(cmdline(text))
    assert [f.feature for f in rows] == ["ram-block"] * count
    assert all(f.modes() == {T} for f in rows)
    assert all(not f.modes(Release.V8_2) for f in rows)


def test_modes_follow_the_release(folder):
    (image_row,) = features(cmdline("-machine none -drive if=none,file=vmdk.img"))
    assert image_row.modes() == {N}
    (agent,) = features(cmdline("-machine none -chardev qemu-vdagent,id=v"))
    assert agent.modes() == EVERY
    assert agent.modes(Release.V11_1) == frozenset()


def test_registration(folder):
    rows = features(cmdline("-machine none -m 16M -drive if=none,id=d,file=vmdk.img"))
    registry = BlockerRegistry()
    handles = register_features(registry, rows)
    assert [f.feature for f in handles] == ["vmdk", "ram-block"]
    assert len(registry.reasons(N)) == 1
    assert "'d'" in registry.reasons(N)[0]
    assert len(registry.reasons(T)) == 1
    registry.remove(handles[rows[0]])
    assert registry.reasons(N) == ()
    assert register_features(BlockerRegistry(), rows, Release.V8_2).keys() == {rows[0]}
    with pytest.raises(OnlyMigratableError):
        register_features(BlockerRegistry(only_migratable=True), rows)
