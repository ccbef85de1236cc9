"""The README is true: its example runs, its excerpt is what the demo prints, its links lead."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from migsim.__main__ import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
(EXAMPLE,) = (code for language, code in BLOCKS if language == "python")
OUTPUT, EXCERPT = (
    block
    for language, block in BLOCKS
    if not language and block.startswith(("VM status", "   2.0000 s"))
)


def run_example() -> str:
    """Run the example in the current directory; return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(EXAMPLE, "README.md", "exec"), {})
    return printed.getvalue()


def test_the_example_prints_what_the_readme_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_example().splitlines() == OUTPUT.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["vm.state"]


def test_the_example_has_five_lines():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) == 5


def test_the_excerpt_is_what_the_demo_prints(capsys):
    assert main(["demo", "cpr-reboot"]) == 0
    printed = iter(line.rstrip() for line in capsys.readouterr().out.splitlines())
    for line in EXCERPT.splitlines():
        if line.strip() not in ("", "..."):
            assert line in printed, f"not printed, or not in this order: {line}"


def test_every_option_and_target_exists(capsys):
    main(["demo", "cpr-reboot", "--help"])
    help_text = capsys.readouterr().out
    options = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert options >= {"--json", "--keep", "--plot", "--seed", "--ram-kind"}
    for option in options:
        assert option in help_text
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
