"""Machines that are served in the test's own process, and what can be made to go wrong."""

from __future__ import annotations

import asyncio
import time

import pytest

from migsim.errors import ChannelError
from migsim.testing import (
    ConnectionReset,
    DestinationDies,
    DiesAtPass,
    DiskFull,
    DoubledEvent,
    DroppedEvent,
    QmpFailed,
    SlowLink,
    SlowReply,
    WriteError,
    seeded,
)

MIB = 1 << 20


@pytest.fixture
def busy(migsim_host, tmp_path):
    """Start a machine whose RAM has content, so that migrations take their time."""

    def start(faults=(), **more):
        ram = tmp_path / f"ram{len(migsim_host.machines)}"
        ram.write_bytes(b"\x01" * (2 * MIB))
        backend = f"memory-backend-file,id=r,size=2M,mem-path={ram},share=on"
        machine = migsim_host.start(
            "-machine", "none,memory-backend=r", "-object", backend, faults=faults, **more
        )
        rows = [{"capability": "events", "state": True}]
        machine.qmp.command("migrate-set-capabilities", capabilities=rows)
        return machine

    return start


def ended(machine):
    deadline = time.monotonic() + 20
    while machine.status is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def save(machine, target="file:/dev/full"):
    machine.qmp.command("migrate", uri=target)
    return machine.qmp.wait_migration("completed", "failed")


def test_a_machine_and_a_client(migsim_machine):
    assert migsim_machine.qmp.command("query-status") == {"running": True, "status": "running"}
    assert migsim_machine.look(lambda vm: vm.machine_name) == "none"
    migsim_machine.qmp.command("quit")
    ended(migsim_machine)
    assert migsim_machine.status == 0


def test_a_pair(migsim_pair):
    assert migsim_pair.migrate() == ("completed", "completed")
    assert migsim_pair.target.qmp.command("query-status")["status"] == "running"


def test_an_hour_on_a_slow_wire(busy, tmp_path):
    machine = busy([SlowLink(bytes_per_s=2 * MIB / 3600)])
    assert save(machine, f"file:{tmp_path}/state") == "completed"
    total_ms = machine.qmp.command("query-migrate")["total-time"]
    assert 3_500_000 < total_ms < 3_800_000


@pytest.mark.parametrize(
    ("fault", "text"), [(DiskFull(), "space"), (WriteError(size_bytes=5000), "rror")]
)
def test_files_that_break(busy, tmp_path, fault, text):
    machine = busy([fault])
    assert save(machine, f"file:{tmp_path}/state") == "failed"
    assert text in machine.qmp.command("query-migrate")["error-desc"]
    assert machine.qmp.command("query-status")["status"] == "running"


def test_a_destination_that_dies(migsim_host):
    pair = migsim_host.pair("-machine", "none", "-m", "16M", faults=[DestinationDies(number=1)])
    assert pair.migrate()[0] == "failed"
    assert pair.source.qmp.command("query-status")["status"] == "running"


def test_a_source_that_dies(busy, tmp_path):
    machine = busy([DiesAtPass(number=1)])
    with pytest.raises(ChannelError):
        save(machine, f"file:{tmp_path}/state")
    ended(machine)


def names(machine):
    return [event["event"] for event in machine.qmp.events]


def test_events_lost_and_doubled(busy):
    lost, twice, sound = busy([DroppedEvent(name="STOP")]), busy([DoubledEvent()]), busy()
    for machine in (lost, twice, sound):
        machine.qmp.command("stop")
        machine.qmp.command("cont")
    assert names(sound) == ["STOP", "RESUME"]
    assert names(lost) == ["RESUME"]
    assert names(twice) == ["STOP", "STOP", "RESUME", "RESUME"]


def test_the_seed_decides(busy):
    def run(seed):
        machine = busy(seeded([DroppedEvent(probability=0.5)], seed))
        for _ in range(20):
            machine.qmp.command("stop")
            machine.qmp.command("cont")
        return names(machine)

    first, again, other = run(1), run(1), run(2)
    assert first == again
    assert first != other
    assert 5 < len(first) < 35


def test_a_reply_that_is_late(busy):
    machine = busy([SlowReply(seconds=0.05)])
    begin = time.monotonic()
    machine.qmp.command("query-status")
    assert time.monotonic() - begin >= 0.05


def test_a_client_that_is_cut_off(busy):
    machine = busy([ConnectionReset(after=2)])
    with pytest.raises(ChannelError):
        machine.qmp.command("query-status")
    machine.release()
    assert machine.qmp.command("query-status")["running"] is True


def test_errors_have_their_class(migsim_machine):
    with pytest.raises(QmpFailed) as caught:
        migsim_machine.qmp.command("qom-get", path="/nowhere", property="x")
    assert caught.value.qmp_class == "DeviceNotFound"


def test_the_asynchronous_client(migsim_machine):
    qmp = pytest.importorskip("qemu.qmp")

    async def talk():
        async with migsim_machine.connected() as client:
            events = []

            async def listen(event):
                events.append(event["event"])

            with client.listener():
                pass
            with pytest.raises(qmp.ExecuteError):
                await client.execute("no-such-command")
            await client.execute("stop")
            with client.listener(names=["RESUME"]) as listener:
                await client.execute("cont")
                async for event in listener:
                    events.append(event["event"])
                    break
            return events, await client.execute("query-status")

    events, status = asyncio.run(talk())
    assert events == ["RESUME"]
    assert status["running"] is True
