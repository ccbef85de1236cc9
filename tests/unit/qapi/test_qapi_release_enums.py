"""Releases compare by age, and enums know what each of them has."""

from __future__ import annotations

import pytest

from migsim.errors import ParameterError
from migsim.qapi.enums import (
    MODE_SINCE,
    Capability,
    MigMode,
    MigrationStatus,
    RunState,
    modes_of,
    spellings,
    statuses_of,
)
from migsim.qapi.release import Release


@pytest.mark.parametrize(
    ("text", "release"),
    [("8.2", Release.V8_2), ("10.0", Release.V10_0), ("10.0.2", Release.V10_0)],
)
def test_parse_ignores_the_stable_number(text, release):
    assert Release.parse(text) == release


@pytest.mark.parametrize("text", ["", "10", "10.", "a.b", "10.0.2.1", "-1.0", " 10.0", "v10.0"])
def test_parse_refuses_what_is_no_release(text):
    with pytest.raises(ParameterError) as refused:
        Release.parse(text)
    assert refused.value.value == text


def test_order_is_numeric_and_not_alphabetic():
    assert Release.parse("9.2") < Release.parse("10.0") < Release.parse("10.1")
    assert str(Release.DEFAULT) == "10.0"


def test_since_is_inclusive_and_until_exclusive():
    release = Release.V10_0
    assert release.has()
    assert release.has(since="10.0")
    assert not release.has(since="10.1")
    assert release.has(until="10.1")
    assert not release.has(until="10.0")
    assert not release.has(since="8.2", until="9.1")


def test_modes_arrive_one_by_one():
    assert [len(modes_of(r)) for r in (Release.V8_2, Release.V10_0, Release.V11_1)] == [2, 3, 4]
    assert set(MODE_SINCE) == set(MigMode)


def test_what_modes_mean():
    assert [m for m in MigMode if not m.is_cpr] == [MigMode.NORMAL]
    assert [m for m in MigMode if m.keeps_ram] == [MigMode.CPR_TRANSFER, MigMode.CPR_EXEC]


def test_statuses_by_release():
    assert MigrationStatus.FAILING not in statuses_of()
    assert MigrationStatus.POSTCOPY_RECOVER_SETUP not in statuses_of(Release.V8_2)
    assert set(statuses_of(Release.V11_1)) == set(MigrationStatus)
    assert len(statuses_of()) == 15


def test_members_are_their_qmp_spelling():
    assert RunState("finish-migrate") is RunState.FINISH_MIGRATE
    assert Capability.X_IGNORE_SHARED == "x-ignore-shared"
    assert f"{MigrationStatus.PRE_SWITCHOVER}" == "pre-switchover"


def test_spellings_reads_as_a_sentence():
    assert spellings([MigMode.NORMAL]) == "normal"
    assert spellings(modes_of()) == "normal, cpr-reboot or cpr-transfer"
