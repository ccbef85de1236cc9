"""The walk-through of the October 2023 posting: save, quit, start again, load; in QMP and HMP."""

from __future__ import annotations

import re

import pytest
from vms import MIB, fill, make, short, wait, waiting

from migsim.channel.memory import MemoryOutput
from migsim.guest.workloads import Uniform

SIZE = 16 * MIB
RAM_MEMBERS = {
    "transferred", "remaining", "total", "duplicate", "normal", "normal-bytes",
    "dirty-pages-rate", "mbps", "dirty-sync-count", "postcopy-requests", "page-size",
    "multifd-bytes", "pages-per-second", "precopy-bytes", "downtime-bytes", "postcopy-bytes",
    "dirty-sync-missed-zero-copy",
}  # fmt: skip
GLOBALS = [
    "globals:",
    "store-global-state: on",
    "only-migratable: off",
    "send-configuration: on",
    "send-section-footer: on",
    "send-switchover-start: on",
    "clear-bitmap-shift: 18",
]


@pytest.fixture(params=[False, True], ids=["copied", "in-place"])
def in_place(request) -> bool:
    return request.param


def machines(tmp_path, in_place):
    """Return source and a function that starts the target, with one workload and shared files."""
    work = {"workload": Uniform(16, 500, rate_pages_per_s=1000.0, seed=1)}
    source = make(SIZE, tmp_path / "ram0", events=False, **work)
    fill(source, 16)
    source.advance(0.5)
    target_ram = tmp_path / ("ram0" if in_place else "ram1")
    return source, lambda: waiting(SIZE, target_ram, events=False, **work)


def qmp(vm, command, **arguments):
    reply = vm.qmp(command, **arguments)
    assert "error" not in reply, reply
    return reply["return"]


def hmp_lines(vm, line):
    text = vm.hmp(line)
    assert text == "" or text.endswith("\r\n")
    return text.split("\r\n")[:-1]


def prepare_qmp(vm, in_place):
    if in_place:
        entry = {"capability": "x-ignore-shared", "state": True}
        assert qmp(vm, "migrate-set-capabilities", capabilities=[entry]) == {}
    assert vm.qmp("migrate-set-parameters", {"mode": "cpr-reboot"}) == {"return": {}}


def prepare_hmp(vm, in_place):
    if in_place:
        assert vm.hmp("migrate_set_capability x-ignore-shared on") == ""
    assert vm.hmp("migrate_set_parameter mode cpr-reboot") == ""


def test_walkthrough_in_qmp_form(tmp_path, in_place):
    source, start_target = machines(tmp_path, in_place)
    uri = f"file:{tmp_path}/vm.state"
    assert qmp(source, "query-status") == {"running": True, "status": "running"}
    assert qmp(source, "query-migrate") == {}
    prepare_qmp(source, in_place)
    assert qmp(source, "migrate", uri=uri) == {}
    assert qmp(source, "query-status") == {"running": False, "status": "finish-migrate"}
    assert qmp(source, "query-migrate") == {"status": "setup"}
    wait(source, "completed")
    assert qmp(source, "query-status") == {"running": False, "status": "postmigrate"}

    info = qmp(source, "query-migrate")
    assert set(info) == {"status", "total-time", "setup-time", "downtime", "ram"}
    ram = info["ram"]
    assert set(ram) == RAM_MEMBERS
    file_bytes = (tmp_path / "vm.state").stat().st_size
    assert ram["transferred"] == file_bytes
    assert (ram["remaining"], ram["dirty-pages-rate"], ram["page-size"]) == (0, 0, 4096)
    assert ram["precopy-bytes"] == 0
    if in_place:
        assert (ram["total"], ram["normal"], ram["duplicate"]) == (0, 0, 0)
        assert file_bytes < 2000
    else:
        touched = 16 + len(set(source.guest.workload.take(0)))
        assert ram["total"] == SIZE
        assert ram["normal"] + ram["duplicate"] == SIZE // 4096
        assert ram["normal"] > touched
        assert ram["normal-bytes"] == ram["normal"] * 4096

    before, writes = source.ram_sha256(), source.guest.writes
    assert qmp(source, "quit") == {}
    assert source.exited is not None
    assert source.exited.status == 0

    target = start_target()
    assert qmp(target, "query-status") == {"running": False, "status": "inmigrate"}
    prepare_qmp(target, in_place)
    assert qmp(target, "migrate-incoming", uri=uri) == {}
    wait(target, "completed")
    assert qmp(target, "query-status") == {"running": True, "status": "running"}
    assert qmp(target, "query-migrate") == {"status": "completed"}
    assert target.ram_sha256() == before
    assert target.guest.writes == writes
    target.advance(0.1)
    assert target.guest.writes == writes + 100


