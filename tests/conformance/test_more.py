"""The front-end plays scenarios of our own; the transcripts are those of QEMU 10.0.2."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _load_forked() -> ModuleType:
    path = Path(__file__).with_name("forked.py")
    spec = importlib.util.spec_from_file_location("forked_programs_more", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


forked = _load_forked()
kit = forked.load_kit()
GOLDEN = forked.MORE / "golden"
_found = forked.scenarios(kit, "", "10.0", set(), folder=forked.MORE, golden=GOLDEN)
SCENARIOS = {s["name"]: s for s in _found}

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The kit does not close every socket with which it looks whether somebody listens."""


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    forked.warm_up()


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    assert not forked.differences(kit, SCENARIOS[name], "10.0", golden=GOLDEN)


def test_every_scenario_has_a_transcript() -> None:
    found = {
        p.relative_to(GOLDEN.parent / "scenarios") for p in GOLDEN.parent.rglob("scenarios/*/*")
    }
    assert found == {p.relative_to(GOLDEN) for p in GOLDEN.rglob("*.json")}
    assert len(SCENARIOS) == len(found) > 30
