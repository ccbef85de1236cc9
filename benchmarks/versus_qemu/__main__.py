"""``python -m benchmarks.versus_qemu``: see ``--help``, and docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.versus_qemu.limits import limits
from benchmarks.versus_qemu.programs import (
    Took,
    migsim,
    migsim_save,
    qemu_load,
    qemu_save,
)
from benchmarks.versus_qemu.ram import FILLS, GIB, MIB, fill, fresh

Run = Callable[[], Took | float]
SAVES = ("plain", "mapped-ram", "mapped-ram+multifd")


def by_turns(runs: dict[str, Run], rounds: int) -> dict[str, dict[str, object]]:
    """Run all, one after another, ``rounds`` times; return seconds and peak memory by name."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, int] = dict.fromkeys(runs, 0)
    for _ in range(rounds):
        for name, run in runs.items():
            took = run()
            took = took if isinstance(took, Took) else Took(took)
            seconds[name].append(took.seconds)
            peaks[name] = max(peaks[name], took.peak_rss)
    return {
        name: {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "max_s": max(values),
            "all_s": values,
            "peak_rss": peaks[name],
        }
        for name, values in seconds.items()
    }


class Bench:
    """All measurements of one run, and what they say."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.size = int(args.size_gib * GIB) // MIB * MIB
        self.ram, self.out, self.target = folder / "ram", folder / "out", folder / "target"
        self.qemu = shutil.which("qemu-system-x86_64") is not None
        self.cells: list[dict[str, object]] = []

    def cell(self, name: str, runs: dict[str, Run], size: int | None = None) -> None:
        """Measure one cell and print its medians, and ratios to the first run in it."""
        before = os.getloadavg()[0]
        measured = by_turns(runs, self.args.pairs)
        cell = {"cell": name, "bytes": size or self.size, "runs": measured, "load": before}
        self.cells.append(cell)
        print(f"{name}  (load average {before:.1f})")
        for run, row in measured.items():
            rate = (size or self.size) / GIB / row["median_s"]
            others = ", ".join(
                f"{other['median_s'] / row['median_s']:.2f} x {what}"
                for what, other in measured.items()
                if run.startswith("migsim") and what != run
            )
            extra = row["peak_rss"] - self.size if row["peak_rss"] else 0
            memory = f"  peak above RAM {extra / MIB:.0f} MiB" if extra else ""
            spread = f"{row['min_s'] * 1e3:.1f} to {row['max_s'] * 1e3:.1f}"
            print(f"  {run:<26} {row['median_s'] * 1e3:8.1f} ms ({spread}) {rate:7.2f} GiB/s"
                  f"{memory}  {others}")  # fmt: skip
        sys.stdout.flush()

    def limits(self) -> None:
        """Measure the physical limits on random RAM."""
        fill(self.ram, self.size, "random")
        self.cell("limits", dict(limits(self.ram, self.folder)))

    def saves(self) -> None:
        """Measure saves of every kind of RAM in every form."""
        for kind in self.args.fills:
            fill(self.ram, self.size, kind)
            write = limits(self.ram, self.folder)["write 1 MiB"] if kind == "random" else None
            for form in ("plain", "mapped-ram"):
                runs: dict[str, Run] = {}
                if write is not None:
                    runs["raw write"] = write
                for qemu in SAVES if self.qemu else ():
                    if qemu.startswith(form):
                        runs[f"QEMU {qemu}"] = partial(self.qemu_save, qemu, kind)
                runs["migsim"] = partial(self.migsim_save, form, kind, prealloc=True)
                if kind != "sparse" and self.args.unmapped:
                    runs["migsim, RAM not mapped"] = partial(self.migsim_save, form, kind)
                self.cell(f"save {kind} {form}", runs)
            fresh(self.ram), fresh(self.out)

    def qemu_save(self, form: str, kind: str) -> Took:
        if kind == "sparse":
            fill(self.ram, self.size, kind)  # QEMU fills holes by looking at them
        prealloc = kind != "sparse"
        return qemu_save(self.ram, self.size, fresh(self.out), form, prealloc=prealloc)

    def migsim_save(self, form: str, kind: str, *, prealloc: bool = False) -> Took:
        if kind == "sparse":
            fill(self.ram, self.size, kind)
        return migsim_save(self.ram, fresh(self.out), form, prealloc=prealloc and kind != "sparse")

    def loads(self) -> None:
        """Measure loads of random RAM into a new shared file, and in place."""
        fill(self.ram, self.size, "random")
        for form in ("plain", "mapped-ram"):
            migsim_save(self.ram, fresh(self.out), form)
            runs: dict[str, Run] = {}
            for qemu in SAVES if self.qemu else ():
                if qemu.startswith(form):
                    runs[f"QEMU {qemu}"] = lambda f=qemu: qemu_load(
                        self.out, fresh(self.target), self.size, f
                    )
            runs["migsim"] = lambda: migsim("load", self.out, "--ram", fresh(self.target))
            if form == "mapped-ram":
                runs["migsim in place"] = lambda: migsim("load", self.out, "--in-place")
            self.cell(f"load random {form}", runs)
            if self.qemu and self.target.exists():
                same = subprocess.run(["cmp", self.ram, self.target], check=False).returncode == 0
                print(f"  RAM after the last load is {'the same' if same else 'DIFFERENT'}")
            fresh(self.target), fresh(self.out)
        fresh(self.ram)

    def crossed(self) -> None:
        """Let QEMU load what migsim has saved, and compare RAM."""
        if not self.qemu:
            return
        size = min(self.size, 256 * MIB)
        for kind in ("random", "half"):
            fill(self.ram, size, kind)
            for form in ("plain", "mapped-ram"):
                migsim_save(self.ram, fresh(self.out), form)
                qemu_load(self.out, fresh(self.target), size, form)
                same = subprocess.run(["cmp", self.ram, self.target], check=False).returncode == 0
                print(f"QEMU loads migsim's {form} of {kind} RAM: {'same' if same else 'WRONG'}")
        fresh(self.ram), fresh(self.out), fresh(self.target)

    def shared(self) -> None:
        """Measure cpr-reboot with RAM left in place, 1 GiB and 1 TiB of sparse RAM."""
        words = ("--mode", "cpr-reboot", "--ignore-shared")
        for size in (GIB, 1024 * GIB):
            fill(self.ram, size, "sparse")
            runs: dict[str, Run] = {}
            if self.qemu:
                runs["QEMU"] = lambda s=size: qemu_save(
                    self.ram, s, fresh(self.out), "ignore-shared", mode="cpr-reboot", prealloc=False
                )
            runs["migsim"] = lambda: migsim_save(
                self.ram, fresh(self.out), "plain", *words, prealloc=False
            )
            self.cell(f"cpr-reboot, RAM in place, {size // GIB} GiB", runs, size)
        fresh(self.ram), fresh(self.out)

    def bitmap(self) -> None:
        """Measure the bitmap of a 1 TiB guest beside copying as many bytes."""
        from migsim.ram.bitmap import DirtyBitmap
        from migsim.ram.dirtylog import DirtyLog

        pages = 1 << 28
        log, into = DirtyLog(pages), DirtyBitmap(pages)
        log.start()
        log.mark_pfns(np.random.default_rng(1).integers(0, pages, pages // 100))
        into.set_all()
        words = np.ones(pages // 64, np.uint64)
        room = np.ones_like(words)

        def timed(run: Callable[[], object], before: Callable[[], object] = int) -> Run:
            def once() -> float:
                before()
                began = time.perf_counter()
                run()
                return time.perf_counter() - began

            return once

        def clear() -> None:
            into.words[:] = 0

        def walk() -> None:
            at = 0
            while (pfns := into.take(at, 1 << 16)).size:
                at = int(pfns[-1]) + 1

        self.cell(
            "bitmap of 1 TiB, 1 % random pages",
            {
                "read (max)": timed(words.max),
                "memcpy": timed(lambda: np.copyto(room, words)),
                "migsim sync": timed(lambda: log.sync(into), clear),
                "migsim count": timed(into.count),
                "migsim walk": timed(walk),
            },
            pages // 8,
        )

    def grid(self) -> None:
        """Measure plain saves over RAM size and share of zero MiBs, for the plot."""
        for size in (self.size // 4, self.size // 2, self.size):
            for zero in ("0", "25", "50", "75", "100"):
                fill(self.ram, size, zero)
                runs: dict[str, Run] = {}
                if self.qemu:
                    runs["QEMU"] = lambda s=size: qemu_save(self.ram, s, fresh(self.out), "plain")
                runs["migsim"] = lambda: migsim_save(self.ram, fresh(self.out), "plain")
                self.cell(f"grid {size // MIB} {zero}", runs, size)
        fresh(self.ram), fresh(self.out)


def facts() -> dict[str, object]:
    """Return what is to be known of the machine."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    qemu = ""
    if shutil.which("qemu-system-x86_64"):
        said = subprocess.run(
            ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False
        )
        qemu = said.stdout.splitlines()[0]
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "qemu": qemu,
        "load": os.getloadavg(),
    }


