"""Machines made from command lines."""

from __future__ import annotations

import pytest
from cmdlines import cmdline, furnish, started
from conformance.ladder.analysis import analyse

from migsim.blockers.registry import BlockerRegistry
from migsim.cmdline.build import build
from migsim.cmdline.parse import parse
from migsim.errors import ConfigError, OnlyMigratableError, ParameterError
from migsim.guest.devices import Device
from migsim.guest.workloads import Uniform
from migsim.machine.config import MachineConfig, Profile
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind

MIB = 1 << 20


def reasons(vm, mode="normal"):
    vm.set_parameters({"mode": mode})
    return vm.query_migrate().get("blocked-reasons", [])


def test_a_walkthrough_by_command_line(tmp_path):
    ram = f"memory-backend-file,id=ram0,size=16M,mem-path={tmp_path}/ram0,share=on"
    words = f"-machine none,memory-backend=ram0 -m 16M -object {ram}"
    base = MachineConfig(workload=Uniform(0, 4095, rate_pages_per_s=1000.0, seed=1))
    with started(words, base) as vm:
        vm.set_capabilities([("x-ignore-shared", True)])
        vm.set_parameters({"mode": "cpr-reboot"})
        vm.advance(0.5)
        vm.save(f"file:{tmp_path}/state")
        writes = vm.guest.writes
        before = vm.ram_sha256()
    with started(f"{words} -incoming defer -S", base) as vm:
        assert vm.qmp("query-status")["return"]["status"] == "inmigrate"
        vm.set_capabilities([("x-ignore-shared", True)])
        vm.set_parameters({"mode": "cpr-reboot"})
        vm.load(f"file:{tmp_path}/state")
        assert vm.ram_sha256() == before
        assert vm.guest.writes == writes
        assert vm.query_status()["status"] == "paused"


def test_a_file_on_the_command_line_is_loaded_at_once(tmp_path):
    with started("-machine none -m 16M -S") as vm:
        vm.save(f"file:{tmp_path}/state")
    with started(f"-machine none -m 16M -incoming file:{tmp_path}/state") as vm:
        assert vm.exited is None
        assert vm.query_migrate()["status"] == "completed"


def test_values_that_go_into_the_configuration():
    text = (
        "-machine q35,suppress-vmdesc=on -m 32M -name n -S -only-migratable -incoming tcp:h:1"
        " -uuid 00112233-4455-6677-8899-aabbccddeeff -global migration.mode=cpr-reboot"
        " -global foo.bar=1"
    )
    base = MachineConfig(seed=7, profile=Profile.STRICT)
    config = build(cmdline(text, release=Release.V11_1), base).config
    assert (config.machine, config.name, config.seed) == ("q35", "n", 7)
    assert config.uuid == bytes(range(0, 256, 17))
    assert config.profile is Profile.STRICT
    assert config.release is Release.V11_1
    assert config.start_stopped
    assert config.only_migratable
    assert config.suppress_vmdesc
    assert config.incoming == "tcp:h:1"
    assert config.globals == (("mode", "cpr-reboot"),)
    assert (config.ram_name, config.memory.size) == ("pc.ram", 32 * MIB)
    for block in config.extra_blocks:
        block.backend.close()


def test_a_machine_without_memory():
    config = build(cmdline("-machine none")).config
    assert config.memory is None
    assert config.extra_blocks == ()
    assert config.incoming is None


def test_blocks_of_a_pc_in_the_order_of_the_stream():
    with started("-nodefaults -machine pc -m 32M -vga std") as vm:
        assert [(b.name, b.used_bytes, b.max_bytes) for b in vm.ram] == [
            ("pc.ram", 32 * MIB, 32 * MIB),
            ("0000:00:02.0/vga.vram", 16 * MIB, 16 * MIB),
            ("/rom@etc/acpi/tables", 128 << 10, 2 * MIB),
            ("pc.bios", 256 << 10, 256 << 10),
            ("pc.rom", 128 << 10, 128 << 10),
            ("0000:00:02.0/vga.rom", 64 << 10, 64 << 10),
            ("/rom@etc/table-loader", 4 << 10, 64 << 10),
            ("/rom@etc/acpi/rsdp", 4 << 10, 4 << 10),
        ]
        assert vm.ram["/rom@etc/acpi/tables"].resizable
        assert not vm.ram["pc.bios"].resizable


def test_pc_saves_and_loads(tmp_path):
    with started("-nodefaults -machine pc -m 16M -S -device virtio-rng-pci") as vm:
        vm.save(f"file:{tmp_path}/state")
    with started("-nodefaults -machine pc -m 16M -S -incoming defer -device virtio-rng-pci") as vm:
        vm.load(f"file:{tmp_path}/state")
    assert b"0000:00:02.0/virtio-rng" in (tmp_path / "state").read_bytes()


