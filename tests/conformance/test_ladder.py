"""The ladder of outside cases: migsim on both sides, and beside a real QEMU."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from conformance.ladder.levels import CASES
from conformance.ladder.play import DEFAULT, play_in, setting_of
from conformance.ladder.program import FORKED, find_program, probe

QEMU = "qemu-system-x86_64"
EXPECTED: dict[str, str] = {}
"""Cases that fail with migsim on both sides, and what is missing."""
LIVE = (
    # What a look at the other side's stream is worth: a guest that goes on, one that does not.
    ("precopy/file", QEMU, FORKED),
    ("precopy/unix/plain", QEMU, FORKED),
    ("precopy/file/mapped-ram/live", QEMU, FORKED),
    ("precopy/file", FORKED, QEMU),
    ("precopy/unix/plain", FORKED, QEMU),
    ("validate_uuid", FORKED, QEMU),
    ("cancel/src/after/none", FORKED, QEMU),
)


@pytest.fixture
def short_folder():
    with tempfile.TemporaryDirectory(prefix="ladder") as folder:
        yield Path(folder)


def test_the_ladder_is_complete():
    levels = [case.level for case in CASES.values()]
    assert [levels.count(level) for level in (1, 2, 3, 4)] == [5, 14, 9, 17]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.slow])
def test_own_to_own(name, short_folder, request):
    if name in EXPECTED:
        request.applymarker(pytest.mark.xfail(reason=EXPECTED[name]))
    play_in(CASES[name], setting_of(FORKED, FORKED, short_folder, thorough=False))


def test_as_the_outside_client_launches_it(short_folder):
    """Shell command, probes, and one request after the other in the final sweep."""
    play_in(CASES["precopy/file"], setting_of(DEFAULT, DEFAULT, short_folder, thorough=True))


def test_probes(short_folder):
    program = find_program(DEFAULT)
    accelerators = probe(
        program, short_folder, "qom-list-types", implements="accel", abstract=False
    )
    assert {"name": "tcg-accel", "parent": "accel"} in accelerators
    machines = probe(program, short_folder, "query-machines")
    [machine] = [machine for machine in machines if machine.get("alias") == "q35"]
    assert machine["name"] == "pc-q35-10.0"


@pytest.mark.live
@pytest.mark.skipif(shutil.which(QEMU) is None, reason="no QEMU here")
@pytest.mark.parametrize(("name", "source", "target"), LIVE)
def test_beside_qemu(name, source, target, short_folder):
    play_in(CASES[name], setting_of(source, target, short_folder, thorough=False))
