"""Capabilities: the table, every rule alone, the order of the rules, and what context changes."""

from __future__ import annotations

import pickle

import pytest

from migsim.errors import CapabilityError, ParameterError, StateError
from migsim.qapi.capabilities import (
    CAPABILITIES,
    CHECKED_IN_STREAM,
    CapabilitySet,
    capabilities_of,
    find,
    rows_of,
)
from migsim.qapi.capability_rules import RULES, CapabilityContext, Need
from migsim.qapi.enums import Capability, MigrationStatus
from migsim.qapi.parameters import MigrationParameters
from migsim.qapi.release import Release
from migsim.qapi.transitions import RUNNING_STATUSES

NAMES = [
    "xbzrle",
    "rdma-pin-all",
    "auto-converge",
    "zero-blocks",
    "events",
    "postcopy-ram",
    "x-colo",
    "release-ram",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "background-snapshot",
    "zero-copy-send",
    "postcopy-preempt",
    "switchover-ack",
    "dirty-limit",
    "mapped-ram",
]

RING = CapabilityContext(dirty_ring=True)


def refusal(*names, context=None, release=Release.DEFAULT):
    with pytest.raises(CapabilityError) as refused:
        CapabilitySet.of(*names, context=context, release=release)
    return refused.value.name, refused.value.conflict


def test_query_lists_22_in_qemus_order():
    capabilities = CapabilitySet()
    assert [entry["capability"] for entry in capabilities.query()] == NAMES
    assert not any(entry["state"] for entry in capabilities.query())
    assert CapabilitySet.of("events").hmp_lines()[4:6] == ["events: on", "postcopy-ram: off"]


def test_every_capability_has_one_row_in_the_order_of_the_enum():
    assert [row.capability for row in CAPABILITIES] == list(Capability)
    assert all(row.doc for row in CAPABILITIES)


def test_capabilities_by_release():
    assert set(capabilities_of(Release.V8_2)) - set(capabilities_of()) == {"block", "compress"}
    assert set(capabilities_of()) - set(capabilities_of(Release.V8_2)) == {"mapped-ram"}
    assert set(capabilities_of()) - set(capabilities_of(Release.V11_1)) == {"zero-blocks"}
    for name in ("block", "compress", "bogus"):
        with pytest.raises(ParameterError) as refused:
            CapabilitySet.of(name)
        assert refused.value.value == name
    assert CapabilitySet.of("block", release=Release.V8_2)


def test_marks():
    assert [row.name for row in rows_of() if row.warns_in(Release.V10_0)] == ["zero-blocks"]
    assert [row.name for row in rows_of() if row.unstable] == ["x-colo", "x-ignore-shared"]
    assert CHECKED_IN_STREAM == (Capability.X_IGNORE_SHARED, Capability.MAPPED_RAM)
    both = CapabilitySet.of("mapped-ram", "events", "x-ignore-shared")
    assert both.in_stream == CHECKED_IN_STREAM
    assert find("mapped-ram").global_name == "mapped-ram"


def test_it_is_a_set():
    capabilities = CapabilitySet.of("events", "mapped-ram")
    assert capabilities == {Capability.EVENTS, Capability.MAPPED_RAM} == capabilities.enabled
    assert "events" in capabilities
    assert Capability.MULTIFD not in capabilities
    assert len(capabilities) == 2
    assert list(capabilities) == [Capability.EVENTS, Capability.MAPPED_RAM]
    assert capabilities - {Capability.EVENTS} == {"mapped-ram"}
    assert hash(capabilities) == hash(CapabilitySet.of("mapped-ram", "events"))
    assert repr(capabilities) == "CapabilitySet(10.0, events, mapped-ram)"
    assert capabilities.release is Release.DEFAULT
    assert pickle.loads(pickle.dumps(capabilities)) == capabilities


def test_last_entry_of_a_name_wins_and_nothing_is_fine():
    assert not CapabilitySet().updated([("events", True), ("events", False)])
    assert CapabilitySet.of("events").updated([]) == {"events"}


