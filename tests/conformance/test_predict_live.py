"""The probe and the measurements of calibration against a real QEMU."""

from __future__ import annotations

import shutil

import pytest

from migsim.cli.app import run
from migsim.errors import ChannelError, StateError
from migsim.predict.probe import inputs_of_probe, probe
from migsim.predict.qemuruns import Process, measure_file_save, measure_socket_save
from migsim.predict.qmpclient import ReadOnlyQmp

pytestmark = pytest.mark.live
QEMU = shutil.which("qemu-system-x86_64") or ""
MIB = 1 << 20


@pytest.fixture
def qemu(tmp_path):
    """A stopped guest with a connection of its own and a socket for the probe."""
    memory = tmp_path / "ram"
    memory.write_bytes(bytes(16 * MIB))
    extra = ("-qmp", f"unix:{tmp_path / 'probe'},server=on,wait=off")
    with Process(QEMU, tmp_path, "vm", memory, *extra) as process:
        limit = {"max-bandwidth": 50 * MIB, "downtime-limit": 123}
        process.ask("migrate-set-parameters", **limit)
        yield process, str(tmp_path / "probe")


def state_of(process):
    names = ("query-status", "query-migrate-parameters", "query-migrate-capabilities")
    return [process.ask(name) for name in (*names, "query-migrate")]


def test_probe_learns_the_settings_and_changes_nothing(qemu):
    process, path = qemu
    before = state_of(process)
    with ReadOnlyQmp(path) as connection:
        seen = probe(connection, periods_ms=(60, 120))
    assert state_of(process) == before
    inputs = inputs_of_probe(seen)
    assert inputs.ram_bytes == 16 * MIB
    assert inputs.max_bandwidth == 50 * MIB
    assert inputs.downtime_limit_ms == 123
    assert inputs.curve is None
    assert seen.nonzero_fraction is not None


def test_connection_refuses_to_change_anything(qemu):
    process, path = qemu
    with ReadOnlyQmp(path) as connection, pytest.raises(StateError):
        connection.ask("migrate_cancel")
    assert process.ask("query-status")["running"] is False


def test_predict_qmp_command(qemu, capsys):
    _, path = qemu
    assert run(["predict", "--qmp", path, "--nonzero", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "Converges" in out
    assert "cpr-reboot, in" in out  # the table folds the rest


def test_socket_that_is_none(tmp_path):
    with pytest.raises(ChannelError):
        ReadOnlyQmp(str(tmp_path / "nothing"))


def test_measured_saves(tmp_path):
    pages = 4096
    for fill in (0.0, 1.0):
        assert 0 < measure_file_save(QEMU, tmp_path, pages, fill).seconds < 10
    assert (
        0 < measure_file_save(QEMU, tmp_path, pages, 1.0, capabilities=["mapped-ram"]).seconds < 10
    )
    assert 0 < measure_socket_save(QEMU, tmp_path, pages, 1.0).seconds < 10
