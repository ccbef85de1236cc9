"""Which fields of a device's state are different between two streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .show import shown_fields

if TYPE_CHECKING:
    from .show import Decoded, ShownField, ShownValue

_RANGES_MAX = 1024


class Side(StrEnum):
    """Which of the two streams has something."""

    A = "a"
    B = "b"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field that is not the same.

    Attributes:
        path: as of ``ShownField``.
        side: the stream that has it.
        type_a: type in the first stream, None where it has no such field.
        type_b: type in the second stream.
        a: value in the first stream.
        b: value in the second stream.
        places: first and last element, or byte, of each part of a long value that differs; empty
            where the value is one, or lengths differ.
    """

    path: str
    side: Side
    type_a: str | None
    type_b: str | None
    a: ShownValue
    b: ShownValue
    places: tuple[tuple[int, int], ...]


def compare_states(a: Decoded, b: Decoded) -> tuple[FieldDifference, ...]:
    """Return the fields that differ, in the order of the first stream, then those only in ``b``.

    States that nothing describes are compared byte by byte.
    """
    mine, other = dict(_keyed(a)), dict(_keyed(b))
    found = [_compare(field, other.get(key)) for key, field in mine.items()]
    found += [_only_in_b(field) for key, field in other.items() if key not in mine]
    return tuple(difference for difference in found if difference is not None)


def _keyed(section: Decoded) -> Iterator[tuple[tuple[str, int], ShownField]]:
    """Yield the fields with a key that is theirs alone: names may occur more than once."""
    seen: Counter[str] = Counter()
    for field in shown_fields(section.body):
        yield (field.path, seen[field.path]), field
        seen[field.path] += 1


def _compare(a: ShownField, b: ShownField | None) -> FieldDifference | None:
    if b is None:
        return FieldDifference(a.path, Side.A, a.type, None, a.value, None, ())
    if a.value == b.value and a.size_bytes == b.size_bytes:
        return None
    places = tuple(_places(a.value, b.value))
    return FieldDifference(a.path, Side.BOTH, a.type, b.type, a.value, b.value, places)


def _only_in_b(field: ShownField) -> FieldDifference:
    return FieldDifference(field.path, Side.B, None, field.type, None, field.value, ())


def _places(a: ShownValue, b: ShownValue) -> Iterator[tuple[int, int]]:
    """Yield ranges of places at which two sequences of one length differ; a bounded number."""
    sequences = (isinstance(a, bytes) and isinstance(b, bytes)) or (
        isinstance(a, tuple) and isinstance(b, tuple)
    )
    if not sequences:
        return
    assert isinstance(a, bytes | tuple) and isinstance(b, bytes | tuple)  # noqa: PT018
    if len(a) != len(b):
        return
    begin, count = -1, 0
    for place, (one, two) in enumerate(zip(a, b, strict=True)):
        if one != two and begin < 0:
            begin = place
        elif one == two and begin >= 0:
            yield begin, place - 1
            begin, count = -1, count + 1
            if count == _RANGES_MAX:
                return
    if begin >= 0:
        yield begin, len(a) - 1