def test_all_or_nothing():
    before = CapabilitySet.of("multifd")
    with pytest.raises(CapabilityError):
        before.updated([("events", True), ("xbzrle", True)])
    assert before == {"multifd"}


@pytest.mark.parametrize("name", NAMES)
def test_each_alone(name):
    needy = {"zero-copy-send": "multifd", "postcopy-preempt": "postcopy-ram"}
    needy |= {"switchover-ack": "return-path", "dirty-limit": "dirty_ring"}
    if name in needy:
        assert refusal(name) == (name, needy[name])
    else:
        assert CapabilitySet.of(name) == {name}
        assert not CapabilitySet.of(name).updated([(name, False)])


PAIRS = [
    *[("postcopy-ram", other) for other in ("x-ignore-shared", "multifd")],
    *[
        ("background-snapshot", other)
        for other in [
            "postcopy-ram",
            "dirty-bitmaps",
            "postcopy-blocktime",
            "late-block-activate",
            "return-path",
            "multifd",
            "pause-before-switchover",
            "auto-converge",
            "release-ram",
            "rdma-pin-all",
            "xbzrle",
            "x-colo",
            "validate-uuid",
            "zero-copy-send",
        ]
    ],
    ("multifd", "xbzrle"),
    ("mapped-ram", "xbzrle"),
    ("mapped-ram", "postcopy-ram"),
    ("dirty-limit", "auto-converge"),
]


def test_pairs_are_refused_exactly_where_qemu_refuses_them():
    exclusive = {frozenset(pair) for pair in PAIRS}
    helped = {"zero-copy-send", "postcopy-preempt", "switchover-ack"}
    for i, one in enumerate(NAMES):
        for other in NAMES[i + 1 :]:
            if frozenset((one, other)) in exclusive:
                assert set(refusal(one, other, context=RING)) == {one, other}
            elif not helped & {one, other}:
                assert CapabilitySet.of(one, other, context=RING) == {one, other}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("postcopy-ram x-ignore-shared multifd", ("postcopy-ram", "x-ignore-shared")),
        ("postcopy-ram multifd background-snapshot", ("postcopy-ram", "multifd")),
        ("postcopy-ram mapped-ram switchover-ack", ("switchover-ack", "return-path")),
        ("postcopy-ram mapped-ram xbzrle", ("mapped-ram", "xbzrle")),
        ("background-snapshot return-path validate-uuid", ("background-snapshot", "return-path")),
        ("background-snapshot multifd xbzrle", ("background-snapshot", "multifd")),
        ("zero-copy-send postcopy-preempt", ("zero-copy-send", "multifd")),
        ("multifd xbzrle zero-copy-send", ("zero-copy-send", "xbzrle")),
        ("postcopy-preempt switchover-ack", ("postcopy-preempt", "postcopy-ram")),
        ("switchover-ack dirty-limit", ("switchover-ack", "return-path")),
        ("dirty-limit auto-converge multifd xbzrle", ("dirty-limit", "auto-converge")),
        ("multifd xbzrle mapped-ram", ("multifd", "xbzrle")),
    ],
)
def test_the_first_broken_rule_is_reported(names, expected):
    assert refusal(*names.split()) == expected


def test_a_needed_capability_cannot_go_alone():
    preempt = CapabilitySet.of("postcopy-ram", "postcopy-preempt")
    with pytest.raises(CapabilityError) as refused:
        preempt.updated([("postcopy-ram", False)])
    assert refused.value.name == "postcopy-preempt"
    assert not preempt.updated([("postcopy-ram", False), ("postcopy-preempt", False)])


@pytest.mark.parametrize("status", sorted(RUNNING_STATUSES))
def test_nothing_changes_while_a_migration_runs(status):
    with pytest.raises(StateError) as refused:
        CapabilitySet().updated([], CapabilityContext(status=status))
    assert refused.value.state == status
    assert "completed" in refused.value.wanted


