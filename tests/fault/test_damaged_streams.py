"""Damaged and cut streams: a short run of what ``make fuzz-streams`` does at length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.cases import Case, findings, load
from fuzzing.cuts import cuts_of, end_marker, wrong_with
from fuzzing.streams import case_of
from fuzzing.uses import USES
from state_files import MANIFEST

ROOT = Path(__file__).parents[2]


def run(*words):
    """Run in a process of its own, which takes itself no more than 512 MiB."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return subprocess.run(
        [sys.executable, "-m", "fuzzing.streams", *words],
        env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_only_stream_errors_escape(tmp_path):
    done = run("--count", "300", "--seed", "77", "--jobs", "1", "--state", str(tmp_path))
    assert "300 of 300 tried, 0 findings" in done.stdout, done.stdout + done.stderr
    assert json.loads((tmp_path / "seed77.json").read_text()) == {"done": [0, 250], "findings": []}


def test_what_was_answered_wrongly_once_stays_mended():
    assert {use for _, use in findings()} <= set(USES)
    done = run("--findings")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_number_is_always_the_same_case():
    for number in (0, 5, 123_456):
        case, use = case_of(9, number)
        assert case_of(9, number) == (case, use)
        assert Case.from_json(case.to_json()) == case
    assert case_of(9, 0) != case_of(10, 0)


@pytest.mark.parametrize("name", MANIFEST)
def test_cuts_are_found_where_they_are(name):
    base = load(name)
    cuts = cuts_of(base)
    end = end_marker(base)
    some = cuts[:: max(1, cuts.size // 24)].tolist() + cuts[-2:].tolist()
    wrong = {cut: text for cut in some if (text := wrong_with(base, cut, end)) is not None}
    assert not wrong
