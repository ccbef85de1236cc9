"""Time one migration of bitmap-only RAM: python -m benchmarks.simulate 1T 10G 220000.

Arguments are the size of RAM, max-bandwidth per second (suffixes M, G, T), and page writes per
second, uniform over all of RAM; RAM is full of data at first.
"""

from __future__ import annotations

import argparse
import resource
import time

from benchmarks.machines import phantom
from migsim.channel.counting import CountingOutput
from migsim.units import parse_size


def main() -> None:
    """Run and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", type=parse_size)
    parser.add_argument("bandwidth", type=parse_size)
    parser.add_argument("writes", type=float)
    given = parser.parse_args()
    vm = phantom(given.size, given.writes, given.bandwidth)
    start = time.perf_counter()
    info = vm.save(CountingOutput())
    wall_s = time.perf_counter() - start
    ram = info["ram"]
    assert isinstance(ram, dict)
    pages = ram["normal"] + ram["duplicate"]
    print(
        f"{wall_s:.2f} s for {info['total-time'] / 1000:.1f} s of the guest,"  # type: ignore[operator]
        f" {ram['dirty-sync-count']} passes, {pages / 1e6:.0f} M pages sent,"
        f" {vm.guest.writes / 1e6:.0f} M writes, peak memory"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB"
    )


if __name__ == "__main__":
    main()
