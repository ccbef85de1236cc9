"""The arithmetic of the loop, free of pages: windows, thresholds, rates, throttle."""

from __future__ import annotations

import pytest
from vms import MIB, make

from migsim.channel.memory import MemoryOutput
from migsim.guest.workloads import SequentialSweep, Uniform
from migsim.machine.timing import HostTiming
from migsim.migration.convergence import Convergence, elapsed_ms
from migsim.migration.statistics import DirtyRate, RamCounters
from migsim.migration.throttle import AutoConverge
from migsim.qapi.parameters import MigrationParameters


def closed(moved, *, seconds=0.1, limit=300, avail=0, rate=0, dirty=0) -> Convergence:
    window = Convergence(300)
    window.start(5.0, 1000)
    window.update(
        5.0 + seconds,
        1000 + moved,
        50,
        downtime_limit_ms=limit,
        switchover_bandwidth=avail,
        dirty_pages_rate=rate,
        dirty_bytes_last_sync=dirty,
    )
    return window


def test_threshold_uses_the_real_bandwidth():
    assert closed(2101266, limit=100).threshold_bytes == 2101266  # seen; not 21012 * 100
    assert closed(2101266, limit=100, seconds=0.138).threshold_bytes == 1522656
    assert closed(2101266, limit=0).threshold_bytes == 0


def test_avail_switchover_bandwidth_is_cut_to_bytes_a_millisecond():
    assert closed(5, limit=300, avail=1999).threshold_bytes == 300
    assert closed(5, limit=300, avail=999).threshold_bytes == 0


@pytest.mark.parametrize(
    ("moved", "rate", "dirty", "shown"),
    [
        (2_000_000, 10, 4_000_000, 200),
        (2_000_000, 0, 4_000_000, 300),
        (10_000, 10, 4_000_000, 300),
        (10_001, 10, 1000, 9),
    ],
)
def test_expected_downtime(moved, rate, dirty, shown):
    assert closed(moved, rate=rate, dirty=dirty).expected_downtime_ms == shown


def test_mbps_and_pages_of_a_window():
    window = closed(2_000_000, seconds=0.125)
    assert window.mbps == 8 * 2_000_000 / 0.125 / 1e6
    assert window.pages_per_second == 400
    assert (window.rate_base_bytes, window.window_start_s) == (2_001_000, 5.125)


@pytest.mark.parametrize("start", [0.0, 0.1, 0.3, 1 / 3, 1e6, 1e9])
def test_a_window_is_over_when_it_is_time_to_wake(start):
    window = Convergence(300)
    window.start(start, 0)
    assert window.window_over(window.wake_at)
    assert not window.window_over(start + 0.0985)
    assert elapsed_ms(start, start + 0.1) in (99, 100)


def params(**changes) -> MigrationParameters:
    return MigrationParameters().updated({k.replace("_", "-"): v for k, v in changes.items()})


def observed(*syncs) -> DirtyRate:
    """Run syncs of (time, new pages, transferred) with auto-converge on."""
    rate = DirtyRate()
    for now, new, sent in syncs:
        settings = MigrationParameters()
        rate.observe(now, new, new, sent, settings, counters=RamCounters(), auto_converge=True)
    return rate


def test_the_dirty_rate_needs_more_than_a_second():
    assert observed((1.0, 0, 0), (2.0, 500, 0)).pages_per_s == 0
    assert observed((1.0, 0, 0), (2.0005, 500, 0)).pages_per_s == 0
    assert observed((1.0, 0, 0), (2.001, 500, 0)).pages_per_s == 499
    assert observed((1.0, 0, 0), (1.5, 250, 0), (3.0, 750, 0)).pages_per_s == 500
    assert observed((1.0, 0, 0), (3.0, 1000, 0), (3.5, 1000, 0)).pages_per_s == 500


def test_throttle_rises_at_every_second_period_over_the_trigger():
    throttle, steps = AutoConverge(), []
    for dirty in (51, 50, 51, 51, 51, 50, 51, 51):  # of 100 bytes moved, trigger 50 %
        throttle.check(100, dirty, MigrationParameters())
        steps.append(throttle.percentage)
    # A good period does not reset the count.
    assert steps == [0, 0, 20, 20, 30, 30, 30, 40]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, [20, 30, 40, 50, 60, 70, 80, 90, 99, 99]),
        ({"max_cpu_throttle": 45}, [20, 30, 40, 45, 45, 45, 45, 45, 45, 45]),
        ({"cpu_throttle_initial": 99, "cpu_throttle_increment": 1}, [99] * 10),
        ({"cpu_throttle_initial": 1, "cpu_throttle_increment": 99}, [1] + [99] * 9),
    ],
)
def test_throttle_steps(changes, wanted):
    throttle, steps = AutoConverge(), []
    for _ in range(20):
        throttle.check(100, 1000, params(**changes))
        steps.append(throttle.percentage)
    assert steps[1::2] == wanted


