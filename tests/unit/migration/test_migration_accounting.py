"""Every byte and page in its place: recorded streams byte for byte, exact windows and counters."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from vms import MIB, PAGE, fill, fill_by_page_number, finish, make, put_into, ram, wait

from migsim.channel.counting import CountingOutput
from migsim.channel.memory import MemoryOutput
from migsim.guest.workloads import SequentialSweep
from migsim.machine.timing import HostTiming
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.ram.block import RAMBlock

STREAMS = Path(__file__).parents[2] / "data" / "streams"
TIMER_BYTES = 24
"""Ticks, eight unused bytes, clock."""
KNOWN = HostTiming(setup_s=0.0, stop_s=0.0, device_s=0.0, cleanup_s=0.0)


def recorded(name: str) -> bytes:
    with lzma.open(STREAMS / f"{name}.bin.xz") as file:
        return file.read()


def without_timer(stream: bytes) -> bytes:
    """Blank the values of the timer section, the only ones that depend on the time of day."""
    start = stream.index(b"\x05timer") + len(b"\x05timer") + 8
    assert stream[start + TIMER_BYTES] == 0x7E  # the footer
    return stream[:start] + bytes(TIMER_BYTES) + stream[start + TIMER_BYTES :]


def file_machine(tmp_path, **config):
    return make(MIB, tmp_path / "ram0", events=False, **config)


SAMPLES = {
    "none-1m": {},
    "none-1m-ignore-shared": {"capability": "x-ignore-shared"},
    "none-noram": {"memory": None},
    "none-4m-default-ram": {"memory": ram(4 * MIB), "ram_name": "ram", "start_stopped": True},
    "none-1m-ignore-shared-memfd": {
        "memory": BackendSpec(BackendKind.MEMFD, "ram0", MIB, share=True),
        "capability": "x-ignore-shared",
    },
}


@pytest.mark.parametrize("name", SAMPLES)
def test_recorded_streams_byte_for_byte(name, tmp_path):
    config = dict(SAMPLES[name])
    capability = config.pop("capability", None)
    vm = make(events=False, **config) if config else file_machine(tmp_path)
    if "1m" in name and "memfd" not in name:
        fill_by_page_number(vm)
    if capability:
        vm.set_capabilities([(capability, True)])
    out, wanted = MemoryOutput(), recorded(name)
    info = vm.save(out)
    assert without_timer(out.getvalue()) == without_timer(wanted)
    assert info["ram"]["transferred"] == len(wanted)
    if name == "none-1m":
        counters = {"normal": 223, "duplicate": 33, "precopy-bytes": 915502, "downtime-bytes": 0}
        assert {key: info["ram"][key] for key in counters} == counters
        assert info["ram"]["dirty-sync-count"] == 2


def test_offset_is_in_front_and_not_counted(tmp_path):
    vm = file_machine(tmp_path)
    fill_by_page_number(vm)
    path = tmp_path / "state"
    path.write_bytes(b"\xa5" * 4096 + b"tail" * 500_000)
    info = vm.save(f"file:{path},offset=0x1000")
    raw, wanted = path.read_bytes(), recorded("none-1m-offset")
    assert raw[:4096] == wanted[:4096]
    assert without_timer(raw[4096:]) == without_timer(wanted[4096:])
    assert info["ram"]["transferred"] == len(raw) - 4096


def windows(vm, seconds: float) -> list[tuple[float, int, int]]:
    """Return when ``transferred`` changed, what it was then, and the zero pages so far."""
    seen = [(0.0, 0, 0)]
    for _ in range(round(seconds * 1000)):
        vm.advance(0.001)
        ram = vm.query_migrate().get("ram")
        if ram and ram["transferred"] != seen[-1][1]:
            seen.append((round(vm.clock.now, 3), ram["transferred"], ram["duplicate"]))
    return seen[1:]


def test_windows_of_normal_pages():
    # 16 flushes of 131328 bytes and 18 of framing; the first has header and block list as well.
    vm = make(64 * MIB)
    vm.ram["ram0"].view()[:] = 1
    vm.set_parameters({"max-bandwidth": 20 * MIB})
    vm.migrate(MemoryOutput())
    wanted = [(0.001, 2101334), (0.101, 2101334 + 2101266), (0.201, 2101334 + 2 * 2101266)]
    assert [(t, n) for t, n, _ in windows(vm, 0.25)] == wanted
    ram_info = vm.query_migrate()["ram"]
    assert ram_info["normal"] == 3 * 512
    assert ram_info["mbps"] == 8 * 2101266 / 0.1 / 1e6
    assert ram_info["pages-per-second"] == 5120
    assert ram_info["precopy-bytes"] == 3 * (512 * (PAGE + 8) + 8) + 5  # the block's name once
    assert ram_info["remaining"] == 64 * MIB - 3 * 512 * PAGE


def test_windows_of_zero_pages():
    # One buffer of 32768 bytes a window: 3640 records of 9 bytes.
    vm = make(64 * MIB)
    vm.set_parameters({"max-bandwidth": 20000})
    vm.migrate(MemoryOutput())
    assert [zero for _, _, zero in windows(vm, 0.35)] == [3640, 7280, 10920, 14560]


def test_a_window_is_used_up_by_more_than_its_budget_not_by_all_of_it():
    flush, framing = 131328, 10  # footer and header of a part go out with the first flush
    for flushes, budget in ((1, flush + framing - 1), (2, flush + framing), (3, 2 * flush + 10)):
        vm = make(64 * MIB)
        vm.ram["ram0"].view()[:] = 1
        vm.set_parameters({"max-bandwidth": 10 * budget})
        vm.migrate(MemoryOutput())
        seen = windows(vm, 0.15)
        assert seen[1][1] - seen[0][1] - 18 == flushes * flush


@pytest.mark.parametrize(("rate", "limited"), [(0, False), (1, False), (9, False), (10, True)])
def test_less_than_ten_bytes_a_second_are_no_limit(rate, limited):
    vm = make(MIB)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": rate})
    vm.migrate(MemoryOutput())
    vm.advance(0.25)
    assert (vm.source.status.value == "active") is limited


def test_the_rate_limit_does_not_hold_at_switchover():
    vm = make(MIB)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": MIB, "avail-switchover-bandwidth": 1 << 40})
    info = vm.save(MemoryOutput())
    # 105 KB in the first window; then everything is below the threshold and goes out at once.
    assert info["total-time"] < 110
    assert info["ram"]["downtime-bytes"] > 900_000
    assert info["ram"]["dirty-sync-count"] == 3


@pytest.mark.parametrize("state", ["running", "paused", "suspended", "prelaunch"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_bytes_are_booked_by_the_run_state(mode, state):
    vm = make(start_stopped=state == "prelaunch")
    put_into(vm, state)
    fill_by_page_number(vm)
    vm.set_parameters({"mode": mode})
    ram_info = vm.save(MemoryOutput())["ram"]
    book = "precopy-bytes" if (mode, state) == ("normal", "running") else "downtime-bytes"
    other = {"precopy-bytes": "downtime-bytes", "downtime-bytes": "precopy-bytes"}[book]
    assert (ram_info[book], ram_info[other], ram_info["postcopy-bytes"]) == (915502, 0, 0)


def test_bytes_of_records():
    """Two blocks: a name costs 1 + its length, a zero page 9 bytes, a normal one 4104."""
    small = RAMBlock("a.name", ram(8 * PAGE, name="small").create())
    vm = make(16 * PAGE, extra_blocks=(small,))
    fill(vm, 3, first=4)
    fill(vm, 2, name="a.name")
    ram_info = vm.save(MemoryOutput())["ram"]
    names = (1 + len("ram0")) + (1 + len("a.name"))
    eos = 8
    wanted = 19 * 9 + 5 * 4104 + names + eos
    assert (ram_info["normal"], ram_info["duplicate"]) == (5, 19)
    assert ram_info["precopy-bytes"] == wanted
    assert ram_info["total"] == 24 * PAGE


def test_without_zero_page_detection_every_page_is_normal():
    vm = make()
    vm.set_parameters({"zero-page-detection": "none"})
    ram_info = vm.save(MemoryOutput())["ram"]
    assert (ram_info["normal"], ram_info["duplicate"]) == (256, 0)


def test_pages_accumulate_over_passes():
    work = SequentialSweep(0, 4095, rate_pages_per_s=2000.0)
    vm = make(16 * MIB, workload=work)
    vm.ram["ram0"].view()[:] = 1
    vm.set_parameters({"max-bandwidth": 20 * MIB, "downtime-limit": 100})
    out = MemoryOutput()
    ram_info = vm.save(out)["ram"]
    assert ram_info["normal"] > 4096
    assert ram_info["transferred"] == len(out.getvalue())
    assert ram_info["normal-bytes"] == ram_info["normal"] * PAGE
    framing = len(out.getvalue()) - ram_info["precopy-bytes"] - ram_info["downtime-bytes"]
    assert 0 < framing < 3000


def test_query_members_by_status():
    times = {"status", "total-time", "setup-time", "expected-downtime", "ram"}
    vm = make(MIB)
    fill(vm, 256)
    vm.set_capabilities([("pause-before-switchover", True)])
    vm.set_parameters({"max-bandwidth": 2 * MIB})
    assert vm.query_migrate() == {}
    vm.migrate(MemoryOutput())
    assert set(vm.query_migrate()) == {"status"}
    wait(vm, "active")
    assert set(vm.query_migrate()) == times
    wait(vm, "pre-switchover")
    assert set(vm.query_migrate()) == times
    vm.migrate_continue(vm.source.status.value)
    assert vm.query_migrate()["status"] == "device"
    assert set(vm.query_migrate()) == times
    wait(vm, "completed")
    assert set(vm.query_migrate()) == {"status", "total-time", "setup-time", "downtime", "ram"}
    vm.cont()
    vm.migrate(MemoryOutput())
    assert set(vm.query_migrate()) == {"status"}  # nothing of the last one is left
    vm.advance(0.1)
    vm.migrate_cancel()
    assert set(vm.query_migrate()) == times
    finish(vm)
    assert vm.query_migrate() == {"status": "cancelled"}


def test_release_11_1_reports_what_remains_for_the_whole_machine():
    from vms import V11_1

    vm = make(MIB, release=V11_1)
    fill(vm, 256)
    vm.set_parameters({"max-bandwidth": MIB})
    vm.migrate(MemoryOutput())
    wait(vm, "active")
    info = vm.query_migrate()
    assert info["remaining"] == info["ram"]["remaining"] > 0
    vm.set_parameters({"max-bandwidth": 0})
    wait(vm, "completed")
    assert "remaining" not in vm.query_migrate()


def test_times():
    timing = HostTiming(
        normal_page_s=1e-5, zero_page_s=0.0, sync_page_s=0.0, setup_s=0.010, stop_s=0.020,
        device_s=0.030, cleanup_s=0.5,
    )  # fmt: skip
    vm = make(MIB, timing=timing)
    fill(vm, 200)
    vm.advance(1.0)
    info = vm.save(MemoryOutput())
    assert info["setup-time"] == 10
    assert info["downtime"] == 50
    assert info["total-time"] == 62
    out = info["ram"]["transferred"]
    assert info["ram"]["mbps"] == 8 * out / (62 - 10) / 1000


def test_downtime_includes_the_wait_in_pre_switchover():
    vm = make(MIB)
    vm.set_capabilities([("pause-before-switchover", True)])
    vm.migrate(MemoryOutput())
    wait(vm, "pre-switchover")
    vm.advance(7.0)
    vm.migrate_continue(vm.source.status.value)
    finish(vm)
    assert 7000 <= vm.query_migrate()["downtime"] < 7010


def test_in_place_does_not_depend_on_the_size(tmp_path):
    sizes, times = set(), set()
    for number, size in enumerate((MIB, 1 << 40)):
        vm = make(size, tmp_path / f"ram{number}")
        vm.set_parameters({"mode": "cpr-reboot"})
        vm.set_capabilities([("x-ignore-shared", True)])
        info = vm.save(MemoryOutput())
        sizes.add(info["ram"]["transferred"])
        times.add(info["total-time"])
    assert len(sizes) == 1
    assert max(times) - min(times) <= 1


def test_phantom_ram_is_counted_as_if_it_had_bytes():
    real, phantom = make(MIB), make(memory=BackendSpec(BackendKind.PHANTOM, "ram0", MIB))
    fill_by_page_number(real)
    for pfn in range(1, 256):
        if pfn % 8 != 5:
            phantom.ram["ram0"].backend.nonzero.set_range(pfn, pfn + 1)
    counting = CountingOutput()
    assert phantom.save(counting) == real.save(MemoryOutput())
    assert counting.position == 916614
