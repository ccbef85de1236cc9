"""The comparison with QEMU runs, small, with and without a QEMU; no time matters."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[3])


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.versus_qemu import __main__ as program

    return program


def run(program, monkeypatch, *words: str) -> int:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setattr(sys, "argv", ["versus_qemu", "--pairs", "1", *words])
    return program.main()


def test_limits_and_ratios_without_qemu(program, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    target = tmp_path / "out.json"
    words = ["--size-gib", "0.0078125", "--dir", str(tmp_path), "--json", str(target)]
    parts = ["--parts", "limits", "saves", "loads", "--fills", "random", "sparse"]
    assert run(program, monkeypatch, *words, *parts) == 0
    said = capsys.readouterr().out
    assert "x raw write" in said
    assert "QEMU plain" not in said
    found = json.loads(target.read_text())
    cells = {cell["cell"]: cell["runs"] for cell in found["cells"]}
    assert {"write 1 MiB", "memcpy", "scan", "copy_file_range"} <= cells["limits"].keys()
    assert cells["save random plain"]["migsim"]["median_s"] > 0
    assert cells["load random mapped-ram"]["migsim in place"]["median_s"] > 0
    assert found["machine"]["processors"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"], "nothing is left behind"


@pytest.mark.live
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no QEMU")
def test_a_real_qemu_loads_what_is_saved(program, monkeypatch, tmp_path, capsys):
    words = ["--size-gib", "0.0078125", "--dir", str(tmp_path)]
    assert run(program, monkeypatch, *words, "--parts", "shared", "crossed") == 0
    said = capsys.readouterr().out
    assert "migsim" in said
    assert said.count("RAM: same") == 4
    assert "WRONG" not in said
