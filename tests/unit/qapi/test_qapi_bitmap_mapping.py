"""``block-bitmap-mapping``: absent, empty, and every limit."""

from __future__ import annotations

import pytest

from migsim.errors import ParameterError
from migsim.qapi.parameters import MigrationParameters

NAME = "block-bitmap-mapping"


def node(name, alias, *bitmaps):
    return {"node-name": name, "alias": alias, "bitmaps": list(bitmaps)}


def bitmap(name, alias, **members):
    return {"name": name, "alias": alias, **members}


def test_absent_and_empty_differ():
    parameters = MigrationParameters()
    assert parameters.block_bitmap_mapping is None
    assert NAME not in parameters.query()
    empty = parameters.updated({NAME: []})
    assert empty.block_bitmap_mapping == ()
    assert empty.query()[NAME] == []
    assert f"{NAME}:" in empty.hmp_lines()
    assert not any(line.startswith(NAME) for line in parameters.hmp_lines())


@pytest.mark.parametrize(
    "mapping",
    [
        [node("", "a")],
        [node("n", "a_b-c.d")],
        [node("n", "a" * 255)],
        [node("n", "a", bitmap("", ""))],
        [node("n", "a", bitmap("b" * 1023, "c" * 255))],
        [node("n", "a", bitmap("b", "1 x"))],
        [node("n1", "a", bitmap("b", "c")), node("n2", "b", bitmap("b", "c"))],
        [node("n", "a", bitmap("b", "c", transform={}))],
        [node("n", "a", bitmap("b", "c", transform={"persistent": False}))],
    ],
)
def test_accepted_mappings_come_back(mapping):
    assert MigrationParameters().updated({NAME: mapping}).query()[NAME] == mapping


@pytest.mark.parametrize(
    "mapping",
    [
        [node("n", "1a")],
        [node("n", "")],
        [node("n", "a b")],
        [node("n", "a" * 256)],
        [node("n", "a"), node("n", "b")],
        [node("n", "a"), node("m", "a")],
        [node("n", "a", bitmap("b", "c"), bitmap("b", "d"))],
        [node("n", "a", bitmap("b", "c"), bitmap("d", "c"))],
        [node("n", "a", bitmap("b", "c" * 256))],
        [node("n", "a", bitmap("b", "ä" * 128))],
        [node("n", "a", bitmap("b" * 1024, "c"))],
    ],
)
def test_refused_mappings(mapping):
    with pytest.raises(ParameterError) as refused:
        MigrationParameters().updated({NAME: mapping})
    assert refused.value.name == NAME


@pytest.mark.parametrize(
    ("mapping", "where"),
    [
        (None, ""),
        ("x", ""),
        ({}, ""),
        ([1], "[0]"),
        ([{"alias": "a", "bitmaps": []}], "[0].node-name"),
        ([{"node-name": "n", "alias": "a"}], "[0].bitmaps"),
        ([node(1, "a")], "[0].node-name"),
        ([{**node("n", "a"), "x": 1}], "[0].x"),
        ([{**node("n", "a"), "bitmaps": {}}], "[0].bitmaps"),
        ([node("n", "a"), node("m", "b", bitmap("b", 1))], "[1].bitmaps[0].alias"),
        ([node("n", "a", bitmap("b", "c", transform=1))], "[0].bitmaps[0].transform"),
        ([node("n", "a", bitmap("b", "c", transform={"x": 1}))], "[0].bitmaps[0].transform.x"),
        (
            [node("n", "a", bitmap("b", "c", transform={"persistent": 1}))],
            "[0].bitmaps[0].transform.persistent",
        ),
    ],
)
def test_malformed_mappings_are_located(mapping, where):
    with pytest.raises(ParameterError) as refused:
        MigrationParameters().updated({NAME: mapping})
    assert refused.value.name == NAME + where


def test_monitor_prints_the_aliases():
    mapping = [
        node("n1", "a1", bitmap("b", "c")),
        node("n2", "a2", bitmap("d", "e", transform={"persistent": True})),
    ]
    lines = MigrationParameters().updated({NAME: mapping}).hmp_lines()
    start = lines.index(f"{NAME}:")
    assert lines[start - 1].startswith("tls-authz")
    assert lines[start + 1 : start + 5] == [
        "  'n1' -> 'a1'",
        "    'b' -> 'c'",
        "  'n2' -> 'a2'",
        "    'd' -> 'e'",
    ]
