"""``migsim save`` and ``migsim load``, as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from migsim.__main__ import main
from migsim.threads import limit_threads

MIB = 1 << 20


@pytest.fixture
def ram(tmp_path):
    content = np.zeros((16, MIB), np.uint8)
    content[::3] = np.random.default_rng(1).integers(0, 256, MIB, np.uint8)
    path = tmp_path / "ram"
    path.write_bytes(content.tobytes())
    yield path
    limit_threads(0)


@pytest.mark.parametrize("threads", ["0", "1", "2"])
@pytest.mark.parametrize("form", ["plain", "mapped-ram"])
def test_there_and_back(ram, tmp_path, capsys, form, threads):
    out, back = tmp_path / "out", tmp_path / "back"
    words = ["--format", form, "--threads", threads]
    assert main(["save", "--ram", str(ram), "-o", str(out), *words]) == 0
    said = capsys.readouterr().out
    assert "saved 0.0156 GiB of RAM" in said
    assert f"1536 pages with content, 2560 zero; file of {out.stat().st_size} bytes" in said
    assert main(["load", str(out), "--ram", str(back), "--threads", threads]) == 0
    assert "loaded 0.0156 GiB of RAM" in capsys.readouterr().out
    assert back.read_bytes() == ram.read_bytes()
    assert back.stat().st_blocks * 512 < ram.stat().st_size, "holes stay holes"


def test_json_on_one_line_and_a_trial_without_a_file(ram, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--format", "mapped-ram", "--mode", "cpr-reboot", "--prealloc", "--json"]
    assert main(["save", "--ram", str(ram), "-o", str(out), *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ram_bytes"] == 16 * MIB
    assert facts["file_bytes"] == out.stat().st_size
    assert (facts["normal_pages"], facts["zero_pages"]) == (1536, 2560)
    assert facts["save_s"] > 0
    assert facts["peak_rss"] > 16 * MIB
    for more in ([], ["--in-place"]):
        assert main(["load", str(out), "--json", *more]) == 0
        assert json.loads(capsys.readouterr().out)["load_s"] > 0


def test_ram_that_stays_in_its_file(ram, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--mode", "cpr-reboot", "--ignore-shared"]
    assert main(["save", "--ram", str(ram), "-o", str(out), *words]) == 0
    assert out.stat().st_size < 10_000
    before = ram.read_bytes()
    assert main(["load", str(out), "--ram", str(ram)]) == 0
    assert ram.read_bytes() == before


def test_wrong_use_is_one_sentence_and_makes_no_file(ram, tmp_path, capsys):
    out = str(tmp_path / "out")
    for words, said in (
        (["save", "--ram", str(ram), "-o", str(ram)], "another file"),
        (["save", "--ram", str(tmp_path / "none"), "-o", out], "none"),
        (["save", "--ram", str(ram), "-o", out, "--format", "zip"], "plain, mapped-ram"),
        (["save", "--ram", str(ram), "-o", out, "--mode", "cpr-exec"], "cpr-reboot"),
        (["save", "--ram", str(ram), "-o", out, "--threads", "-1"], "0 or more"),
        (["save", "--ram", str(ram), "-o", out, "--machine", "vax"], "vax"),
        (["save", "--ram", str(ram), "-o", out + ",offset=5"], "offset"),
        (["load", str(ram)], "magic"),
        (["load", str(ram), "--in-place", "--ram", out], "none"),
    ):
        assert main(words) == 2, words
        text = capsys.readouterr().err
        assert text.startswith("migsim: ")
        assert said in text, (words, text)
        assert text.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ram"]


def test_a_failed_load_leaves_ram_as_it_was(ram, tmp_path, capsys):
    out, back = tmp_path / "out", tmp_path / "back"
    assert main(["save", "--ram", str(ram), "-o", str(out)]) == 0
    raw = out.read_bytes()
    out.write_bytes(raw[: len(raw) // 2])
    for before in (b"\0" * 16 * MIB, b"old." * 4 * MIB):
        back.write_bytes(before)
        assert main(["load", str(out), "--ram", str(back)]) == 2
        assert back.read_bytes() == before
