"""The front-end plays recorded scenarios; the transcripts are those of the real program."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
DIFFERENCES = {
    release: json.loads((HERE / f"differences-{release}.json").read_text())
    for release in ("10.0", "11.1")
}
"""Scenarios with another outcome, and why: ``docs/differences.md`` in short."""


def _load_forked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("forked_programs", HERE / "forked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


forked = _load_forked()
kit = forked.load_kit()
ALL = {
    release: {s["_rel"].removesuffix(".json"): s for s in forked.scenarios(kit, "", release, set())}
    for release in DIFFERENCES
}
SHOWN = [
    ("10.0", name)
    for name in ALL["10.0"]
    if name.split("/")[0] in ("02-protocol", "06-blockers", "08-events", "17-hmp")
]
SHOWN += [("11.1", name) for name in ALL["11.1"] if name.startswith("08-events")]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The kit does not close every socket with which it looks whether somebody listens."""


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    forked.warm_up()


@pytest.mark.parametrize(("release", "name"), SHOWN)
def test_scenario(release: str, name: str) -> None:
    if name in DIFFERENCES[release]:
        pytest.skip(DIFFERENCES[release][name])
    assert not forked.differences(kit, ALL[release][name], release)


@pytest.mark.parametrize("release", DIFFERENCES)
def test_differences_name_scenarios(release: str) -> None:
    assert set(DIFFERENCES[release]) <= set(ALL[release])
