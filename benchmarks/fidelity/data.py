"""Measured runs and which of them belong together."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from pathlib import Path

from migsim.predict.inputs import Inputs

DATA = Path(__file__).resolve().parents[1] / "data"
MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """One measured migration: what was run, and what came out."""

    config: dict
    outcome: dict
    host: dict
    trajectory: tuple

    @property
    def inputs(self):
        return Inputs.from_config(self.config)

    @property
    def completed(self):
        return self.outcome["status"] == "completed"

    @property
    def group(self):
        return self.config["group"]

    @property
    def transferred(self):
        return (self.outcome["ram"] or {}).get("transferred")

    @property
    def passes(self):
        return (self.outcome["ram"] or {}).get("dirty-sync-count")

    @property
    def disturbed(self):
        """Other work took more than a tenth of a processor, or the host's host took some."""
        span = max(0.2, self.host.get("span_s") or 1.0)
        return (self.host["other_cpu_s"] + self.host["steal_s"]) / span > 0.1

    @property
    def kind(self):
        """The kind; repeats are of the kind of what they repeat."""
        config = self.config
        if config["kind"] != "rep":
            return config["kind"]
        if config["mode"] == "cpr-reboot":
            return "cprshared" if "x-ignore-shared" in config["capabilities"] else "cprcopy"
        if config["link_bandwidth"]:
            return "link"
        for name, kind in (("multifd", "multifd"), ("mapped-ram", "mapped")):
            if name in config["capabilities"]:
                return kind
        return config["transport"]


def load(path):
    """Return the runs of a file, plain or compressed."""
    opener = lzma.open if str(path).endswith(".xz") else open
    runs = []
    with opener(path, "rt") as lines:
        for line in lines:
            if line.strip():
                r = json.loads(line)
                columns = r.get("trajectory_fields", [])
                rows = tuple(dict(zip(columns, row, strict=True)) for row in r["trajectory"])
                runs.append(Run(r["config"], r["outcome"], r["host"], rows))
    return runs


def is_bound(run):
    """Whether max-bandwidth (at most 128 MiB/s) sets the speed, in the kinds that are judged."""
    config = run.config
    return (
        run.kind in ("unix", "over", "file", "cprcopy", "mapped")
        and 0 < config["max_bandwidth"] <= 128 * MIB
        and not config["link_bandwidth"]
    )


def is_host_bound(run):
    """Whether the host sets the speed: no limit, or one above what it reaches."""
    config = run.config
    return (
        run.kind in ("unix", "file", "cprcopy", "mapped", "multifd")
        and (not config["max_bandwidth"] or config["max_bandwidth"] > 512 * MIB)
        and not config["link_bandwidth"]
    )
