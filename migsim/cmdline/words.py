"""An argument list as options: which word is an option, and which belongs to the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..errors import ConfigError
from .table import OptionRow, find_option


class Word(NamedTuple):
    """One option of an argument list.

    Attributes:
        name: without dashes.
        argument: the word behind it, or None where it takes none.
        row: its row; None for an option of the caller.
    """

    name: str
    argument: str | None
    row: OptionRow | None


def split_words(
    argv: Sequence[str], own: Mapping[str, bool] = MappingProxyType({})
) -> tuple[Word, ...]:
    """Return the options of ``argv`` (without the program's name) in order.

    ``own`` names options of the caller, and whether each takes an argument.  A word without a
    dash is the image of the first hard disk.

    Raises:
        ConfigError: there is no such option, or its argument is missing.
    """
    found, position = [], 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if not word.startswith("-"):
            found.append(Word("hda", word, find_option("hda")))
            continue
        name = word.removeprefix("-").removeprefix("-")
        row = None if name in own else find_option(word)
        takes = own[name] if row is None else row.argument
        if takes and position >= len(argv):
            raise ConfigError(f"option {word}", "its argument is missing")
        found.append(Word(name, argv[position] if takes else None, row))
        position += takes
    return tuple(found)