def test_devices_bring_their_own_blockers():
    text = (
        "-nodefaults -machine q35 -m 16M -device nvme,serial=x,id=n"
        " -object memory-backend-ram,id=m,size=1M -device ivshmem-plain,memdev=m,id=i"
    )
    built = build(cmdline(text))
    names = [(d.name, d.migratable, len(d.blockers)) for d in built.config.devices]
    assert names == [
        ("0000:00:01.0/nvme", False, 0),
        ("0000:00:02.0/ivshmem-plain", True, 1),
    ]
    assert {f.feature for f in built.features} == {"nvme", "ivshmem", "ram-block"}
    assert {f.feature for f in built.registered} == {"ram-block"}
    for block in built.config.extra_blocks:
        block.backend.close()
    with started(text) as vm:
        assert len(reasons(vm)) == 2
        assert reasons(vm)[-1] == "non-migratable device: 0000:00:01.0/nvme"


def test_a_device_that_blocks_no_more_in_a_later_release():
    with started("-machine q35 -m 16M -device nvme,serial=x", release=Release.V11_1) as vm:
        assert reasons(vm) == []


def test_instances_of_one_section_name():
    config = build(
        cmdline(
            "-nodefaults -machine pc -m 16M -device vmgenid -device vmcoreinfo"
            " -device isa-debugcon,chardev=a -chardev null,id=a"
        )
    ).config
    assert [(d.name, d.instance_id) for d in config.devices] == [("vmgenid", 0), ("vmcoreinfo", 0)]
    for block in config.extra_blocks:
        block.backend.close()


def test_devices_from_a_factory():
    made = []

    def factory(option, path, release):
        made.append((option.driver, path, release))

    build(
        cmdline("-machine microvm,pcie=on -m 16M,slots=1,maxmem=1G -device virtio-rng-pci"),
        device_factory=factory,
    )
    assert made == [("virtio-rng-pci", "0000:00:01.0", Release.V10_0)]


def test_images_are_looked_at(tmp_path, monkeypatch):
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    with started("-machine none -m 16M -drive if=none,file=vmdk.img") as vm:
        assert len(reasons(vm)) == 1
        assert reasons(vm, "cpr-reboot") == []
    with pytest.raises(ConfigError, match="nosuch"):
        build(cmdline("-machine none -drive if=none,file=nosuch"))


def test_only_migratable(tmp_path, monkeypatch):
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    built = build(cmdline("-machine none -only-migratable -drive if=none,file=vdi.img"))
    with pytest.raises(OnlyMigratableError):
        built.register(BlockerRegistry(only_migratable=True))
    with (
        pytest.raises(OnlyMigratableError),
        started("-machine q35 -only-migratable -device rocker"),
    ):
        pass


def test_memory_that_is_not_ram_leaves_its_file(tmp_path):
    shm = f"memory-backend-file,id=shm,size=1M,mem-path={tmp_path}/shm,share=on"
    build(cmdline(f"-machine none -object {shm}"))
    assert (tmp_path / "shm").stat().st_size == MIB
    with pytest.raises(ConfigError, match="cannot open"):
        build(cmdline(f"-machine none -object {shm}/no/such".replace(",share=on/no/such", "/x")))


def test_memory_that_begins_inside_its_file(tmp_path):
    ram = f"memory-backend-file,id=r,size=1M,mem-path={tmp_path}/r,offset=4096"
    with pytest.raises(ConfigError, match="offset="):
        build(cmdline(f"-machine none,memory-backend=r -object {ram}"))


def test_blocks_made_before_a_failure_are_closed(tmp_path):
    text = (
        "-machine q35 -m 16M,slots=1,maxmem=1G -object memory-backend-file,id=d,size=1M"
        f",mem-path={tmp_path}/no/such -device pc-dimm,memdev=d"
    )
    with pytest.raises(ConfigError, match="cannot open"):
        build(cmdline(text))


def test_what_is_no_machine():
    with pytest.raises(ConfigError, match="a text"):
        build(parse(["-version"]))
    with pytest.raises(ConfigError, match="does not model"):
        build(cmdline("-machine none -plugin p", strict=False))


def test_bad_globals_are_found_when_the_machine_starts():
    with pytest.raises(ParameterError), started("-machine none -global migration.nosuch=1"):
        pass


def test_ram_of_nodes():
    text = (
        "-machine microvm,acpi=off -m 32M -numa node,memdev=a -numa node,memdev=b"
        " -object memory-backend-ram,id=a,size=16M -object memory-backend-memfd,id=b,size=16M"
    )
    with started(text) as vm:
        assert [b.name for b in vm.ram] == ["a", "b", "pc.bios"]
        assert vm.ram["b"].backend.kind is BackendKind.MEMFD


def test_a_device_keeps_what_its_factory_gave_it():
    def factory(option, path, release):
        from migsim.cmdline.build import plain_device

        device = plain_device(option, path, release)
        assert isinstance(device, Device)
        return device

    built = build(
        cmdline("-machine microvm -m 16M -device virtio-rng-device"), device_factory=factory
    )
    assert [d.name for d in built.config.devices] == ["virtio-rng"]
    for block in built.config.extra_blocks:
        block.backend.close()


def test_firmware_of_which_nothing_is_known_is_announced_and_not_sent(tmp_path):
    with started("-nodefaults -machine q35 -m 16M -S") as vm:
        vm.ram["pc.rom"].view()[3, 5] = 1
        vm.save(f"file:{tmp_path}/state")
    found = analyse((tmp_path / "state").read_bytes())
    assert found["pc.bios"] == 0
    assert found["pc.rom"] == 32
    assert found["pc.ram"] == 4096
