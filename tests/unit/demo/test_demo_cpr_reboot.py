"""The walk-through as values: the timeline, the saves, the checks, and RAM of every kind."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from migsim.channel.file import FileInput
from migsim.demo import LineKind, Scenario, Voice, walk_cpr_reboot
from migsim.demo.scenario import command_line, size_option
from migsim.errors import ConfigError, MigsimError, ParameterError
from migsim.host import SURVIVES, Fate, HostEvent, RamKind
from migsim.machine.config import MachineConfig
from migsim.qapi.enums import MigMode, MigrationStatus, RunState
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.stream import check_stream
from migsim.vm import VM

MIB = 1 << 20
IN_PLACE = (RamKind.TMPFS_PKRAM, RamKind.DAX, RamKind.DISK, RamKind.MEMFD_LUO)
COPIED = (RamKind.ANONYMOUS, RamKind.MEMFD)


def small(**changes) -> Scenario:
    return Scenario(**({"ram_bytes": 4 * MIB, "rate_pages_per_s": 2000.0} | changes))


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    root = tmp_path_factory.mktemp("host")
    return root, walk_cpr_reboot(root, small())


def test_states_come_in_the_order_of_the_live_update(walked):
    _, walk = walked
    assert walk.states == (
        "running",
        "paused (postmigrate)",
        "[reboot]",
        "paused (inmigrate)",
        "running",
    )
    assert walk.ok


def test_both_windows_type_what_the_first_posting_typed(walked):
    _, walk = walked
    typed = {
        voice: [
            line.text
            for line in walk.lines
            if line.voice is voice and line.kind is LineKind.COMMAND
        ]
        for voice in Voice
    }
    settings = [
        "migrate_set_capability x-ignore-shared on",
        "migrate_set_parameter mode cpr-reboot",
    ]
    assert typed[Voice.WINDOW_1] == [
        "info status",
        *settings,
        "migrate -d file:/disk/vm.state",
        "info status",
        "quit",
    ]
    assert typed[Voice.WINDOW_2] == [
        "info status",
        *settings,
        "migrate_incoming file:/disk/vm.state",
        "info status",
    ]


def test_the_second_command_line_is_the_first_and_incoming(walked):
    _, walk = walked
    shell = {
        voice: [line.text for line in walk.lines if (line.voice, line.kind) == (voice, "shell")]
        for voice in (Voice.WINDOW_1, Voice.WINDOW_2)
    }
    assert shell[Voice.WINDOW_2] == [*shell[Voice.WINDOW_1], "-incoming defer"]


def test_time_only_goes_forward_and_spans_close_up(walked):
    _, walk = walked
    times = [line.time_s for line in walk.lines]
    assert times == sorted(times)
    for before, after in pairwise(walk.spans):
        assert before.start_s <= before.end_s <= after.start_s
        if before.voice is after.voice:
            assert before.end_s == after.start_s
    assert [span.state for span in walk.spans] == [
        RunState.RUNNING,
        RunState.FINISH_MIGRATE,
        RunState.POSTMIGRATE,
        RunState.INMIGRATE,
        RunState.RUNNING,
    ]
    begin_s, end_s = walk.reboot_s
    assert end_s - begin_s == pytest.approx(walk.scenario.reboot_s)
    assert walk.spans[2].end_s <= begin_s
    assert end_s <= walk.spans[3].start_s


def test_no_path_of_this_machine_is_in_the_result(walked):
    root, walk = walked
    assert str(root) not in json.dumps(walk.to_dict())


def test_what_lay_in_plain_tmpfs_is_lost_and_told(walked):
    _, walk = walked
    assert len(walk.losses) == 1
    assert "/shm/window-1.log" in walk.losses[0]
    lost = [line.text for line in walk.lines if line.kind is LineKind.LOST]
    assert len(lost) == 1
    assert lost[0].startswith("/shm/window-1.log (tmpfs, ")


def test_saves_agree_with_their_files(walked):
    root, walk = walked
    in_place, normal, copied = walk.saves
    assert (in_place.mode, in_place.in_place) == (MigMode.CPR_REBOOT, True)
    assert (normal.mode, normal.in_place) == (MigMode.NORMAL, False)
    assert (copied.mode, copied.in_place) == (MigMode.CPR_REBOOT, False)
    assert walk.side_by_side == (normal, copied, in_place)
    for save, name in ((in_place, "vm"), (normal, "normal"), (copied, "cpr-reboot")):
        path = root / "disk" / f"{name}.state"
        summary = check_stream(FileInput(path))
        assert summary.machine == "none"
        assert path.stat().st_size == save.file_bytes
        assert sum(summary.normal_pages.values()) == save.normal_pages
        assert sum(summary.zero_pages.values()) == save.zero_pages
        assert save.equal
        assert save.status is MigrationStatus.COMPLETED


def test_normal_runs_on_while_it_copies_and_cpr_does_not(walked):
    _, walk = walked
    in_place, normal, copied = walk.saves
    assert normal.stopped_at_s > 0
    assert normal.stop_s < normal.total_s
    for save in (in_place, copied):
        assert save.stopped_at_s == 0
        assert save.stop_s == save.total_s
    # Every byte of the stopped guest is sent once; a running guest makes some go twice.
    pages = walk.scenario.ram_bytes // 4096
    assert copied.normal_pages + copied.zero_pages == pages
    assert normal.normal_pages + normal.zero_pages > pages
    assert in_place.normal_pages + in_place.zero_pages == 0
    assert in_place.away_s(6.0) == in_place.stop_s + in_place.load_s + 6.0
    assert normal.away_s(6.0) == normal.stop_s + normal.load_s


def test_samples_fall_to_nothing_and_rise_only_by_a_sync(walked):
    _, walk = walked
    for save in walk.saves[1:]:
        assert save.samples[0].due_bytes == walk.scenario.ram_bytes
        assert save.samples[-1].remaining_bytes == 0
        times = [sample.time_s for sample in save.samples]
        assert times == sorted(times)
        assert times[-1] <= save.total_s
        for before, after in pairwise(save.samples):
            assert after.due_bytes >= before.remaining_bytes
            assert after.remaining_bytes <= after.due_bytes
    copied = walk.saves[2].samples
    assert all(after.due_bytes == before.remaining_bytes for before, after in pairwise(copied))


def test_blockers_are_those_of_the_catalogue(walked):
    _, walk = walked
    normal, reboot = (set(walk.blocking[mode]) for mode in (MigMode.NORMAL, MigMode.CPR_REBOOT))
    assert reboot < normal
    assert "vmdk" in normal - reboot
    assert "vfio" in normal - reboot
    assert all(save.blocked_reasons == () for save in walk.saves)


@pytest.mark.parametrize("kind", IN_PLACE)
def test_ram_that_survives_a_kexec_stays_in_place(kind, tmp_path):
    assert SURVIVES[kind, HostEvent.KEXEC] is Fate.KEPT
    walk = walk_cpr_reboot(tmp_path, small(ram_kind=kind))
    assert walk.ok
    assert walk.saved.in_place
    assert walk.saved.file_bytes < 4096
    kept = [line.text for line in walk.lines if line.kind is LineKind.KEPT]
    assert any(f"({kind}, 4 MiB)" in text for text in kept)


@pytest.mark.parametrize("kind", COPIED)
def test_ram_without_a_name_is_copied_and_comes_through(kind, tmp_path):
    walk = walk_cpr_reboot(tmp_path, small(ram_kind=kind))
    assert walk.ok
    assert not walk.saved.in_place
    assert walk.saved.normal_pages > 0
    assert [save.label for save in walk.saves] == ["cpr-reboot, copied", "normal, copied"]
    assert any("ram0" in loss for loss in walk.losses)


def test_ram_in_plain_tmpfs_is_lost_while_the_devices_come_through(tmp_path):
    assert SURVIVES[RamKind.TMPFS, HostEvent.KEXEC] is Fate.LOST
    walk = walk_cpr_reboot(tmp_path, small(ram_kind=RamKind.TMPFS))
    assert not walk.ok
    assert walk.states[-1] == "running"
    assert "/shm/ram0" in walk.losses[0]
    passed = {check.what: check.passed for check in walk.checks}
    assert passed == {
        "RAM (SHA-256)": False,
        "last number in RAM": False,
        "guest clock (timer)": True,
        "run state (globalstate)": True,
        "a guest that was never stopped": False,
    }
    assert walk.saved.equal is False


def test_a_guest_that_writes_too_fast_never_ends_in_normal_mode(tmp_path):
    scenario = Scenario(ram_bytes=128 * MIB, rate_pages_per_s=200_000.0, limit_s=1.5)
    walk = walk_cpr_reboot(tmp_path, scenario)
    in_place, normal, copied = walk.saves
    assert walk.ok
    assert normal.status is MigrationStatus.CANCELLED
    assert (normal.stop_s, normal.load_s, normal.equal) == (None, None, None)
    assert normal.away_s(6.0) is None
    assert normal.total_s == pytest.approx(1.5, abs=0.2)
    assert in_place.completed
    assert copied.completed


def test_an_idle_guest_is_walked_through(tmp_path):
    walk = walk_cpr_reboot(tmp_path, small(rate_pages_per_s=0.0))
    assert walk.ok
    assert walk.saves[1].normal_pages == 0


def test_in_place_costs_the_same_for_any_amount_of_ram(tmp_path):
    sizes = [walk_cpr_reboot(tmp_path / str(n), small(ram_bytes=n * MIB)).saved for n in (1, 64)]
    assert sizes[0].file_bytes == sizes[1].file_bytes
    assert sizes[1].total_s == pytest.approx(sizes[0].total_s, rel=0.1)


def test_a_host_is_not_built_over_somebody_elses_files(tmp_path):
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "mine").write_text("precious")
    with pytest.raises(ConfigError):
        walk_cpr_reboot(tmp_path, small())
    assert (tmp_path / "shm" / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "changes",
    [
        {"ram_bytes": MIB - 4096},
        {"ram_bytes": MIB + 1},
        {"ram_bytes": (4 << 30) + 4096},
        {"rate_pages_per_s": -1.0},
        {"rate_pages_per_s": float("nan")},
        {"seed": -1},
        {"boot_s": 0.0},
        {"limit_s": float("inf")},
    ],
)
def test_a_scenario_out_of_range_is_refused(changes):
    with pytest.raises(ParameterError):
        Scenario(**changes)


def test_bounds_of_a_scenario_are_inside():
    assert Scenario(ram_bytes=MIB).workload().last_pfn == 255
    assert Scenario(ram_bytes=4 << 30, rate_pages_per_s=1e6, seed=(1 << 64) - 1)


@pytest.mark.parametrize(
    ("size", "text"),
    [(MIB, "1M"), (1 << 30, "1G"), (3 << 29, "1536M"), (MIB + 4096, "1028k")],
)
def test_sizes_are_written_as_options_take_them(size, text):
    assert size_option(size) == text


def test_commas_in_a_path_are_doubled():
    spec = BackendSpec(BackendKind.FILE, "ram0", MIB, "/a,b", share=True)
    assert "mem-path=/a,,b" in command_line(spec)[5]


def test_a_state_file_loads_in_a_machine_of_its_own(walked, tmp_path):
    root, walk = walked
    memory = walk.scenario.private_memory()
    config = MachineConfig(memory=memory, incoming="defer", workload=walk.scenario.workload())
    with VM(config) as vm:
        vm.load(f"file:{root}/disk/cpr-reboot.state")
        assert vm.guest.writes == 4000
    with VM(MachineConfig(memory=memory, incoming="defer")) as vm, pytest.raises(MigsimError):
        vm.load(f"file:{root}/disk/vm.state")  # in place, so both ends need x-ignore-shared
