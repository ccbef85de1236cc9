"""The suite finds bugs: each one is planted into a copy of the package, where tests must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from quality.plants import PLANTS, QUICK

import migsim

ROOT = Path(__file__).parents[2]
PACKAGE = Path(migsim.__file__).parent
WHERE = "import migsim; print(migsim.__file__)"
FOUND = 1
"""Exit status of pytest when tests failed; others mean that it could not run them."""


def plant(bug, folder: Path) -> None:
    shutil.copytree(PACKAGE, folder / "migsim", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "migsim" / bug.file
    source = file.read_text()
    assert source.count(bug.old) == 1, f"{bug.file} has changed: write the bug anew"
    file.write_text(source.replace(bug.old, bug.new))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "HYPOTHESIS_PROFILE": "quick",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name in [name for name in environment if name.startswith(("PYTEST_", "COV_"))]:
        del environment[name]
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


CHOSEN = [
    pytest.param(bug, id=bug.name, marks=() if bug.name in QUICK else pytest.mark.quality)
    for bug in PLANTS
]


@pytest.mark.parametrize("bug", CHOSEN)
def test_it_is_found(bug, tmp_path):
    plant(bug, tmp_path)
    assert run(tmp_path, "-c", WHERE).stdout.startswith(str(tmp_path))
    found = run(
        tmp_path, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist",
        "--no-header", bug.found_by,
    )  # fmt: skip
    assert found.returncode == FOUND, found.stdout[-2000:] + found.stderr[-500:]


def test_the_list_is_as_long_as_it_says():
    assert len({bug.name for bug in PLANTS}) == len(PLANTS) >= 25
    assert set(QUICK) <= {bug.name for bug in PLANTS}
    assert all((ROOT / bug.found_by).exists() for bug in PLANTS)
