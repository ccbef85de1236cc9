"""Values as text: switches, numbers, sizes, identifiers, as QEMU's options read them."""

from __future__ import annotations

import re
from typing import Final

from ..errors import ConfigError, ParameterError
from ..qapi.release import Release
from ..qapi.values import Boolean, Unsigned
from ..units import parse_size

_BOOLEAN: Final = Boolean()
_UNSIGNED: Final = Unsigned(64)
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
SHOWN_CHARACTERS: Final = 200
"""How much of an argument a message repeats."""
MESSAGE_CHARACTERS: Final = 1000
"""Length of a message about an option at most."""


def parse_switch(name: str, text: str) -> bool:
    """Return what ``on``, ``yes``, ``true``, ``y`` or their opposites say; small letters only.

    Raises:
        ParameterError: anything else.
    """
    return _BOOLEAN.parse(name, text, Release.DEFAULT)


def parse_number(name: str, text: str) -> int:
    """Return a whole number of 64 bits as in C: ``12``, ``0x10``, ``010``; no sign.

    Raises:
        ParameterError: anything else.
    """
    if "-" in text:
        raise ParameterError(name, text, "a whole number of at least 0")
    return _UNSIGNED.parse(name, text, Release.DEFAULT)


def parse_integer(name: str, text: str) -> int:
    """Return a whole number from -2^63 to 2^64 - 1, spelled as in C.

    Raises:
        ParameterError: anything else.
    """
    negative = text.lstrip().startswith("-")
    value = _UNSIGNED.parse(name, text, Release.DEFAULT)
    return value - (1 << 64) if negative and value else value


def parse_bytes(name: str, text: str) -> int:
    """Return a size in bytes: a number with an optional suffix; raises ParameterError."""
    return parse_size(text, name)


def check_identifier(what: str, text: str) -> str:
    """Return ``text`` if it can be the id of an object, device, drive or character device.

    Raises:
        ConfigError: it has other characters than letters, digits, ``-``, ``.``, ``_``, or does
            not begin with a letter.
    """
    if not _IDENTIFIER.fullmatch(text):
        rule = "an id begins with a letter and has letters, digits, '-', '.' and '_'"
        raise ConfigError(what, f"{shorten(text)!r} cannot be an id: {rule}")
    return text


def words(text: str) -> list[str]:
    """Return the words of ``text``; for tables of names."""
    return text.split()


def shorten(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Return ``text``, or its first ``limit`` characters when it is too long to show."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
