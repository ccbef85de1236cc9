"""JSON as an argument: ``{...}`` in place of ``key=value`` pairs, in QEMU's dialect.

Strings may stand in single quotes; a name may not come twice in one object; numbers like NaN do
not exist.  Only an argument whose very first character is a brace is JSON (seen on QEMU 10.0.2).
"""

from __future__ import annotations

import json
import re
from typing import Final, TypeAlias

from ..errors import ConfigError

Json: TypeAlias = "str | int | float | bool | dict[str, Json] | list[Json] | None"
"""A decoded JSON value."""

DEPTH_LIMIT: Final = 100
"""Objects and lists inside each other; QEMU allows 1024, no option needs ten."""

# A string without an end is one token up to the end of the text, so that looking stays linear.
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[\[\]{}]", re.DOTALL)
_ESCAPE = re.compile(r"\\.|\"", re.DOTALL)


def is_json(argument: str) -> bool:
    """Return whether an argument is JSON rather than ``key=value`` pairs."""
    return argument.startswith("{")


def parse_object(text: str, what: str = "JSON") -> dict[str, Json]:
    """Return the members of the JSON object ``text``.

    Raises:
        ConfigError: not one well-formed object, too deep, or a name that comes twice.
    """
    try:
        value = json.loads(
            _double_quoted(text, what),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ConfigError(what, f"malformed JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(what, "an object in braces is needed")
    return value


def _double_quoted(text: str, what: str) -> str:
    """Return ``text`` with single-quoted strings in double quotes; count the nesting."""
    parts, end, depth = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        depth += (token in "[{") - (token in "]}")
        if depth > DEPTH_LIMIT:
            raise ConfigError(what, f"more than {DEPTH_LIMIT} levels of nesting")
        if token[0] in "\"'" and (len(token) < 2 or token[-1] != token[0]):
            raise ConfigError(what, "malformed JSON: a string has no end")
        if token.startswith("'"):
            parts.append(text[end : match.start()])
            parts.append(_requoted(token[1:-1]))
            end = match.end()
    return "".join([*parts, text[end:]])


def _requoted(inner: str) -> str:
    return f'"{_ESCAPE.sub(_escape, inner)}"'


def _escape(match: re.Match[str]) -> str:
    if match[0] == "\\'":
        return "'"
    return '\\"' if match[0] == '"' else match[0]


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes twice in one object")
    return members


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
