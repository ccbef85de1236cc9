"""``migsim demo cpr-reboot``: what it prints, its exit status, the files that it keeps."""

from __future__ import annotations

import inspect
import json
import sys

import pytest

from migsim.__main__ import main
from migsim.cli.demo import cpr_reboot
from migsim.demo import Scenario
from migsim.host import RamKind
from migsim.units import parse_size

SMALL = ["demo", "cpr-reboot", "--ram", "4M", "--rate", "2000"]
STATES = ["running", "paused (postmigrate)", "[reboot]", "paused (inmigrate)", "running"]


def in_order(text: str, pieces: list[str]) -> bool:
    at = 0
    for piece in pieces:
        at = text.find(piece, at) + len(piece)
        if at < len(piece):
            return False
    return True


def test_the_timeline_holds_the_run_states_in_order(capsys):
    assert main(SMALL) == 0
    out = capsys.readouterr().out
    assert in_order(out, STATES)
    assert in_order(out, ["window 1", "migrate -d file:/disk/vm.state", "quit", "host", "window 2"])
    assert "went on where it stopped" in out


def test_colours_are_off_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    main(SMALL)
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_the_same_for_the_same_seed(capsys, tmp_path):
    assert main([*SMALL, "--json", "--seed", "5"]) == 0
    first = capsys.readouterr().out
    assert main([*SMALL, "--json", "--seed", "5", "--keep", str(tmp_path / "kept")]) == 0
    assert capsys.readouterr().out == first
    main([*SMALL, "--json", "--seed", "6"])
    assert capsys.readouterr().out != first
    result = json.loads(first)
    assert result["states"] == STATES
    assert result["ok"] is True
    assert result["scenario"]["seed"] == 5


def test_ram_that_is_lost_gives_status_1(capsys):
    assert main([*SMALL, "--ram-kind", "tmpfs"]) == 1
    out = capsys.readouterr().out
    assert in_order(out, ["lost  /shm/ram0", "VM status: running", "LOST", "The guest lost"])


def test_the_seed_is_printed(capsys):
    main([*SMALL, "--seed", "77"])
    assert "seed 77," in capsys.readouterr().out


def test_kept_files_are_what_the_host_has_at_the_end(capsys, tmp_path):
    directory = tmp_path / "a b"
    assert main([*SMALL, "--keep", str(directory)]) == 0
    assert str(directory) in capsys.readouterr().out
    files = {path.name for path in directory.rglob("*") if path.is_file()}
    assert {"ram0", "vm.state", "normal.state", "cpr-reboot.state"} <= files
    # What lay in plain tmpfs is gone.
    assert "window-1.log" not in files


def test_an_existing_empty_directory_is_taken(tmp_path):
    assert main([*SMALL, "--json", "--keep", str(tmp_path)]) == 0
    assert (tmp_path / "disk" / "vm.state").stat().st_size < 4096


@pytest.mark.parametrize("make", ["full", "file"])
def test_a_directory_that_is_not_empty_is_refused(make, tmp_path, capsys):
    target = tmp_path / "target"
    if make == "full":
        target.mkdir()
        (target / "mine").write_text("precious")
    else:
        target.write_text("precious")
    assert main([*SMALL, "--keep", str(target)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"migsim: directory {target}: ")
    assert captured.err.count("\n") == 1
    kept = target / "mine" if make == "full" else target
    assert kept.read_text() == "precious"
    assert len(list(tmp_path.rglob("*"))) == (2 if make == "full" else 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--ram", "1k"),
        ("--ram", "5G"),
        ("--ram", "4097k"),
        ("--ram", "much"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--rate", "2e6"),
        ("--seed", "-1"),
        ("--seed", str(1 << 64)),
        ("--ram-kind", "floppy"),
        ("--plot", "picture.gif"),
        ("--plot", "no/such/directory/picture.png"),
    ],
)
def test_a_bad_value_is_one_sentence_and_status_2(option, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "cpr-reboot", option, value]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"migsim: {option.removeprefix('--')}: ")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_ram_is_told_in_the_help(capsys):
    main(["demo", "cpr-reboot", "--help"])
    text = " ".join(capsys.readouterr().out.split()).replace("tmpfs- pkram", "tmpfs-pkram")
    for kind in RamKind:
        assert kind.value in text


def test_defaults_are_those_of_the_scenario():
    options = {name: p.default for name, p in inspect.signature(cpr_reboot).parameters.items()}
    scenario = Scenario()
    assert options["seed"] == scenario.seed
    assert parse_size(options["ram"]) == scenario.ram_bytes
    assert options["rate"] == scenario.rate_pages_per_s
    assert options["ram_kind"] == scenario.ram_kind.value


def test_a_picture_is_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.PNG"
    assert main([*SMALL, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"Picture in {picture}." in capsys.readouterr().out


def test_a_missing_viz_extra_is_told_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    picture, kept = tmp_path / "p.png", tmp_path / "kept"
    assert main([*SMALL, "--plot", str(picture), "--keep", str(kept)]) == 2
    sentence = "migsim: matplotlib is not installed; run: pip install 'migsim[viz]'\n"
    assert capsys.readouterr() == ("", sentence)
    assert list(tmp_path.iterdir()) == []
