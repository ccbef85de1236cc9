"""Watching a migration over QMP, and what its counters promise."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from migsim import VM, MachineConfig
from migsim.channel.counting import CountingOutput
from migsim.cli.watch import curve, picture
from migsim.guest.workloads import Uniform
from migsim.predict.qmpclient import READ_ONLY
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.recording import Sample
from migsim.recording.forecast import forecast, sending_rate
from migsim.recording.watched import recording_of, settings_of, watch

MIB = 1 << 20


class Asked:
    """A machine in this process in the place of a connection; sleeping lets its time pass."""

    def __init__(self, rate=2000.0):
        memory = BackendSpec(BackendKind.PHANTOM, "ram0", 64 * MIB)
        workload = Uniform(0, 4095, rate_pages_per_s=rate, seed=1)
        self.vm = VM(MachineConfig(memory=memory, workload=workload))
        self.vm.advance(4)
        self.vm.set_parameters({"max-bandwidth": 16 * MIB})

    def ask(self, command):
        assert command in READ_ONLY
        return self.vm.qmp(command)["return"]

    def watch(self, **options):
        options = {"every_s": 0.1} | options
        return watch(self, clock=lambda: self.vm.clock.now, sleep=self.vm.advance, **options)


def test_it_ends_with_the_migration():
    asked = Asked()
    asked.vm.migrate(CountingOutput())
    samples = list(asked.watch())
    assert samples[0].time_s == 0
    assert {one.status for one in samples[:-1]} <= {"setup", "active", "device"}
    assert samples[-1].status == "completed"
    recording = recording_of(settings_of(asked), samples)
    assert recording.stop() is not None
    assert recording.ram_bytes == 64 * MIB
    assert recording.bandwidth_bytes_per_s == 16 * MIB


def test_one_that_was_over_before_does_not_count():
    asked = Asked()
    asked.vm.save(CountingOutput())
    seen = list(itertools.islice(asked.watch(), 5))
    assert [one.status for one in seen] == ["completed"] * 5


def test_the_forecast_comes_true():
    asked = Asked()
    asked.vm.migrate(CountingOutput())
    samples = list(asked.watch(every_s=0.05))
    end = samples[-1]
    later = [n for n, one in enumerate(samples) if one.passes >= 2 and one.status == "active"]
    errors = []
    for number in later:
        expected = forecast(samples[: number + 1], 300)
        assert expected is not None
        assert expected.converges
        errors.append(abs(samples[number].time_s + expected.left_s - end.time_s))
    assert later
    assert min(errors) < 0.3
    first = forecast(samples[:6], 300)
    assert first.converges is None
    second = next(one for one in samples if one.passes == 2)
    # At most so long: the zero pages that remain take no time.
    assert samples[5].time_s + first.left_s > second.time_s
    assert forecast(samples, 300) is None


def active(time_s, sent, left, dirty, passes=2):
    return Sample(
        time_s,
        "active",
        remaining_bytes=left,
        transferred_bytes=sent,
        dirty_pages_per_s=dirty,
        passes=passes,
    )


@pytest.mark.parametrize(
    ("dirty", "converges"), [(0, True), (1000, True), (2400, True), (2560, False), (9000, False)]
)
def test_passes_have_to_get_shorter(dirty, converges):
    samples = [active(0, 0, 60 * MIB, dirty), active(1, 10 * MIB, 50 * MIB, dirty)]
    expected = forecast(samples, 300)
    assert sending_rate(samples) == 10 * MIB
    assert expected.converges is converges
    if not dirty:
        # 50 MiB at 10 MiB/s, and nothing is left for the stop.
        assert expected.left_s == pytest.approx(5.0)
        assert expected.stop_ms == 0


def test_the_rate_looks_at_the_last_seconds_only():
    samples = [active(t, int(sent * MIB), MIB, 0) for t, sent in ((0, 0), (8, 80), (10, 82))]
    assert sending_rate(samples) == MIB
    assert sending_rate(samples[:1]) == 0


def test_the_picture_fits_a_terminal():
    asked = Asked()
    asked.vm.migrate(CountingOutput())
    settings = settings_of(asked)
    samples = []
    for one in asked.watch():
        samples.append(one)
        console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(picture(samples, settings))
        lines = console.export_text().splitlines()
        console.file.close()
        assert all(len(line) <= 100 for line in lines)
        assert len(lines) <= 8
    assert "over after" in lines[-1]


@pytest.mark.parametrize(
    ("values", "drawn"), [([], ""), ([0, 0], "  "), ([1, 2, 4, 8], "▁▂▄█"), ([0, 8], " █")]
)
def test_curves(values, drawn):
    assert curve(values) == drawn


def test_curves_show_the_end():
    assert curve([8] + [1] * 3, width=3) == "███"


@pytest.fixture
def short_folder():
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as folder:
        yield Path(folder)


def test_watching_a_socket(tmp_path, short_folder, capsys):
    from migsim.__main__ import main
    from migsim.testing.process import MachineProcess

    second = str(short_folder / "w")
    options = ["-machine", "none", "-m", "16M", "-qmp", f"unix:{second},server=on,wait=off"]
    with MachineProcess(short_folder, options) as process:
        process.qmp.command("migrate-set-parameters", max_bandwidth=4096)
        process.qmp.command("migrate", uri=f"file:{tmp_path / 'state'}")
        words = ["watch", "--qmp", second, "--every", "0.05", "--time-limit", "0.5"]
        assert main([*words, "--json", "--trace", str(tmp_path / "t.json")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


def test_nobody_there(tmp_path, capsys):
    from migsim.__main__ import main

    assert main(["watch", "--qmp", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    assert main(["watch", "--qmp", str(tmp_path / "nothing"), "--every", "0"]) == 2
