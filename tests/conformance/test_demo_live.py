"""A real QEMU takes the command line and state files of the walk-through, and of the README."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from migsim.demo import Scenario, walk_cpr_reboot
from migsim.demo.scenario import command_line
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

pytestmark = pytest.mark.live

MIB = 1 << 20


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    root = tmp_path_factory.mktemp("host")
    return root, walk_cpr_reboot(root, Scenario(ram_bytes=16 * MIB, rate_pages_per_s=3000.0))


def file_memory(path) -> BackendSpec:
    return BackendSpec(BackendKind.FILE, "ram0", 16 * MIB, str(path), share=True)


@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_copied_ram_arrives_in_a_real_qemu(mode, walked, qemu, tmp_path):
    root, walk = walked
    memory = file_memory(tmp_path / "ram0")
    machine = qemu(*command_line(memory, incoming=True))
    machine("migrate-set-parameters", mode=mode)
    assert machine.load(f"file:{root}/disk/{mode}.state") == "completed", machine.log
    assert machine("query-status")["status"] == "running"

    config = MachineConfig(memory=walk.scenario.private_memory(), incoming="defer")
    with VM(config) as vm:
        vm.load(f"file:{root}/disk/{mode}.state")
        ours = vm.ram["ram0"].view().copy().ravel()
    assert ours.any()
    assert np.array_equal(ours, np.fromfile(memory.mem_path, np.uint8))


def test_ram_in_place_stays_as_it_is_in_a_real_qemu(walked, qemu, tmp_path):
    root, _ = walked
    path = tmp_path / "ram0"
    shutil.copy(root / "pkram" / "ram0", path)
    before = np.fromfile(path, np.uint8)
    machine = qemu(*command_line(file_memory(path), incoming=True))
    assert machine("query-status")["status"] == "inmigrate"
    machine.capabilities(x_ignore_shared=True)
    machine("migrate-set-parameters", mode="cpr-reboot")
    assert machine.load(f"file:{root}/disk/vm.state") == "completed", machine.log
    assert machine("query-status")["status"] == "running"
    assert np.array_equal(before, np.fromfile(path, np.uint8))


def test_the_live_update_of_a_real_qemu_prints_the_same_states(walked, qemu, tmp_path):
    """The commands of both windows, typed into a real QEMU's human monitor."""
    _, walk = walked
    memory = file_memory(tmp_path / "ram0")
    np.arange(16 * MIB // 8, dtype="<u8").tofile(memory.mem_path)
    answers = []
    for voice in ("window 1", "window 2"):
        machine = qemu(*command_line(memory, incoming=voice == "window 2"))
        for line in walk.lines:
            if (line.voice, line.kind) != (voice, "command") or line.text == "quit":
                continue
            typed = line.text.replace("file:/disk/", f"file:{tmp_path}/")
            answer = machine("human-monitor-command", command_line=typed)
            if "migrate -d" in typed or "migrate_incoming" in typed:
                machine.migration("completed")
            answers += str(answer).splitlines()
        machine.stop()
    ours = [line.text for line in walk.lines if line.kind == "answer"]
    assert answers == ours


def test_the_state_file_of_the_readme_loads_in_a_real_qemu(qemu, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (options,) = re.findall(r"loads it with `(-machine [^`]+)`", text)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    machine = qemu(*options.split())
    machine.migration("completed")
    assert machine("query-status")["status"] == "running"
