"""Processes killed while they save, load or convert; ``make kill`` does it at length."""

from __future__ import annotations

import subprocess
import sys


def test_what_is_killed_damages_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "fault.killing", "--count", "12"],
        cwd=__file__.rsplit("/", 2)[0],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "killed in the middle" in done.stdout
