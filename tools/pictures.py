"""Draw the pictures of the documentation: ``python tools/pictures.py`` (the page needs Chromium).

Everything is drawn from simulated machines with fixed seeds, so that the same code draws the same.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from rich.console import Console

from migsim import VM, BackendKind, BackendSpec, CountingOutput, MachineConfig, Uniform
from migsim.cli.watch import picture
from migsim.demo import Scenario, walk_cpr_reboot
from migsim.play import PlayServer
from migsim.predict.compare import compare
from migsim.predict.inputs import Inputs
from migsim.recording import Recording, Sample, record_migration
from migsim.recording.watched import Settings
from migsim.streamtool import StreamFiles, stream_info
from migsim.viz import (
    draw_blockers,
    draw_compared,
    draw_downtime_parts,
    draw_heat,
    draw_migration,
    draw_stream,
    draw_walkthrough,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images"
MIB, GIB = 1 << 20, 1 << 30
DOTS_PER_INCH = 75


def guest() -> VM:
    """Return the guest of the pictures: 1 GiB, half of it data, 12,000 page writes a second."""
    memory = BackendSpec(BackendKind.PHANTOM, "ram0", GIB)
    work = Uniform(0, 65_535, rate_pages_per_s=12_000.0, seed=1)
    vm = VM(MachineConfig(memory=memory, workload=work))
    vm.ram["ram0"].backend.nonzero.set_range(0, GIB // 4096 // 2)
    vm.advance(5)
    vm.set_parameters({"max-bandwidth": 64 * MIB})
    return vm


def recorded() -> Recording:
    """Return a migration of the guest."""
    return record_migration(guest(), CountingOutput(), stretches=96)


def watched(samples: list[Sample]) -> str:
    """Return what ``migsim watch`` draws, as SVG."""
    settings = Settings("10.0.2", GIB, "normal", 64 * MIB, 300)
    with open("/dev/null", "w") as nowhere:
        console = Console(width=100, record=True, file=nowhere, force_terminal=True)
        console.print(picture(samples, settings))
        return console.export_svg(title="migsim watch", unique_id="watch")


def screenshot(target: Path) -> None:
    """Take a picture of the page of ``migsim play``."""
    with PlayServer() as server, tempfile.TemporaryDirectory() as profile:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
        words = [*quiet, "--disable-component-update", "--disable-sync", "--no-first-run"]
        words += [f"--user-data-dir={profile}", "--window-size=1120,880"]
        words += ["--virtual-time-budget=30000", f"--screenshot={target}", f"{server.url}#end"]
        subprocess.run(["chromium", *words], check=True, capture_output=True, timeout=300)
        server.shutdown()
        thread.join()


def main() -> None:
    """Draw everything."""
    FOLDER.mkdir(exist_ok=True)
    recording = recorded()
    ways = compare(
        Inputs(
            ram_bytes=4 * GIB,
            nonzero_ranges=((0, 600_000),),
            rate_pages_per_s=9_000.0,
            working_set=(0, 60_000),
            max_bandwidth=100 * MIB,
            ram_shared=True,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "q35.state"
        sample = ROOT / "tests" / "data" / "streams" / "q35-8m.bin.xz"
        state.write_bytes(lzma.decompress(sample.read_bytes()))
        pictures = {
            "migration": draw_migration(recording),
            "dirty-ram": draw_heat(recording),
            "ways": draw_compared(ways),
            "stops": draw_downtime_parts(ways),
            "blockers": draw_blockers(),
            "state-file": draw_stream(stream_info(StreamFiles(str(state)))),
            "live-update": draw_walkthrough(
                walk_cpr_reboot(Path(folder) / "host", Scenario(ram_bytes=32 * MIB))
            ),
        }
        for name, figure in pictures.items():
            figure.savefig(
                FOLDER / f"{name}.png", dpi=DOTS_PER_INCH, metadata={"Software": "migsim"}
            )
    middle = next(n for n, one in enumerate(recording.samples) if one.passes == 3) + 4
    (FOLDER / "watch.svg").write_text(watched(list(recording.samples[:middle])))
    if shutil.which("chromium"):
        screenshot(FOLDER / "play.png")


if __name__ == "__main__":
    main()
