"""What ``-global migration.`` can set, and what older machine types set."""

from __future__ import annotations

import pytest

from migsim.errors import ParameterError
from migsim.qapi.enums import MigMode, ZeroPageDetection
from migsim.qapi.properties import (
    SWITCHES,
    MigrationProperties,
    StreamSwitches,
    compat_properties,
    property_names,
)
from migsim.qapi.release import Release


def test_names_of_10_0():
    names = property_names()
    assert len(names) == len(set(names)) == 51
    assert {"x-downtime-limit", "mapped-ram", "x-clear-bitmap-shift", "mode"} <= set(names)
    absent = "x-ignore-shared validate-uuid pause-before-switchover late-block-activate direct-io"
    absent += " postcopy-blocktime dirty-bitmaps block-bitmap-mapping max-bandwidth x-compress"
    assert not set(absent.split()) & set(names)
    assert {"x-compress", "x-block", "x-compress-level"} <= set(property_names(Release.V8_2))
    assert "send-switchover-start" not in property_names(Release.V8_2)


def test_nothing_given_is_the_default():
    properties = MigrationProperties.from_globals([])
    assert properties.switches == StreamSwitches()
    assert not properties.capabilities
    assert properties.parameters.mode is MigMode.NORMAL


def test_each_kind_finds_its_place():
    properties = MigrationProperties.from_globals(
        [
            ("store-global-state", "off"),
            ("x-multifd", "on"),
            ("mode", "cpr-reboot"),
            ("x-preempt-pre-7-2", "on"),
        ]
    )
    assert not properties.switches.store_global_state
    assert properties.switches.preempt_pre_7_2
    assert properties.switches.send_configuration
    assert properties.capabilities == {"multifd"}
    assert properties.parameters.mode is MigMode.CPR_REBOOT


@pytest.mark.parametrize(
    ("text", "shift"), [("0", 6), ("6", 6), ("20", 20), ("31", 31), ("99", 31)]
)
def test_chunks_of_the_dirty_log_are_clamped(text, shift):
    properties = MigrationProperties.from_globals([("x-clear-bitmap-shift", text)])
    assert properties.switches.clear_bitmap_shift == shift


@pytest.mark.parametrize(
    "pairs",
    [
        [("bogus", "1")],
        [("x-clear-bitmap-shift", "256")],
        [("store-global-state", "0")],
        [("x-multifd", "on"), ("x-xbzrle", "on")],
        [("max-cpu-throttle", "10")],
        [("x-multifd", "on"), ("x-zero-copy-send", "on"), ("multifd-compression", "zlib")],
    ],
)
def test_what_ends_the_process_at_start(pairs):
    with pytest.raises(ParameterError):
        MigrationProperties.from_globals(pairs)


def test_every_switch_has_its_field():
    assert {row.field for row in SWITCHES} == set(StreamSwitches.__dataclass_fields__)


@pytest.mark.parametrize(
    ("machine", "count"), [("10.0", 0), ("9.2", 2), ("9.0", 2), ("8.2", 3), ("8.0", 4), ("7.1", 5)]
)
def test_older_machine_types_set_more(machine, count):
    pairs = compat_properties(Release.parse(machine))
    assert len(pairs) == count
    MigrationProperties.from_globals(pairs)


def test_an_old_machine_type():
    properties = MigrationProperties.from_globals(compat_properties(Release.V8_2))
    assert not properties.switches.send_switchover_start
    assert not properties.switches.multifd_flush_after_each_section
    assert properties.parameters.zero_page_detection is ZeroPageDetection.LEGACY
    assert compat_properties(Release.parse("8.0"), Release.V8_2) == (
        ("multifd-flush-after-each-section", "on"),
    )