def test_walkthrough_in_hmp_form(tmp_path, in_place):
    source, start_target = machines(tmp_path, in_place)
    uri = f"file:{tmp_path}/vm.state"
    assert hmp_lines(source, "info status") == ["VM status: running"]
    assert hmp_lines(source, "info migrate") == GLOBALS
    prepare_hmp(source, in_place)
    assert source.hmp(f"migrate -d {uri}") == ""
    assert hmp_lines(source, "info status") == ["VM status: paused (finish-migrate)"]
    wait(source, "completed")
    assert hmp_lines(source, "info status") == ["VM status: paused (postmigrate)"]

    lines = hmp_lines(source, "info migrate")
    info = source.query_migrate()
    ram = info["ram"]
    ends = [
        "Migration status: completed",
        f"total time: {info['total-time']} ms",
        f"downtime: {info['downtime']} ms",
        f"setup: {info['setup-time']} ms",
        f"transferred ram: {ram['transferred'] // 1024} kbytes",
        f"throughput: {ram['mbps']:.2f} mbps",
        "remaining ram: 0 kbytes",
        f"total ram: {0 if in_place else SIZE // 1024} kbytes",
        f"duplicate: {ram['duplicate']} pages",
        f"normal: {ram['normal']} pages",
        f"normal bytes: {ram['normal'] * 4} kbytes",
        "dirty sync count: 2",
        "page size: 4 kbytes",
        "multifd bytes: 0 kbytes",
        "pages-per-second: 0",
    ]
    if ram["downtime-bytes"]:
        ends.append(f"downtime ram: {ram['downtime-bytes'] // 1024} kbytes")
    assert lines == GLOBALS + ends

    before = source.ram_sha256()
    assert source.hmp("quit") == ""
    target = start_target()
    assert hmp_lines(target, "info status") == ["VM status: paused (inmigrate)"]
    prepare_hmp(target, in_place)
    assert target.hmp(f"migrate_incoming {uri}") == ""
    wait(target, "completed")
    assert hmp_lines(target, "info status") == ["VM status: running"]
    target_lines = [*GLOBALS, "Migration status: completed", "total time: 0 ms"]
    assert hmp_lines(target, "info migrate") == target_lines
    assert target.ram_sha256() == before


def test_hmp_migrate_without_detach_returns_when_it_is_over(tmp_path, in_place):
    source, _ = machines(tmp_path, in_place)
    prepare_hmp(source, in_place)
    assert source.hmp(f"migrate file:{tmp_path}/vm.state") == ""
    assert hmp_lines(source, "info status") == ["VM status: paused (postmigrate)"]


def test_info_migrate_while_active(tmp_path):
    source = make(SIZE, tmp_path / "ram0")
    fill(source, 256)
    source.set_parameters({"max-bandwidth": 65536})
    source.migrate(f"file:{tmp_path}/vm.state")
    source.advance(0.35)
    # As a real QEMU prints it; it has sent 128 pages by then, too.
    assert hmp_lines(source, "info migrate")[len(GLOBALS) :] == [
        "Migration status: active",
        "total time: 350 ms",
        "expected downtime: 300 ms",
        "setup: 0 ms",
        "transferred ram: 513 kbytes",
        "throughput: 10.51 mbps",
        "remaining ram: 15872 kbytes",
        "total ram: 16384 kbytes",
        "duplicate: 0 pages",
        "normal: 128 pages",
        "normal bytes: 512 kbytes",
        "dirty sync count: 1",
        "page size: 4 kbytes",
        "multifd bytes: 0 kbytes",
        "pages-per-second: 320",
        "precopy ram: 513 kbytes",
    ]


def test_info_migrate_after_cancel_and_failure(tmp_path):
    source = make(SIZE, tmp_path / "ram0")
    fill(source, 256)
    source.set_parameters({"max-bandwidth": 65536})
    source.migrate(f"file:{tmp_path}/vm.state")
    source.advance(0.2)
    assert source.hmp("migrate_cancel") == ""
    wait(source, "cancelled")
    ends = ["Migration status: cancelled", "total time: 0 ms"]
    assert hmp_lines(source, "info migrate") == GLOBALS + ends
    text = source.hmp(f"migrate -d file:{tmp_path}/missing/vm.state")
    assert text.startswith("Error: ")
    status, total = hmp_lines(source, "info migrate")[len(GLOBALS) :]
    assert re.fullmatch(r"Migration status: failed \(.+\)", status)
    assert total == "total time: 0 ms"


def test_the_group_of_xbzrle_appears_with_its_capability():
    source = make(MIB)
    source.save(MemoryOutput())
    assert "xbzrle-cache" not in source.query_migrate()
    source.set_capabilities([("xbzrle", True)])
    cache = source.query_migrate()["xbzrle-cache"]
    members = {"cache-size", "bytes", "pages", "cache-miss", "cache-miss-rate", "encoding-rate"}
    assert set(cache) == members | {"overflow"}
    assert cache["cache-size"] == 64 * MIB
    assert hmp_lines(source, "info migrate")[-7:] == [
        "cache size: 67108864 bytes",
        "xbzrle transferred: 0 kbytes",
        "xbzrle pages: 0 pages",
        "xbzrle cache miss: 0 pages",
        "xbzrle cache miss rate: 0.00",
        "xbzrle encoding rate: 0.00",
        "xbzrle overflow: 0",
    ]


def test_release_8_2_does_not_know_switchover_start(tmp_path):
    from vms import V8_2

    source = make(MIB, release=V8_2)
    shown = [line for line in GLOBALS if "switchover" not in line]
    assert hmp_lines(source, "info migrate") == shown


def test_events_of_the_walkthrough(tmp_path, in_place):
    source, start_target = machines(tmp_path, in_place)
    source.set_capabilities([("events", True)])
    prepare_qmp(source, in_place)
    source.save(f"file:{tmp_path}/vm.state")
    middle = ["STOP", "P 1", "M active", "M device", "P 2"]
    assert short(source) == ["M setup", *middle, "M completed"]
    source.quit()
    assert short(source)[-1] == "SHUTDOWN"
    target = start_target()
    target.set_capabilities([("events", True)])
    prepare_qmp(target, in_place)
    target.load(f"file:{tmp_path}/vm.state")
    assert short(target) == ["M setup", "M active", "RESUME", "M completed"]
    assert [message["event"] for message in target.qmp_events()][2] == "RESUME"
