"""Run notebooks from their text form and write them with outputs, the same for the same code.

Usage: python tools/run_notebooks.py notebooks/NAME.py...
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient


def run(path: Path) -> None:
    """Execute the notebook of the text form ``path`` and write it beside it."""
    notebook = jupytext.read(path)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = {}
    nbformat.write(notebook, path.with_suffix(".ipynb"), version=4)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
