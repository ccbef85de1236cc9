"""State machines under arbitrary questions: checks and tables never disagree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import TransitionError
from migsim.qapi.enums import MigrationStatus, RunState
from migsim.qapi.release import Release
from migsim.qapi.transitions import (
    IDLE_STATUSES,
    check_incoming,
    check_outgoing,
    check_runstate,
    incoming_allows,
    outgoing_allows,
    runstate_allows,
)

RELEASES = st.builds(Release, st.integers(8, 12), st.integers(0, 2))
STATUSES = st.sampled_from(MigrationStatus)
RUN_STATES = st.sampled_from(RunState)


@given(RUN_STATES, RUN_STATES, RELEASES)
def test_run_states(old, new, release):
    if runstate_allows(old, new, release):
        check_runstate(old, new, release)
    else:
        with pytest.raises(TransitionError) as refused:
            check_runstate(old, new, release)
        assert refused.value.wanted


@given(STATUSES, STATUSES, RELEASES)
def test_statuses(old, new, release):
    for allows, check in ((outgoing_allows, check_outgoing), (incoming_allows, check_incoming)):
        if allows(old, new, release):
            check(old, new, release)
            assert old is not new
        else:
            with pytest.raises(TransitionError):
                check(old, new, release)


@given(STATUSES, RELEASES)
def test_a_migration_begins_only_at_rest(old, release):
    assert outgoing_allows(old, MigrationStatus.SETUP, release) is (old in IDLE_STATUSES)


@given(RELEASES, RELEASES)
def test_order_of_releases_is_that_of_their_numbers(one, other):
    assert (one < other) is ((one.major, one.minor) < (other.major, other.minor))
    assert Release.parse(str(one)) == one
    assert one.has(since=str(other)) is (one >= other)
    assert one.has(until=str(other)) is (one < other)
