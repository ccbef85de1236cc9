"""Parameters and capabilities under arbitrary input: all or nothing, and always well formed."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migsim.errors import CapabilityError, ParameterError
from migsim.qapi.capabilities import CapabilitySet, capabilities_of
from migsim.qapi.capability_rules import RULES
from migsim.qapi.parameters import MigrationParameters, parameters_of
from migsim.qapi.release import Release
from migsim.testing.strategies import (
    any_parameter_changes,
    capability_contexts,
    capability_requests,
    capability_sets,
    illegal_capability_sets,
    parameter_changes,
    parameter_values,
    releases,
)
from migsim.units import parse_size


def attempt(function, *args):
    """Return the result and None, or None and the refusal."""
    try:
        return function(*args), None
    except ParameterError as refused:
        return None, refused


@st.composite
def accepted_changes(draw):
    release = draw(releases())
    return release, draw(parameter_changes(release))


@st.composite
def any_changes(draw):
    release = draw(releases())
    return release, draw(any_parameter_changes(release))


@given(accepted_changes())
def test_what_rows_promise_is_accepted_and_comes_back(case):
    release, changes = case
    before = MigrationParameters(release)
    after = before.updated(changes)
    assert after.query() == {**before.query(), **changes}
    assert after.updated({}) == after
    assert after.updated(after.query()) == after
    assert json.loads(json.dumps(after.query())) == after.query()
    assert before == MigrationParameters(release)


@given(accepted_changes())
def test_the_monitor_prints_one_line_each(case):
    release, changes = case
    changes.pop("block-bitmap-mapping", None)
    parameters = MigrationParameters(release).updated(changes)
    shown = [row.name for row in parameters.rows() if row.hmp_shown]
    lines = parameters.hmp_lines()
    assert [line.partition(":")[0] for line in lines] == [
        name for name in shown if name != "block-bitmap-mapping"
    ]


@given(any_changes())
def test_any_json_is_applied_completely_or_not_at_all(case):
    release, changes = case
    before = MigrationParameters(release)
    after, error = attempt(before.updated, changes)
    if error:
        assert error.name.partition("[")[0] in [*changes, "max-cpu-throttle"]
        assert error.expected
        assert before == MigrationParameters(release)
        return
    for row in after.rows():
        row.check_range(after.get(row.name), release)
    untouched = {k: v for k, v in before.query().items() if k not in changes}
    assert {k: v for k, v in after.query().items() if k not in changes} == untouched


@given(st.sampled_from(parameters_of()), st.text(max_size=12) | st.integers().map(str))
def test_any_text_is_a_value_of_the_type_or_refused(row, text):
    parameters = MigrationParameters()
    value, error = attempt(parameters.parse_hmp, row.name, text)
    if error:
        assert error.name == row.name
        return
    accepted = row.accept(value, Release.DEFAULT)
    assert row.type.to_json(accepted) == value


@given(st.sampled_from(parameters_of()), st.data())
def test_printed_values_can_be_typed_in_again(row, data):
    value = data.draw(parameter_values(row))
    if row.name == "block-bitmap-mapping" or (isinstance(value, str) and row.name[:3] == "tls"):
        return
    text = row.type.show(row.accept(value, Release.DEFAULT))
    assume(not (row.minimum is not None and value >= row.hmp_limit))
    suffix = "b" if row.hmp_multiplier else ""
    assert row.parse_hmp(text + suffix) == value


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(["", "b", "k", "K", "m", "M", "g", "G", "t"]))
def test_sizes_are_exact(number, suffix):
    unit = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[suffix.lower()]
    try:
        assert parse_size(f"{number}{suffix}") == number * unit
    except ParameterError:
        assert number * unit >= 1 << 64


@given(st.integers(0, 1 << 30), st.integers(0, 10**9 - 1))
def test_fractions_are_rounded_to_the_nearest_byte(whole, billionths):
    exact = (whole * 10**9 + billionths) << 20
    assert abs(parse_size(f"{whole}.{billionths:09}M") * 10**9 - exact) * 2 <= 10**9


@st.composite
def capability_changes(draw):
    release = draw(releases())
    return release, draw(st.lists(capability_requests(release), max_size=5))


@given(capability_changes(), capability_contexts())
def test_no_sequence_of_requests_leads_to_a_forbidden_set(case, context):
    release, requests = case
    capabilities = CapabilitySet(release)
    for request in requests:
        wanted = {c.value for c in capabilities}
        for name, state in request:
            (wanted.add if state else wanted.discard)(name)
        after, error = attempt(capabilities.updated, request, context)
        if error:
            assert error.name in wanted
            continue
        assert after == wanted
        for rule in RULES:
            if release.has(rule.since, rule.until):
                assert not rule.is_broken(after, capabilities, context)
        states = {entry["capability"]: entry["state"] for entry in after.query()}
        assert {name for name, state in states.items() if state} == wanted
        capabilities = after


@given(capability_changes(), capability_contexts())
def test_switching_all_off_is_always_possible(case, context):
    release, requests = case
    capabilities = CapabilitySet(release)
    for request in requests:
        after, error = attempt(capabilities.updated, request)
        capabilities = capabilities if error else after
    off = [(name.value, False) for name in capabilities_of(release)]
    assert not capabilities.updated(off, context)


@st.composite
def legal_sets(draw):
    release = draw(releases())
    return release, draw(capability_sets(release))


@st.composite
def illegal_sets(draw):
    release = draw(releases())
    return release, draw(illegal_capability_sets(release))


@given(legal_sets())
def test_a_legal_set_can_be_asked_for_at_once(case):
    release, capabilities = case
    request = [(capability.value, True) for capability in capabilities]
    assert CapabilitySet(release).updated(request) == capabilities


@given(illegal_sets(), capability_contexts())
def test_an_illegal_set_is_refused_whole(case, context):
    release, capabilities = case
    request = [(capability.value, True) for capability in capabilities]
    before = CapabilitySet(release)
    with pytest.raises(CapabilityError):
        before.updated(request, context)
    assert not before
