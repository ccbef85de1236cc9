from __future__ import annotations

import pytest

from migsim.boards.board import BoardSpec, board_devices
from migsim.errors import ConfigError, IncompatibleError
from migsim.vmstate.described import walk


def board(machine="q35", memory=32 << 20, **more):
    devices = board_devices(BoardSpec(machine, "tcg", memory, **more))
    return {(device.name, device.instance_id): device for device in devices}


def test_the_processor_starts_where_real_ones_do():
    cpu = board()["cpu", 0]
    assert cpu.read("env.eip") == 0xFFF0
    assert cpu.read("env.segs[1].base") == 0xFFFF0000
    decoded = cpu.decoded()
    assert decoded is not None
    assert {f.entry.type for _, f in walk(decoded)} >= {"uint64", "int32", "uint16"}


def test_changed_values_travel():
    cpu, other = (board()["cpu", 0] for _ in range(2))
    cpu.write({"env.eip": 0x1234, "env.cr[3]": 1 << 40})
    body, entry = cpu.save()
    assert (entry["name"], entry["instance_id"], entry["vmsd_name"]) == ("cpu", 0, "cpu")
    assert other.load(body, 0, 12, entry=entry) == len(body)
    assert (other.read("env.eip"), other.read("env.cr[3]")) == (0x1234, 1 << 40)
    assert other.save() == (body, entry)


def test_a_change_that_does_not_fit_changes_nothing():
    cpu = board()["cpu", 0]
    before = cpu.body
    for changes in ({"env.eip": 1, "env.nosuch": 1}, {"env.eip": 1 << 64}, {"env.regs": (1,)}):
        with pytest.raises(ConfigError):
            cpu.write(changes)
        assert cpu.body == before
    with pytest.raises(ConfigError):
        cpu.read("env.nosuch")


def test_versions():
    clock = board()["mc146818rtc", 0]
    before = clock.snapshot()
    with pytest.raises(IncompatibleError):
        clock.load(b"\0" * 245, 0, 4)
    assert clock.snapshot() == before
    clock.load(b"\1" * 245, 0, 2)
    clock.restore(before)
    assert clock.snapshot() == before


def test_a_hook_that_refuses_leaves_the_state():
    def refuse(device) -> None:
        raise ConfigError("device", "no")

    clock = board()["mc146818rtc", 0]
    before, clock.post_load = clock.body, refuse
    with pytest.raises(ConfigError):
        clock.load(b"\1" * 245, 0, 3)
    assert clock.body == before


def test_bytes_that_nobody_describes_are_carried():
    clock = board()["mc146818rtc", 0]
    clock.load(b"\1" * 300, 0, 3)
    body, entry = clock.save()
    assert body == b"\1" * 300
    assert entry["size"] == 300
    assert clock.decoded() is None


@pytest.mark.parametrize(
    ("machine", "memory", "expected"),
    [
        ("pc", 32 << 20, "007c 0001 000000"),
        ("q35", 8 << 20, "001c 0000 000000"),
        ("pc", 4 << 30, "ffff 00bf 004000"),
        ("q35", 4 << 30, "ffff 007f 008000"),
        ("q35", 6 << 30, "ffff 007f 000001"),
        ("microvm", 3584 << 20, "ffff 00bf 002000"),
        ("pc", 3 << 30, "ffff 00bf 000000"),
    ],
)
def test_the_clock_knows_the_size_of_the_ram(machine, memory, expected):
    """Seen on QEMU 10.0.2."""
    body = board(machine, memory)["mc146818rtc", 0].body
    found = body[0x17:0x19], body[0x34:0x36], body[0x5B:0x5E]
    assert found == tuple(bytes.fromhex(part) for part in expected.split())
    assert body[0x30:0x32] == body[0x17:0x19]


def test_processors_have_their_own_identity():
    devices = board(cpus=3)
    assert [devices["apic", n].read("id") for n in range(3)] == [0, 1, 2]
    assert [devices["cpu_common", n].read("halted") for n in range(3)] == [0, 1, 1]
    assert ("cpu", 3) not in devices
    assert devices["mc146818rtc", 0].body[0x5F] == 2
