"""How the documentation is built: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "tools"))

import docs_pages  # noqa: E402 - found by the line above

import migsim  # noqa: E402

project = "migsim"
copyright = "the migsim authors"
release = version = migsim.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist", "html_image"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"migsim {release}"
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures in docstrings say units; annotations are a click away
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "set"}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_attr_annotations = False
# Short names in docstrings may mean several things; those that must be right are spelled out.
suppress_warnings = ["myst.xref_missing", "ref.python"]

docs_pages.write(HERE / "reference")
