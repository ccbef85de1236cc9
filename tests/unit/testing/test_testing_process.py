from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migsim.errors import StateError
from migsim.testing import MachineProcess, QmpFailed


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MachineProcess]:
    with MachineProcess(tmp_path, ["-machine", "none", "-m", "16M"]) as machine:
        yield machine


def test_commands_events_and_errors(machine: MachineProcess, tmp_path: Path) -> None:
    assert machine.qmp.command("query-status") == {"running": True, "status": "running"}
    with pytest.raises(QmpFailed) as caught:
        machine.qmp.command("bogus")
    assert caught.value.qmp_class == "CommandNotFound"
    machine.qmp.command("migrate", uri=f"file:{tmp_path}/state")
    assert machine.qmp.wait_migration("completed", "failed") == "completed"
    assert [event["event"] for event in machine.qmp.events] == ["STOP"]
    assert machine.close() == 0


def test_a_start_that_fails_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StateError, match="ended with 1"):
        MachineProcess(tmp_path, ["-bogus"])
    assert "bogus" in capfd.readouterr().err
