"""Releases, modes, parameters and capabilities, drawn from the rows of their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from hypothesis import strategies as st

from ...qapi.capabilities import CapabilitySet, capabilities_of
from ...qapi.capability_rules import RULES, CapabilityContext, Rule, RuleKind
from ...qapi.enums import Capability, MigMode, modes_of
from ...qapi.parameters import parameters_of
from ...qapi.release import Release
from ...qapi.values import Text, TextList, Unsigned

if TYPE_CHECKING:
    from ...qapi.parameter import Parameter

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_KNOWN: Final = (Release.V10_0, Release.V8_2, Release.V11_1)
_WIDTHS: Final = (8, 32, 63, 64)


def releases(*among: Release) -> st.SearchStrategy[Release]:
    """Return the releases that all tables know, or those given; shrinks to the first: 10.0."""
    return st.sampled_from(among or _KNOWN)


def modes(release: Release = Release.DEFAULT) -> st.SearchStrategy[MigMode]:
    """Return the modes that ``release`` takes as a parameter; shrinks to ``normal``."""
    return st.sampled_from(modes_of(release))


def edges(row: Parameter[object]) -> st.SearchStrategy[int]:
    """Return whole numbers at and next to everything that is special about a numeric ``row``.

    Legal ones and others: the ends of its range, its default, powers of two where the type ends or
    wraps.  Use `parameter_values` for legal ones alone.
    """
    assert isinstance(row.type, Unsigned)
    middles = {row.type.minimum, row.type.maximum, cast("int", row.default), row.hmp_limit}
    middles |= {sign * (1 << bits) for bits in _WIDTHS for sign in (1, -1)}
    around = {middle + step for middle in middles for step in (-1, 0, 1)}
    return st.sampled_from(sorted(around, key=lambda n: (abs(n), n < 0)))


def parameter_values(
    row: Parameter[object], release: Release = Release.DEFAULT
) -> st.SearchStrategy[object]:
    """Return values that the ``row`` promises to take in ``release``, as QMP has them."""
    if choices := row.choices(release):
        return st.sampled_from(choices)
    if isinstance(row.type, Unsigned):
        return _numbers(row.type, cast("int", row.default))
    if isinstance(row.type, TextList):
        return st.lists(st.text(max_size=5), max_size=3)
    if isinstance(row.type, Text):
        return st.text(max_size=5)
    return st.just([])  # a mapping: its own table has the rules


def _numbers(kind: Unsigned, default: int) -> st.SearchStrategy[int]:
    low, high = kind.minimum, kind.maximum
    if kind.power_of_two:
        exponents = st.integers(low.bit_length() - 1, high.bit_length() - 1)
        return exponents.map(lambda exponent: 1 << exponent)
    special = [n for n in (default, low, low + 1, high - 1, high) if low <= n <= high]
    return st.sampled_from(special) | st.integers(low, high)


@st.composite
def parameter_changes(
    draw: st.DrawFn, release: Release = Release.DEFAULT, *, most: int | None = None
) -> dict[str, object]:
    """Return changes that are accepted together by a process at its defaults; maybe none."""
    rows = st.sampled_from(parameters_of(release))
    chosen = draw(st.lists(rows, unique_by=lambda row: row.name, max_size=most))
    changes = {row.name: draw(parameter_values(row, release)) for row in chosen}
    # The one rule about two parameters: throttling begins below its end.
    first = cast("int", changes.get("cpu-throttle-initial", 20))
    if first > cast("int", changes.get("max-cpu-throttle", 99)):
        changes["max-cpu-throttle"] = 99
    return changes


def any_json() -> st.SearchStrategy[Json]:
    """Return JSON of every kind, as decoded."""
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    )
    return st.recursive(
        cast("st.SearchStrategy[Json]", leaves),
        lambda inner: cast(
            "st.SearchStrategy[Json]",
            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        ),
        max_leaves=3,
    )


@st.composite
def any_parameter_changes(
    draw: st.DrawFn, release: Release = Release.DEFAULT, *, most: int = 4
) -> dict[str, object]:
    """Return changes of which some may be refused: legal values, edges, values of other kinds."""
    rows = st.sampled_from(parameters_of(release))
    changes: dict[str, object] = {}
    for row in draw(st.lists(rows, unique_by=lambda row: row.name, min_size=1, max_size=most)):
        values: st.SearchStrategy[object] = parameter_values(row, release) | any_json()
        if isinstance(row.type, Unsigned):
            values = edges(row) | values
        changes[row.name] = draw(values)
    return changes


def capability_contexts() -> st.SearchStrategy[CapabilityContext]:
    """Return circumstances under which capabilities are set, of a process that migrates nothing."""
    return st.builds(
        CapabilityContext,
        inmigrate=st.booleans(),
        userfaultfd=st.booleans(),
        write_tracking=st.booleans(),
        dirty_ring=st.booleans(),
    )


@st.composite
def capability_requests(
    draw: st.DrawFn, release: Release = Release.DEFAULT, *, most: int = 6
) -> list[tuple[str, bool]]:
    """Return one request to switch capabilities, legal or not, a name more than once too."""
    names = st.sampled_from([capability.value for capability in capabilities_of(release)])
    return draw(st.lists(st.tuples(names, st.booleans()), max_size=most))


@st.composite
def capability_sets(draw: st.DrawFn, release: Release = Release.DEFAULT) -> CapabilitySet:
    """Return a set that the rules allow in a process at rest; shrinks to the empty one."""
    chosen = draw(st.sets(st.sampled_from(capabilities_of(release))))
    while broken := _broken(frozenset(chosen), release):
        chosen.discard(broken.capability)
    return CapabilitySet.of(*(capability.value for capability in chosen), release=release)


@st.composite
def illegal_capability_sets(
    draw: st.DrawFn, release: Release = Release.DEFAULT
) -> frozenset[Capability]:
    """Return a set that breaks at least one rule in every process, built from that rule."""
    here = frozenset(capabilities_of(release))
    rules = [
        rule
        for rule in RULES
        if isinstance(rule.other, Capability) and {rule.capability, rule.other} <= here
        if release.has(rule.since, rule.until)
    ]
    rule = draw(st.sampled_from(rules))
    assert isinstance(rule.other, Capability)
    chosen = draw(st.sets(st.sampled_from(sorted(here)), max_size=4)) | {rule.capability}
    return frozenset(
        chosen | {rule.other} if rule.kind is RuleKind.EXCLUDES else chosen - {rule.other}
    )


def _broken(chosen: frozenset[Capability], release: Release) -> Rule | None:
    """Return the first rule that ``chosen``, set over nothing, breaks in a process at rest."""
    context = CapabilityContext()
    for rule in RULES:
        if release.has(rule.since, rule.until) and rule.is_broken(chosen, frozenset(), context):
            return rule
    return None
