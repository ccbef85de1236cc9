"""Every command in the documentation does what the page says."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from migsim.__main__ import main

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT, Folder, Python, matches, pages, rewritten, steps


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_print_what_the_page_shows(page, tmp_path):
    text = page.read_text()
    folder = Folder(text, tmp_path, main)
    done = 0
    for step in steps(text):
        printed = folder.run(step)
        if not isinstance(step, Python) or step.shown is not None:
            there = matches(step.shown, printed)
            assert there, f"line {step.line} prints:\n" + "\n".join(printed)
        done += 1
    folder.finish()
    assert done


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"https?:", link):
            assert (page.parent / link).exists(), link


def test_the_runner_sees_what_is_wrong(tmp_path):
    def page(*lines):
        return "\n".join(("```console", *lines, "```", ""))

    def run(text):
        folder = Folder(text, tmp_path, main)
        for step in steps(text):
            if not matches(step.shown or [], folder.run(step)):
                return "other"
        folder.finish()
        return "same"

    assert run(page("$ echo a; echo b", "a", "b")) == "same"
    assert run(page("$ echo a; echo b; echo c", "...", "c")) == "same"
    assert run(page("$ echo abcd", "a...d")) == "same"
    assert run(page("$ echo a; echo b", "a")) == "other"
    assert run(page("$ echo a", "a", "b")) == "other"
    assert run(page("$ false", "$ echo $?", "1")) == "same"
    assert run(page("$ migsim stream info nothing", "migsim: ...", "$ echo $?", "2")) == "same"
    with pytest.raises(AssertionError, match="status 1"):
        run(page("$ false"))
    with pytest.raises(AssertionError, match="status 1"):
        run(page("$ false", "$ true"))
    with pytest.raises(AssertionError, match="without a command"):
        run(page("a"))
    text = page("$ echo a \\", "    b", "old", "$ echo c", "c")
    assert rewritten(text, tmp_path, main) == page("$ echo a \\", "    b", "a b", "$ echo c", "c")


def test_the_picture_of_a_state_file_is_the_one_that_its_rows_give():
    made = runpy.run_path(str(ROOT / "docs" / "figures" / "state_file.py"))
    assert made["TARGET"].read_text() == made["picture"]()
