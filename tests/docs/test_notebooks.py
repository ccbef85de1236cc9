"""The notebooks: paired with their text form, short cells, outputs in place, solutions that run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
TEXTS = sorted(FOLDER.glob("*.py"))
LINES_AT_MOST = 15
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)

pytest.importorskip("matplotlib")


def cells_of(path):
    """Return (is markdown, source) of each cell of a text form."""
    parts = re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        head, _, body = part.partition("\n")
        markdown = head.strip() == "[markdown]"
        if markdown:
            body = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.split("\n"))
        found.append((markdown, body.strip("\n")))
    return found


@pytest.fixture(autouse=True)
def no_windows(monkeypatch, tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)


def test_there_are_notebooks():
    assert [path.name[0] for path in TEXTS] == list("123456")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_no_cell_is_long(path):
    for markdown, source in cells_of(path):
        assert markdown or len(source.splitlines()) <= LINES_AT_MOST, source


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_the_notebook_is_that_of_the_text_and_has_its_outputs(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text())
    cells = [
        (cell["cell_type"] == "markdown", "".join(cell["source"])) for cell in notebook["cells"]
    ]
    assert cells == cells_of(path), "run make notebooks"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    numbers = [cell["execution_count"] for cell in code]
    assert numbers == list(range(1, len(code) + 1)), "run make notebooks"
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    assert kinds & {"display_data", "execute_result"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_cell_and_every_solution_runs(path):
    import matplotlib.pyplot as plt

    names: dict[str, object] = {}
    solutions = 0
    for markdown, source in cells_of(path):
        for code in FENCED.findall(source) if markdown else [source]:
            exec(compile(code, f"{path.name}", "exec"), names)
            solutions += markdown
    plt.close("all")
    assert solutions >= 2
