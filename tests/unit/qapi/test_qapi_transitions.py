"""State machines: the rows say what the specification says, and nothing is left out."""

from __future__ import annotations

from itertools import pairwise

import pytest

from migsim.errors import TransitionError
from migsim.qapi.enums import MigrationStatus, RunState, statuses_of
from migsim.qapi.release import Release
from migsim.qapi.transitions import (
    IDLE_STATUSES,
    INCOMING_TRANSITIONS,
    LIVE_STATES,
    OUTGOING_TRANSITIONS,
    POSTCOPY_STATUSES,
    RUNNING_STATUSES,
    RUNSTATE_TRANSITIONS,
    SINCE_9_0,
    check_incoming,
    check_outgoing,
    check_runstate,
    incoming_allows,
    info_status,
    outgoing_allows,
    runstate_allows,
)

RELEASES = [Release.V8_2, Release.V10_0, Release.V11_1]
S = MigrationStatus


def walk(allows, path, release=Release.DEFAULT):
    statuses = [S(name) for name in path.split()]
    return all(allows(a, b, release) for a, b in pairwise(statuses))


def test_every_run_state_has_a_row():
    assert set(RUNSTATE_TRANSITIONS) == set(RunState)


def test_staying_is_always_legal():
    assert all(runstate_allows(state, state) for state in RunState)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("running", "postmigrate"),
        ("postmigrate", "suspended"),
        ("postmigrate", "paused"),
        ("shutdown", "running"),
        ("prelaunch", "paused"),
    ],
)
def test_changes_that_abort_qemu(old, new):
    assert not runstate_allows(RunState(old), RunState(new))
    with pytest.raises(TransitionError) as refused:
        check_runstate(RunState(old), RunState(new))
    assert refused.value.state == old
    assert old not in refused.value.wanted
    assert new in refused.value.wanted


@pytest.mark.parametrize(
    "path",
    [
        "prelaunch running finish-migrate postmigrate running",
        "paused finish-migrate postmigrate prelaunch finish-migrate",
        "inmigrate suspended paused suspended running suspended finish-migrate suspended",
        "running save-vm running restore-vm running",
    ],
)
def test_usual_lives_of_a_guest(path):
    states = [RunState(name) for name in path.split()]
    for old, new in pairwise(states):
        check_runstate(old, new)


def test_a_suspended_guest_was_not_preserved_before_9_0():
    for old, new in SINCE_9_0:
        assert runstate_allows(old, new)
        assert not runstate_allows(old, new, Release.V8_2)
    assert runstate_allows(RunState.RUNNING, RunState.SUSPENDED, Release.V8_2)


def test_info_status_names_all_but_two_as_paused():
    assert info_status(RunState.RUNNING) == "running"
    assert info_status(RunState.PAUSED) == "paused"
    assert info_status(RunState.GUEST_PANICKED) == "paused (guest-panicked)"
    assert {RunState.RUNNING, RunState.SUSPENDED} == LIVE_STATES


def test_running_and_idle_share_nothing_and_leave_nothing():
    assert set(MigrationStatus) == IDLE_STATUSES | RUNNING_STATUSES
    assert not IDLE_STATUSES & RUNNING_STATUSES
    assert {"none", "cancelled", "completed", "failed"} == IDLE_STATUSES
    assert S.POSTCOPY_PAUSED in POSTCOPY_STATUSES
    assert S.DEVICE not in POSTCOPY_STATUSES


@pytest.mark.parametrize("release", RELEASES, ids=str)
@pytest.mark.parametrize(
    "path",
    [
        "none setup cancelling cancelled setup active cancelling cancelled",
        "failed setup wait-unplug active pre-switchover device completed setup",
        "none setup completed",
        "none setup failed",
        "active completed",
        "postcopy-active postcopy-paused",
        "postcopy-recover postcopy-active completed",
    ],
)
def test_outgoing_paths_of_all_releases(release, path):
    assert walk(outgoing_allows, path, release)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("active device postcopy-active", [False, True, False]),
        ("active postcopy-active", [True, False, False]),
        ("device postcopy-device postcopy-active", [False, False, True]),
        ("active failed", [True, True, False]),
        ("active failing failed", [False, False, True]),
        ("postcopy-paused postcopy-recover-setup postcopy-recover", [False, True, True]),
        ("postcopy-paused postcopy-recover", [True, False, False]),
        ("completed failed", [False, False, True]),
        ("active colo", [True, False, False]),
    ],
)
def test_outgoing_paths_that_came_or_went(path, allowed):
    # 8.2 can reach device and go on from there too, with pause-before-switchover.
    releases = RELEASES[1:] if path.startswith("active device") else RELEASES
    expected = allowed[-len(releases) :]
    assert [walk(outgoing_allows, path, release) for release in releases] == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("none", "active"),
        ("cancelling", "completed"),
        ("completed", "cancelling"),
        ("none", "none"),
    ],
)
def test_outgoing_moves_that_never_happen(old, new):
    assert not outgoing_allows(S(old), S(new))
    with pytest.raises(TransitionError) as refused:
        check_outgoing(S(old), S(new))
    assert refused.value.state == old


def test_incoming_paths():
    assert walk(incoming_allows, "none setup active completed")
    assert walk(incoming_allows, "none setup active failed")
    assert walk(incoming_allows, "active postcopy-active postcopy-paused postcopy-recover")
    assert not walk(incoming_allows, "active postcopy-active", Release.V11_1)
    assert walk(incoming_allows, "active postcopy-device postcopy-active", Release.V11_1)
    check_incoming(S.SETUP, S.ACTIVE)


def test_incoming_never_leaves_failed():
    assert not any(row.old is S.FAILED for row in INCOMING_TRANSITIONS)
    assert {row.new for row in INCOMING_TRANSITIONS if row.old is S.SETUP} == {S.ACTIVE, S.FAILED}
    with pytest.raises(TransitionError, match="incoming"):
        check_incoming(S.FAILED, S.SETUP)


@pytest.mark.parametrize("release", RELEASES, ids=str)
@pytest.mark.parametrize("table", [OUTGOING_TRANSITIONS, INCOMING_TRANSITIONS])
def test_rows_name_only_statuses_of_their_release(release, table):
    known = set(statuses_of(release))
    for row in table:
        if release.has(row.since, row.until):
            assert {row.old, row.new} <= known, row


@pytest.mark.parametrize("release", RELEASES, ids=str)
def test_every_running_status_leads_back_to_an_idle_one(release):
    reach = {s: {s} for s in statuses_of(release)}
    rows = [row for row in OUTGOING_TRANSITIONS if release.has(row.since, row.until)]
    for _ in range(len(reach)):
        for row in rows:
            reach[row.old] |= reach[row.new]
    targets = {row.new for row in rows}
    for status in RUNNING_STATUSES & targets:
        assert reach[status] & IDLE_STATUSES, status