def test_tailslow_makes_the_last_steps_smaller():
    throttle = AutoConverge(percentage=80)
    for _ in range(2):
        throttle.check(1000, 550, params(cpu_throttle_tailslow=True))
    # 20 % are left of which 500/550 would do: 18, so 2 more rather than 10.
    assert throttle.percentage == 82


def test_the_five_second_timer():
    throttle = AutoConverge()
    throttle.start_timer(10.0, 0)
    assert not throttle.sync_due(14.9, 2)
    assert not throttle.sync_due(15.0, 2)  # the count has changed since the timer was armed
    assert throttle.sync_due(20.0, 2)
    assert not throttle.sync_due(20.1, 3)
    assert throttle.sync_due(25.0, 3)
    throttle.stop()
    assert not throttle.sync_due(99.0, 3)
    first_pass = AutoConverge()
    first_pass.start_timer(0.0, 1)
    assert not first_pass.sync_due(5.0, 1)


def busy(**config):
    """Return a machine that dirties 40 MiB/s while 20 MiB/s leave it."""
    work = SequentialSweep(0, 8191, rate_pages_per_s=10240.0)
    vm = make(64 * MIB, workload=work, timing=HostTiming(sync_page_s=0.0), **config)
    vm.ram["ram0"].view()[:] = 1
    vm.set_parameters({"max-bandwidth": 20 * MIB})
    return vm


def test_auto_converge_slows_the_guest_until_it_fits():
    vm = busy()
    vm.set_capabilities([("auto-converge", True)])
    vm.migrate(MemoryOutput())
    shown = []
    while vm.source.running and vm.clock.now < 120:
        vm.advance(0.25)
        if not vm.source.running:
            break
        percent = vm.query_migrate().get("cpu-throttle-percentage", 0)
        if not shown or shown[-1] != percent:
            shown.append(percent)
    assert vm.query_migrate()["status"] == "completed"
    assert shown == [0, *range(20, shown[-1] + 1, 10)]
    assert 50 <= shown[-1] <= 90
    assert vm.source.throttle_percentage == 0
    assert "cpu-throttle-percentage" not in vm.query_migrate()


def test_without_auto_converge_it_never_ends():
    vm = busy()
    vm.migrate(MemoryOutput())
    vm.advance(30.0)
    assert vm.source.status.value == "active"
    assert vm.source.throttle_percentage == 0
    rate = vm.query_migrate()["ram"]["dirty-pages-rate"]
    # The guest cannot dirty more pages than it has; QEMU counts each once a pass.
    assert 2000 < rate <= 10240
    assert vm.query_migrate()["expected-downtime"] > 300


def test_a_throttled_guest_gets_its_share():
    vm = busy()
    vm.set_capabilities([("auto-converge", True)])
    vm.set_parameters({"cpu-throttle-initial": 75, "cpu-throttle-increment": 1})
    vm.migrate(MemoryOutput())
    while vm.source.throttle_percentage != 75:
        vm.advance(0.01)
    before = vm.guest.writes
    vm.advance(0.5)
    assert vm.source.throttle_percentage == 75
    assert vm.guest.writes - before == pytest.approx(10240 * 0.25 * 0.5, abs=1)
    vm.migrate_cancel()
    vm.run_until(lambda: not vm.source.running)
    before = vm.guest.writes
    vm.advance(0.5)
    assert vm.guest.writes - before == 5120


def test_a_raised_downtime_limit_takes_effect_in_one_window():
    vm = busy()
    vm.set_parameters({"downtime-limit": 10})
    vm.migrate(MemoryOutput())
    vm.advance(10.0)
    assert vm.source.running
    vm.set_parameters({"downtime-limit": 3000})
    vm.advance(0.3)
    assert vm.run.state == "postmigrate"


def test_a_short_migration_never_syncs_in_between():
    work = Uniform(0, 255, rate_pages_per_s=50_000.0, seed=1)
    vm = make(MIB, workload=work)
    vm.ram["ram0"].view()[:] = 1
    info = vm.save(MemoryOutput())
    assert info["total-time"] < 100
    assert info["ram"]["dirty-sync-count"] == 2
    assert info["ram"]["downtime-bytes"] > 0


def test_writes_before_the_scan_reaches_a_chunk_are_not_found_again():
    """A page of the second GiB, written while the first is sent, goes out once."""
    from migsim.channel.counting import CountingOutput
    from migsim.ram.backends import BackendKind, BackendSpec

    first, pages = 1 << 18, 1000
    work = SequentialSweep(first, first + pages - 1, rate_pages_per_s=10_000.0)
    vm = make(memory=BackendSpec(BackendKind.PHANTOM, "ram0", 2 << 30), workload=work)
    vm.ram["ram0"].backend.nonzero.set_all()
    vm.set_parameters({"max-bandwidth": 1 << 30, "downtime-limit": 1})
    vm.migrate(CountingOutput())
    vm.advance(0.3)
    vm.stop()  # all 1000 pages are written, and the scan is far before them
    assert vm.query_migrate()["ram"]["remaining"] > 1 << 30
    vm.run_until(lambda: not vm.source.running)
    assert vm.query_migrate()["ram"]["normal"] == 2 << 18
