"""The grammar that all options with commas share: ``value,key=value,flag``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Element(NamedTuple):
    """One piece between commas.

    Attributes:
        key: what stands before the first ``=``; None for a bare word.
        value: what stands behind it, with doubled commas made single; the bare word itself.
        first: whether it is the first piece.
    """

    key: str | None
    value: str
    first: bool


def elements(text: str, *, first_is_value: bool = False) -> Iterator[Element]:
    """Yield the pieces of ``text`` in order; a comma at the end adds nothing.

    A comma inside a value is doubled.  A bare word ends at the first comma, doubled or not,
    unless it is the first piece and ``first_is_value`` says that it is a value (of an implied
    key).  Takes time in proportion to the length of the text.
    """
    position, first = 0, True
    while position < len(text):
        comma = text.find(",", position)
        stop = len(text) if comma < 0 else comma
        equals = text.find("=", position, stop)
        if equals >= 0:
            value, end = _value(text, equals + 1)
            yield Element(text[position:equals], value, first)
        elif first and first_is_value:
            value, end = _value(text, position)
            yield Element(None, value, first)
        else:
            yield Element(None, text[position:stop], first)
            end = stop
        position, first = end + 1, False


def _value(text: str, start: int) -> tuple[str, int]:
    """Return the value that begins at ``start``, and the index of the comma that ends it."""
    parts = []
    while True:
        comma = text.find(",", start)
        if comma < 0:
            parts.append(text[start:])
            return "".join(parts), len(text)
        if not text.startswith(",,", comma):
            parts.append(text[start:comma])
            return "".join(parts), comma
        parts.append(text[start : comma + 1])
        start = comma + 2
