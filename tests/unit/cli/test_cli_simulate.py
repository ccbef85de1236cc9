"""``migsim simulate`` as a user types it."""

from __future__ import annotations

import json

import pytest

from migsim.__main__ import main

WORDS = ["simulate", "--ram", "64M", "--rate", "2000", "--working-set", "16M", "--bandwidth", "32M"]


def test_the_table_and_the_files(capsys, tmp_path):
    files = [str(tmp_path / name) for name in ("a.png", "b.svg", "c.json")]
    words = ["--plot", files[0], "--heat", files[1], "--trace", files[2]]
    assert main([*WORDS, *words]) == 0
    out = capsys.readouterr().out
    assert "finish-migrate" in out
    assert "completed after" in out
    assert "Seed 1" in out
    assert json.loads((tmp_path / "c.json").read_text())["traceEvents"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("a.png", "b.svg"))


def test_json_is_a_recording_and_the_seed_decides(capsys):
    outs = []
    for seed in ("5", "5", "6"):
        assert main([*WORDS, "--json", "--seed", seed]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] != outs[2]
    assert json.loads(outs[0])["samples"][-1]["status"] == "completed"


def test_one_that_does_not_end(capsys):
    words = ["--rate", "90000", "--bandwidth", "8M", "--time-limit", "5"]
    assert main([*WORDS, *words]) == 1
    assert "active after" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--every", "0"], ["--plot", "x.txt"], ["--capability", "nonsense"]]
)
def test_wrong_use_is_refused(capsys, words):
    assert main([*WORDS, *words]) == 2
    assert capsys.readouterr().err.startswith("migsim: ")
