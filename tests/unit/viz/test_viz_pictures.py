"""Pictures of results: what is on them, and that they can be written in every format."""

from __future__ import annotations

import pytest
from state_files import sample_files

from migsim import VM, MachineConfig
from migsim.blockers import ROWS
from migsim.errors import ConfigError
from migsim.guest.workloads import Uniform
from migsim.predict.compare import compare
from migsim.predict.inputs import Inputs
from migsim.qapi.release import Release
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.recording import Recording, Sample, record_migration
from migsim.streamtool import stream_info
from migsim.viz import (
    draw_blockers,
    draw_compared,
    draw_downtime_parts,
    draw_heat,
    draw_migration,
    draw_stream,
    write_figure,
)


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [label.get_text() for label in axes.get_yticklabels()]
    return found


@pytest.fixture(scope="module")
def recording():
    memory = BackendSpec(BackendKind.PHANTOM, "ram0", 64 << 20)
    workload = Uniform(0, 8191, rate_pages_per_s=4000.0, seed=1)
    vm = VM(MachineConfig(memory=memory, workload=workload))
    vm.advance(5)
    vm.set_parameters({"max-bandwidth": 32 << 20})
    return record_migration(vm, stretches=8)


def test_a_migration(recording, tmp_path):
    figure = draw_migration(recording)
    assert any("the guest stood still for" in text for text in texts(figure))
    assert {"running", "active", "guest", "migration"} <= set(texts(figure))
    for suffix in ("png", "svg", "pdf"):
        write_figure(figure, tmp_path / f"picture.{suffix}")
        assert (tmp_path / f"picture.{suffix}").stat().st_size > 4000


def test_a_migration_of_one_look(tmp_path):
    figure = draw_migration(Recording((Sample(0.0, "setup"),)))
    write_figure(figure, tmp_path / "picture.png")
    assert any("setup" in text for text in texts(figure))


def test_dirty_ram(recording, tmp_path):
    write_figure(draw_heat(recording), tmp_path / "heat.png")
    with pytest.raises(ConfigError):
        draw_heat(Recording(recording.samples))


def test_a_state_file_shows_every_section():
    info = stream_info(sample_files("none-1m"))
    shown = texts(draw_stream(info))
    assert {"ram", "timer", "globalstate", "description"} <= set(shown)


def test_a_big_state_file_is_shortened():
    info = stream_info(sample_files("pc-8m"))
    shown = texts(draw_stream(info))
    assert any(text.endswith("smaller sections") for text in shown)
    assert "cpu" in shown


def test_blockers_by_mode():
    shown = texts(draw_blockers())
    assert ROWS["vmdk"].title in shown
    assert "free" in shown
    assert "blocked" in shown
    [only] = [text for text in texts(draw_blockers(["9p"], Release.V8_2)) if "9p" in text]
    assert only == ROWS["9p"].title
    with pytest.raises(ConfigError):
        draw_blockers(["nothing"])


def test_ways_side_by_side_and_their_stops():
    compared = compare(Inputs(ram_bytes=256 << 20, rate_pages_per_s=100.0))
    labels = {one.way.label for one in compared}
    assert labels <= set(texts(draw_compared(compared)))
    assert labels <= set(texts(draw_downtime_parts(compared)))
