"""A guest of 1 TiB, page-exact: in a process of its own, so that its memory can be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import migsim

TIB = 1 << 40
PAGES = TIB // 4096
CPU_SECONDS_AT_MOST = 60
WALL_SECONDS_AT_MOST = 300
MEMORY_AT_MOST = 2 << 30


def simulate():
    """Migrate a busy guest and say how it went; runs in the child."""
    import resource

    from migsim.channel.counting import CountingOutput
    from migsim.guest.workloads import Uniform
    from migsim.machine.config import MachineConfig
    from migsim.ram.backends import BackendKind, BackendSpec
    from migsim.vm import VM

    vm = VM(
        MachineConfig(
            memory=BackendSpec(BackendKind.PHANTOM, "ram0", TIB),
            workload=Uniform(0, PAGES - 1, rate_pages_per_s=220_000.0, seed=1),
        )
    )
    # Half of RAM holds data at first; of the rest a page is zero until the guest writes to it.
    vm.ram["ram0"].backend.nonzero.set_range(0, PAGES // 2)
    vm.set_parameters({"max-bandwidth": 10 << 30})
    out = CountingOutput()
    info = vm.save(out)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "ram": info["ram"],
                "downtime_ms": info["downtime"],
                "position": out.position,
                "writes": vm.guest.writes,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024,
            }
        )
    )


@pytest.mark.slow
def test_a_busy_guest_of_a_tebibyte():
    child = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        timeout=WALL_SECONDS_AT_MOST,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(migsim.__file__).parents[1])},
        text=True,
    )
    result = json.loads(child.stdout)
    ram = result["ram"]
    assert ram["dirty-sync-count"] >= 8
    assert result["peak_bytes"] < MEMORY_AT_MOST
    # Not the time of the clock on the wall, which says as much about what else the machine does.
    assert result["cpu_s"] < CPU_SECONDS_AT_MOST
    # Every page went out at least once, and what was written was sent again, or never sent before.
    assert ram["normal"] + ram["duplicate"] >= PAGES
    assert PAGES // 4 < ram["duplicate"] < PAGES // 2
    assert ram["normal"] - PAGES // 2 <= result["writes"]
    assert ram["transferred"] == result["position"]
    assert result["downtime_ms"] < 600


if __name__ == "__main__":
    simulate()
