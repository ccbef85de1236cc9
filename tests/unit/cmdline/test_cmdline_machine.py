"""Machine types, properties, accelerators, processors."""

from __future__ import annotations

import pytest
from cmdlines import cmdline

from migsim.cmdline.model import Family
from migsim.errors import ConfigError, MigsimError, ParameterError
from migsim.qapi.release import Release


def test_a_machine_without_any_option():
    line = cmdline("")
    assert (line.machine.name, line.machine.concrete) == ("pc", "pc-i440fx-10.0")
    assert line.accelerator == "tcg"
    assert (line.cpus, line.max_cpus) == (1, 1)
    assert line.incoming is None
    assert line.warnings == ()


def test_machine_options_merge_and_an_empty_one_adds_nothing():
    line = cmdline(
        "-machine q35, -machine memory-backend=r,usb=on -machine usb=off,smp.cpus=2"
        " -object memory-backend-ram,id=r,size=16M"
    )
    assert line.machine.concrete == "pc-q35-10.0"
    assert line.machine.properties == {
        "memory-backend": "r",
        "usb": "off",
        "smp": {"cpus": "2"},
    }
    assert line.cpus == 2


@pytest.mark.parametrize(
    ("name", "release", "concrete", "family"),
    [
        ("none", "10.0", "none", Family.NONE),
        ("microvm", "8.2", "microvm", Family.MICROVM),
        ("q35", "11.1", "pc-q35-11.1", Family.Q35),
        ("pc", "8.2", "pc-i440fx-8.2", Family.PC),
        ("pc-q35-4.0.1", "10.0", "pc-q35-4.0.1", Family.Q35),
        ("pc-i440fx-10.1", "11.1", "pc-i440fx-10.1", Family.PC),
    ],
)
def test_aliases_mean_the_newest_of_the_release(name, release, concrete, family):
    machine = cmdline(f"-machine {name}", release=Release.parse(release), strict=False).machine
    assert (machine.concrete, machine.family) == (concrete, family)


@pytest.mark.parametrize(
    "name", ["nosuch", "pc-q35-10.1", "pc-q35-3.7", "pc-q35-", "PC", "q35-10.0"]
)
def test_machines_that_do_not_exist(name):
    with pytest.raises(ConfigError, match="no such machine"):
        cmdline(f"-machine {name}")


def test_machines_that_are_not_modelled():
    with pytest.raises(ConfigError, match="migsim does not model it"):
        cmdline("-machine isapc")
    assert cmdline("-machine isapc", strict=False).refused


def test_underscores_in_names_of_properties():
    assert cmdline("-machine q35,dump_guest_core=off").machine.properties == {
        "dump-guest-core": "off"
    }


def test_a_property_that_came_later():
    with pytest.raises(ConfigError, match=r"aux-ram-share came with release 10\.0"):
        cmdline("-machine none,aux-ram-share=on", release=Release.V8_2)


def test_the_first_usable_accelerator_counts():
    line = cmdline("-accel nosuch -accel kvm,dirty-ring-size=4096 -accel tcg -accel qtest")
    assert [a.name for a in line.accelerators] == ["kvm", "tcg", "qtest"]
    assert line.accelerator == "kvm"
    assert line.accelerators[0].properties == {"dirty-ring-size": "4096"}
    assert len(line.warnings) == 1


@pytest.mark.parametrize("text", ["-enable-kvm", "-machine pc,accel=kvm:tcg", "-accel accel=kvm"])
def test_ways_to_say_kvm(text):
    assert cmdline(text).accelerator == "kvm"


def test_properties_of_an_accelerator_that_is_not_used_are_not_looked_at():
    assert cmdline("-accel tcg -accel kvm,nosuch=1").accelerator == "tcg"
    with pytest.raises(ConfigError, match="no property"):
        cmdline("-accel kvm,nosuch=1")
    with pytest.raises(ParameterError, match="power of two"):
        cmdline("-accel kvm,dirty-ring-size=3")


def test_accelerators_of_other_hosts_are_refused_but_can_be_looked_at():
    with pytest.raises(ConfigError, match="-accel whpx"):
        cmdline("-accel whpx")
    assert cmdline("-accel whpx", strict=False).accelerator == "whpx"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("host", {}),
        ("host,+invtsc", {"invtsc": "on"}),
        ("host,invtsc", {"invtsc": "on"}),
        ("host,+invtsc,invtsc=off", {"invtsc": "on"}),
        ("host,invtsc=off,+invtsc", {"invtsc": "on"}),
        ("host,-invtsc,+invtsc", {"invtsc": "off"}),
        ("host,hv_passthrough", {"hv-passthrough": "on"}),
        ("host,tsc-freq=2G", {"tsc-frequency": "2G"}),
        ("host,migratable=off,", {"migratable": "off"}),
    ],
)
def test_flags_assignments_first_then_plus_then_minus(text, flags):
    cpu = cmdline(f"-accel kvm -cpu {text}").cpu
    assert cpu.model == "host"
    assert dict(cpu.flags) == flags


def test_models_of_later_releases_are_not_known_and_so_taken():
    assert cmdline("-cpu FutureLake,+anything", release=Release.V11_1).cpu.on("anything")
    with pytest.raises(ConfigError, match="no model"):
        cmdline("-cpu FutureLake")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("4", (4, 4)),
        ("2,maxcpus=8", (2, 8)),
        ("sockets=2,cores=3,threads=2", (12, 12)),
        ("2,sockets=2,threads=2,maxcpus=8", (2, 8)),
        ("cores=2,maxcpus=8", (8, 8)),
        ("4,dies=2", (4, 4)),
    ],
)
def test_processors(text, numbers):
    line = cmdline(f"-machine q35 -smp {text}")
    assert (line.cpus, line.max_cpus) == numbers


def test_the_machine_may_give_processors_too_and_smp_lies_over_them():
    assert cmdline("-machine q35,smp.cpus=2,smp.maxcpus=4 -smp cpus=3").cpus == 3


@pytest.mark.parametrize("text", ["3,cores=2", "1,drawers=2", "4097", "2,cpus=x", "2,cores.x=1"])
def test_impossible_processors(text):
    with pytest.raises(MigsimError):
        cmdline(f"-machine q35 -smp {text}")


def test_encrypted_guests_need_their_object():
    sev = "-object sev-guest,id=s,cbitpos=47,reduced-phys-bits=1"
    assert cmdline(f"-machine q35,confidential-guest-support=s {sev}")
    with pytest.raises(ConfigError, match="encrypts memory"):
        cmdline(f"-machine q35,confidential-guest-support=t {sev}")
