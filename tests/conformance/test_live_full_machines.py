"""Real machines with migsim in the middle: QEMU saves, migsim loads and saves, QEMU goes on."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.guest.workloads import Uniform
from migsim.machine.from_stream import needs_of
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

pytestmark = pytest.mark.live

SIZE = 32 << 20
PAGE = 4096
FIRST, LAST = 2048, 6143
"""Pages that a synthetic guest writes: 8 to 24 MiB, which no firmware uses."""


def qemu_args(machine: str, path) -> list[str]:
    return [
        "-machine",
        f"{machine},accel=tcg,memory-backend=ram0",
        "-m",
        "32M",
        "-object",
        f"memory-backend-file,id=ram0,size=32M,mem-path={path},share=on",
    ]


def saved_by_qemu(qemu, tmp_path, machine: str) -> str:
    """Start a machine, let its firmware run, and save it while it runs."""
    ram = np.zeros(SIZE, np.uint8)
    ram[12 << 20 :] = np.random.default_rng(7).integers(0, 256, SIZE - (12 << 20), np.uint8)
    (tmp_path / "source.ram").write_bytes(ram)
    source = qemu(*qemu_args(machine, tmp_path / "source.ram"))
    source("stop")
    source("migrate-set-parameters", max_bandwidth=0)
    source("cont")
    source("migrate", uri=f"file:{tmp_path}/first.state")
    assert source.migration("completed", "failed")["status"] == "completed"
    return f"file:{tmp_path}/first.state"


@pytest.mark.parametrize("machine", ["pc", "q35", "microvm"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_real_guest_goes_on_after_a_stop_in_migsim(qemu, tmp_path, machine, mode):
    uri = saved_by_qemu(qemu, tmp_path, machine)
    needs = needs_of(tmp_path / "first.state")
    memory = BackendSpec(BackendKind.FILE, "ram0", SIZE, str(tmp_path / "middle.ram"), share=True)
    workload = Uniform(FIRST, LAST, rate_pages_per_s=20_000.0, seed=5)
    with VM(needs.config(memory, workload=workload)) as middle:
        middle.load(uri)
        assert middle.run.state.value == "running"
        middle.advance(0.1)
        assert middle.guest.writes >= 2000
        middle.set_parameters({"mode": mode, "max-bandwidth": 64 << 20})
        middle.save(f"file:{tmp_path}/second.state")
        expected = middle.ram["ram0"].view().copy()
    (tmp_path / "target.ram").write_bytes(bytes(SIZE))
    target = qemu(*qemu_args(machine, tmp_path / "target.ram"), "-incoming", "defer", "-S")
    assert target.load(f"file:{tmp_path}/second.state") == "completed", target.log
    arrived = np.fromfile(tmp_path / "target.ram", np.uint8).reshape(-1, PAGE)
    assert np.array_equal(arrived, expected)
    target("cont")
    assert target("query-status")["status"] == "running"
    target("stop")
    assert target("query-status")["status"] == "paused", target.log
