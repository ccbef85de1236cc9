"""Parameters and capabilities under arbitrary input: all or nothing, and always well formed."""

from __future__ import annotations

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from migsim.errors import ParameterError
from migsim.qapi.capabilities import CapabilitySet, capabilities_of
from migsim.qapi.capability_rules import RULES, CapabilityContext
from migsim.qapi.parameters import MigrationParameters, parameters_of
from migsim.qapi.release import Release
from migsim.units import parse_size

RELEASES = st.sampled_from([Release.V8_2, Release.V10_0, Release.V11_1])
INTERESTING = st.sampled_from(
    [0, 1, 9, 10, 20, 99, 100, 255, 256, 1000, 4096, 10_000, 100_000, 2_000_000]
    + [sign * (1 << bits) + d for sign in (1, -1) for bits in (32, 63, 64) for d in (-1, 0, 1)]
)
JSON = st.one_of(
    INTERESTING,
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["none", "zlib", "normal", "cpr-reboot", "legacy"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def attempt(function, *args):
    """Return the result and None, or None and the refusal."""
    try:
        return function(*args), None
    except ParameterError as refused:
        return None, refused


def values_of(row, release):
    """Values that a row says it accepts."""
    choices = row.choices(release)
    if choices:
        return st.sampled_from(choices)
    if row.power_of_two:
        exponents = st.integers(row.minimum.bit_length() - 1, row.maximum.bit_length() - 1)
        return exponents.map(lambda n: 1 << n)
    if row.minimum is not None:
        return st.integers(row.minimum, row.maximum)
    if row.type.qmp_type == "list of str":
        return st.lists(st.text(max_size=5), max_size=3)
    return st.text(max_size=5) if row.name.startswith("tls") else st.just([])


@st.composite
def accepted_changes(draw):
    release = draw(RELEASES)
    rows = draw(st.lists(st.sampled_from(parameters_of(release)), unique=True))
    changes = {row.name: draw(values_of(row, release)) for row in rows}
    lowest = changes.get("cpu-throttle-initial", 20)
    assume(lowest <= changes.get("max-cpu-throttle", 99))
    return release, changes


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


@given(
    RELEASES, st.dictionaries(st.sampled_from([r.name for r in parameters_of()]), JSON, max_size=4)
)
def test_any_json_is_applied_completely_or_not_at_all(release, changes):
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
    value = data.draw(values_of(row, Release.DEFAULT))
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
    release = draw(RELEASES)
    names = st.sampled_from([c.value for c in capabilities_of(release)])
    requests = draw(st.lists(st.lists(st.tuples(names, st.booleans()), max_size=6), max_size=5))
    return release, requests


CONTEXTS = st.builds(
    CapabilityContext,
    inmigrate=st.booleans(),
    userfaultfd=st.booleans(),
    write_tracking=st.booleans(),
    dirty_ring=st.booleans(),
)


@given(capability_changes(), CONTEXTS)
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


@given(capability_changes(), CONTEXTS)
def test_switching_all_off_is_always_possible(case, context):
    release, requests = case
    capabilities = CapabilitySet(release)
    for request in requests:
        after, error = attempt(capabilities.updated, request)
        capabilities = capabilities if error else after
    off = [(name.value, False) for name in capabilities_of(release)]
    assert not capabilities.updated(off, context)