@pytest.mark.parametrize("status", ["none", "completed", "cancelled", "failed"])
def test_a_migration_that_ended_does_not_matter(status):
    context = CapabilityContext(status=MigrationStatus(status))
    assert CapabilitySet.of("events", context=context)


@pytest.mark.parametrize(
    ("names", "lacking", "conflict"),
    [
        (["x-colo"], {"replication": False}, "replication"),
        (["postcopy-ram"], {"userfaultfd": False, "inmigrate": True}, "userfaultfd"),
        (["background-snapshot"], {"write_tracking": False}, "write_tracking"),
        (["background-snapshot"], {"ram_write_tracking": False}, "ram_write_tracking"),
        (["dirty-limit"], {"dirty_ring": False}, "dirty_ring"),
        (["multifd"], {"incoming_started": True}, "not_listening"),
        (["postcopy-ram", "postcopy-preempt"], {"incoming_started": True}, "not_listening"),
    ],
)
def test_what_host_and_process_must_have(names, lacking, conflict):
    assert CapabilitySet.of(*names, context=RING) == set(names)
    assert refusal(*names, context=CapabilityContext(**lacking)) == (names[-1], conflict)


def test_only_a_target_needs_userfaultfd_for_postcopy():
    assert CapabilitySet.of("postcopy-ram", context=CapabilityContext(userfaultfd=False))


@pytest.mark.parametrize(
    ("changes", "conflict"),
    [({"multifd-compression": "zlib"}, "no_compression"), ({"tls-creds": "x"}, "no_tls")],
)
def test_zero_copy_needs_plain_channels(changes, conflict):
    context = CapabilityContext(parameters=MigrationParameters().updated(changes))
    assert refusal("multifd", "zero-copy-send", context=context) == ("zero-copy-send", conflict)
    assert CapabilitySet.of("multifd", "zero-copy-send")
    assert CapabilitySet.of("mapped-ram", context=context)


def test_what_was_on_before_incoming_started_may_stay_on():
    listening = CapabilityContext(incoming_started=True, inmigrate=True, userfaultfd=False)
    for names in (["multifd"], ["postcopy-ram", "postcopy-preempt"]):
        before = CapabilitySet.of(*names)
        assert before.updated([("events", True)], listening) == {*names, "events"}
        assert before.updated([(names[-1], True)], listening) == set(names)
        off = before.updated([(names[-1], False)], listening)
        with pytest.raises(CapabilityError):
            off.updated([(names[-1], True)], listening)


def test_rules_that_came_and_went():
    assert CapabilitySet.of("postcopy-ram", "multifd", release=Release.V11_1)
    assert refusal("x-colo", release=Release.V11_1) == ("x-colo", "return-path")
    assert CapabilitySet.of("x-colo", "return-path", release=Release.V11_1)
    assert refusal("multifd", "compress", release=Release.V8_2) == ("multifd", "compress")
    assert refusal("background-snapshot", "compress", release=Release.V8_2)


def test_errors_say_what_lifts_them():
    with pytest.raises(CapabilityError, match="xbzrle off") as refused:
        CapabilitySet.of("mapped-ram", "xbzrle")
    assert refused.value.expected == "xbzrle off"
    with pytest.raises(CapabilityError, match="return-path on"):
        CapabilitySet.of("switchover-ack")
    with pytest.raises(CapabilityError, match="dirty-ring-size"):
        CapabilitySet.of("dirty-limit")


def test_globals():
    pairs = [("x-return-path", "on"), ("x-switchover-ack", "yes"), ("mapped-ram", "on")]
    enabled = CapabilitySet().with_globals(pairs)
    assert enabled == {"return-path", "switchover-ack", "mapped-ram"}
    assert not CapabilitySet().with_globals([("x-events", "on"), ("x-events", "off")])
    for pair in (("x-validate-uuid", "on"), ("x-events", "1"), ("x-switchover-ack", "on")):
        with pytest.raises(ParameterError):
            CapabilitySet().with_globals([pair])


def test_each_need_is_used():
    assert {rule.other for rule in RULES if isinstance(rule.other, Need)} == set(Need)
