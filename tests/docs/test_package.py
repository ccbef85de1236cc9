"""What is built for others: the wheel holds everything, and runs without extras."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import migsim

ROOT = Path(__file__).parents[2]
pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    assert migsim.__version__ in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(unpacked):
    package = ROOT / "migsim"
    wanted = {
        path.relative_to(ROOT)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    missing = {path for path in wanted if not (unpacked / path).exists()}
    assert not missing
    assert not (unpacked / "tests").exists()


@pytest.mark.slow
def test_it_runs_without_extras(unpacked, tmp_path):
    """Only numpy is there besides the standard library, and the wheel."""
    numpy = Path(__import__("numpy").__file__).parents[1]
    for entry in numpy.iterdir():
        if entry.name.split(".")[0].split("-")[0] in ("numpy", "numpy.libs"):
            (tmp_path / entry.name).symlink_to(entry)
    env = {**os.environ, "PYTHONPATH": f"{unpacked}:{tmp_path}"}

    def run(*words):
        return subprocess.run(
            [sys.executable, "-S", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    code = "from migsim import VM, MachineConfig; VM(MachineConfig()).save('file:vm.state')"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vm.state").read_bytes().startswith(b"QEVM")
    assert run("-m", "migsim", "--version").stdout == f"migsim {migsim.__version__}\n"
    done = run("-m", "migsim", "doctor")
    assert done.returncode == 2
    assert "pip install" in done.stderr
    assert "cli" in done.stderr
