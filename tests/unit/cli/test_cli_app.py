"""The way into the command line: version, help, wrong use, missing extras, nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import migsim
from migsim.__main__ import main


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def loaded_after(arguments: list[str]) -> set[str]:
    """Return the top-level modules that a command line leaves loaded."""
    code = (
        "import sys; from migsim.__main__ import main; "
        f"main({arguments!r}); print('|', *sorted({{n.split('.')[0] for n in sys.modules}}))"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("|")[2].split())


def test_version_is_printed_without_numpy_and_without_the_extra(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"migsim {migsim.__version__}\n"
    assert not loaded_after(["--version"]) & {"numpy", "typer", "rich", "matplotlib"}


def test_help_is_printed_without_anything_heavy():
    for arguments in (["--help"], ["demo", "cpr-reboot", "--help"]):
        assert not loaded_after(arguments) & {"numpy", "rich", "matplotlib"}


@pytest.mark.parametrize("arguments", [[], ["demo"], ["--help"], ["-h"], ["demo", "-h"]])
def test_help_is_no_error(arguments, capsys):
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: migsim")
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["demo", "nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["demo", "cpr-reboot", "--nonsense"], "--nonsense"),
        (["demo", "cpr-reboot", "--seed", "x"], "--seed"),
        (["demo", "cpr-reboot", "--rate"], "--rate"),
        (["demo", "cpr-reboot", "extra"], "extra"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(arguments, word, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"migsim: [^\n]+ \(see migsim --help\)\n", captured.err)
    assert word in captured.err


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_a_missing_cli_extra_is_one_sentence(module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["demo", "cpr-reboot"]) == 2
    sentence = f"migsim: {module} is not installed; run: pip install 'migsim[cli]'\n"
    assert capsys.readouterr().err == sentence


def test_a_missing_cli_extra_is_told_by_the_module_too():
    code = "import sys; sys.modules['typer'] = None; sys.argv[1:] = ['demo']; "
    done = run_python(code + "import runpy; runpy.run_module('migsim', run_name='__main__')")
    assert done.returncode == 2
    assert done.stderr == "migsim: typer is not installed; run: pip install 'migsim[cli]'\n"


def test_an_interrupt_ends_quietly(monkeypatch, capsys):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("migsim.demo.walk_cpr_reboot", interrupted)
    assert main(["demo", "cpr-reboot"]) == 130
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_one_sentence(monkeypatch, capsys):
    def full(*_args):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("migsim.demo.walk_cpr_reboot", full)
    assert main(["demo", "cpr-reboot"]) == 2
    assert capsys.readouterr().err == "migsim: [Errno 28] No space left on device: 'somewhere'\n"


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m migsim demo cpr-reboot --ram 1M --json | head -n 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""
