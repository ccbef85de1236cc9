"""New measured runs with the QEMU of this machine."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

MEASURING = Path(__file__).resolve().parents[1] / "measuring"


def measuring():
    """Return the modules of the measuring program: (measure, campaign)."""
    if str(MEASURING) not in sys.path:
        sys.path.insert(0, str(MEASURING))
    import campaign
    import measure

    return measure, campaign


def measure_new(count, seed):
    """Run ``count`` migrations of a fresh random plan; return the file with the records."""
    measure, campaign = measuring()
    plan = campaign.plan(seed)
    random.Random(seed).shuffle(plan)
    work = Path(tempfile.mkdtemp(prefix="fidelity-"))
    configs, results = work / "configs.jsonl", work / "results.jsonl"
    configs.write_text("".join(json.dumps(config) + "\n" for config in plan[:count]))
    shm = Path("/dev/shm")
    extra = ["--ram-dir", str(shm), "--file-dir", str(shm)] if shm.is_dir() else []
    measure.main(["--batch", str(configs), "--out", str(results), *extra])
    return results
