"""Descriptions that contradict themselves are refused when they are made."""

from __future__ import annotations

import struct

import pytest

from migsim.errors import ConfigError
from migsim.vmstate.fields import SCALARS, Field, FieldType, Subsection, VMStateDescription

EMPTY = VMStateDescription("empty", 1, ())


@pytest.mark.parametrize("kind", SCALARS)
def test_the_letter_of_a_number_has_its_width_and_sign(kind: FieldType) -> None:
    scalar = SCALARS[kind]
    assert struct.calcsize(f">{scalar.code}") == scalar.width
    assert scalar.code.islower() == scalar.signed


@pytest.mark.parametrize(
    "members",
    [
        {"type": FieldType.BUFFER},
        {"type": FieldType.UINT8, "size": 1},
        {"type": FieldType.STRUCT},
        {"type": FieldType.UINT8, "struct": EMPTY},
        {"type": FieldType.UINT8, "count": 1, "count_field": "n"},
        {"type": FieldType.UINT8, "count": -1},
    ],
)
def test_contradicting_members_of_a_field(members) -> None:
    with pytest.raises(ConfigError, match="field x"):
        Field("x", **members)


@pytest.mark.parametrize(
    "members",
    [
        {"name": ""},
        {"name": "n" * 256},
        {"version_id": -1},
        {"version_id": 1 << 31},
        {"minimum_version_id": 2},
        {"fields": (Field("a", FieldType.UINT8, count_field="n"),)},
        {"fields": (Field("a", FieldType.BUFFER, size_field="a"),)},
        {"subsections": (Subsection(EMPTY, bool),)},
    ],
)
def test_descriptions_that_make_no_sense(members) -> None:
    with pytest.raises(ConfigError, match="description"):
        VMStateDescription(**({"name": "d", "version_id": 1, "fields": ()} | members))


def test_versions_that_are_accepted() -> None:
    description = VMStateDescription("d", 3, (), minimum_version_id=2)
    assert [v for v in range(6) if description.accepts(v)] == [2, 3]
