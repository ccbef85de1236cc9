"""Words of a human monitor line: bare ones, and quoted ones that may hold spaces."""

from __future__ import annotations

import pytest

from migsim.machine.config import MachineConfig
from migsim.vm import VM

USAGE = 'Try "help migrate" for more information'


@pytest.fixture
def vm():
    with VM(MachineConfig()) as vm:
        yield vm


def test_a_quoted_word_may_hold_spaces_and_escapes(vm, tmp_path):
    path = tmp_path / 'a "b" c'
    escaped = str(path).replace('"', '\\"')
    assert vm.hmp(f'migrate -d "file:{escaped}"') == ""
    vm.run_until(lambda: not vm.source.running)
    assert path.stat().st_size > 0


def test_words_are_cut_at_any_space(vm):
    assert vm.hmp("  migrate_set_parameter \t mode   cpr-reboot  ") == ""
    assert vm.parameters.mode.value == "cpr-reboot"
    # A closing quote ends the word, as in QEMU 10.0.2.
    assert vm.hmp('migrate_set_parameter "mode"normal') == ""
    assert vm.parameters.mode.value == "normal"


@pytest.mark.parametrize("word", ['"file:/x', '"', '"a\\qb"', '"\\"'])
def test_half_a_quoted_word_is_refused(vm, word):
    assert vm.hmp(f"migrate -d {word}").splitlines() == ["migrate: string expected", USAGE]
    assert vm.source.run is None


def test_a_quote_inside_a_bare_word_is_part_of_it(vm):
    assert vm.hmp('migrate_set_parameter mode cpr-"reboot"').startswith("Error: ")