def plot(cells: list[dict[str, object]], path: Path) -> None:
    """Draw the grid: rate over the share of zero pages, a line for each size and program."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    lines: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for cell in cells:
        if not str(cell["cell"]).startswith("grid "):
            continue
        _, size, zero = str(cell["cell"]).split()
        for name, row in cell["runs"].items():
            rate = cell["bytes"] / GIB / row["median_s"]
            lines.setdefault((name, int(size)), []).append((int(zero), rate))
    for (name, size), points in lines.items():
        style = "-" if name == "migsim" else "--"
        axes.plot(*zip(*points, strict=True), style, marker="o", label=f"{name}, {size} MiB")
    axes.set(xlabel="zero pages, per cent", ylabel="GiB of RAM per second", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path)


PARTS = ("limits", "saves", "loads", "shared", "bitmap", "crossed", "grid")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versus_qemu",
        description="QEMU and migsim by turns: saving and loading RAM, and the limits beside them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--size-gib", type=float, default=2.0, help="guest RAM")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of every cell")
    parser.add_argument("--dir", default="/dev/shm", help="where RAM and files go: thrice the RAM")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1])
    parser.add_argument("--fills", nargs="+", choices=FILLS, default=FILLS)
    parser.add_argument("--unmapped", action="store_true", help="also with RAM not mapped before")
    parser.add_argument("--json", type=Path, help="write all figures and facts of the machine")
    parser.add_argument("--plot", type=Path, help="draw the grid (part grid)")
    args = parser.parse_args()
    about = facts()
    print(json.dumps(about))
    with tempfile.TemporaryDirectory(prefix="versus-", dir=args.dir) as name:
        bench = Bench(args, Path(name))
        for part in args.parts:
            getattr(bench, part)()
    about["load after"] = os.getloadavg()
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "cells": bench.cells}, indent=1) + "\n")
    if args.plot:
        plot(bench.cells, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
