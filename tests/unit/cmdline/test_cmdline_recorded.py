"""Whether a command line starts a machine, against what QEMU 10.0.2 did with the same words."""

from __future__ import annotations

import shlex

import pytest
from cmdlines import furnish, recorded, started

from migsim.cmdline.parse import parse
from migsim.errors import MigsimError

LINES = recorded()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines")
    furnish(path)
    return path


@pytest.mark.parametrize(("status", "text"), LINES, ids=[text[:60] for _, text in LINES])
def test_the_machine_starts_where_it_did(status, text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert start(text) == status


def start(text: str) -> int:
    """Return the exit status with which a start by these words ends."""
    try:
        if parse(shlex.split(text)).info is not None:
            return 0
        with started(text) as vm:
            return 0 if vm.exited is None else vm.exited.status
    except MigsimError:
        return 1


def test_there_are_enough_of_both():
    statuses = [status for status, _ in LINES]
    assert statuses.count(0) > 250
    assert statuses.count(1) > 400
