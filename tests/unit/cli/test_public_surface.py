"""``import migsim``: about twenty names, numpy, and nothing else outside the standard library."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import migsim
from migsim.extras import EXTRA_MODULES

ROOT = Path(__file__).parents[3]

FOREIGN = """
import sys
before = set(sys.modules)
import migsim
for name in migsim.__all__:
    getattr(migsim, name)
new = {module.split(".")[0] for module in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""


def test_only_numpy_comes_along():
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) == {"migsim", "numpy"}


def test_every_public_name_is_there_and_listed():
    assert migsim.__all__ == sorted(
        migsim.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n)
    )
    assert 15 <= len(migsim.__all__) <= 30
    for name in migsim.__all__:
        value = getattr(migsim, name)
        assert value.__name__ == name
        assert value.__doc__
    assert set(migsim.__all__) <= set(dir(migsim))


def test_every_lazy_name_is_public():
    assert set(migsim._HOME_OF) == set(migsim.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = migsim.nonsense


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert migsim.__version__ == project["version"]


def test_extras_name_the_modules_that_they_bring():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        extra: tuple(line.partition(">")[0] for line in lines)
        for extra, lines in project["optional-dependencies"].items()
        if extra != "all"
    }
    assert declared == EXTRA_MODULES
