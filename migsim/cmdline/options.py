"""``id=x,server=on,wait=off``: the older of QEMU's two option languages, flat and merged.

Used by ``-object``, ``-device``, ``-drive``, ``-chardev``, ``-netdev``, ``-m``, ``-numa`` and most
others (checked on QEMU 10.0.2).  A bare word switches something on, ``no`` in front of it off;
QEMU warns about both, and so does migsim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..errors import ConfigError
from .pairs import elements
from .text import check_identifier, parse_bytes, parse_number, parse_switch


class Kind(StrEnum):
    """Type of an option's value."""

    TEXT = "text"
    SWITCH = "switch"
    NUMBER = "number"
    SIZE = "size"


Known = Mapping[str, Kind]
"""The names that an option takes, with their types."""

_PARSERS: Mapping[Kind, Callable[[str, str], object]] = {
    Kind.SWITCH: parse_switch,
    Kind.NUMBER: parse_number,
    Kind.SIZE: parse_bytes,
}
_HELP = ("help", "?")


@dataclass(frozen=True, slots=True)
class Options:
    """A parsed argument.

    Attributes:
        pairs: names and values in order, ``id`` left out.
        id: the identifier, or None.
        help: whether help was asked for, by ``help`` or ``?`` as a bare word.
        shorthand: the bare words, for a warning.
    """

    pairs: tuple[tuple[str, str], ...]
    id: str | None = None
    help: bool = False
    shorthand: tuple[str, ...] = ()

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the last value given for ``name``, or ``default``."""
        return next((v for n, v in reversed(self.pairs) if n == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value given for ``name``, in order."""
        return [value for key, value in self.pairs if key == name]

    def switch(self, name: str, default: bool = False) -> bool:
        """Return whether ``name`` is on; raises ParameterError."""
        value = self.get(name)
        return default if value is None else parse_switch(name, value)

    def number(self, name: str) -> int | None:
        """Return ``name`` as a whole number, or None when it is not given; see `parse_number`."""
        value = self.get(name)
        return None if value is None else parse_number(name, value)

    def size(self, name: str) -> int | None:
        """Return ``name`` as a size in bytes, or None when it is not given."""
        value = self.get(name)
        return None if value is None else parse_bytes(name, value)

    def required(self, name: str, what: str) -> str:
        """Return the value of ``name``.

        Raises:
            ConfigError: it is not given.
        """
        value = self.get(name)
        if value is None:
            raise ConfigError(what, f"{name}= is missing")
        return value

    def values(self) -> dict[str, str]:
        """Return the last value of every name, in the order of first mention."""
        return dict(self.pairs)

    def updated(self, later: Options) -> Options:
        """Return these options with ``later`` behind them, as a repeated option merges."""
        return Options(
            (*self.pairs, *later.pairs),
            later.id or self.id,
            self.help or later.help,
            (*self.shorthand, *later.shorthand),
        )


def parse_options(text: str, implied: str | None = None, known: Known | None = None) -> Options:
    """Return the options in ``text``; a bare first word is the value of ``implied``.

    With ``known``, names and types of values are checked; without, everything is kept.

    Raises:
        ConfigError: an unknown name, or a malformed id.
        ParameterError: a value that is not of its type.
    """
    pairs: list[tuple[str, str]] = []
    shorthand: list[str] = []
    identifier, asked = None, False
    for element in elements(text, first_is_value=implied is not None):
        key, value = element.key, element.value
        if key is None and value in _HELP:
            asked = True
            continue
        if key is None and element.first and implied is not None:
            key = implied
        elif key is None:
            shorthand.append(value)
            key, value = _flag(value, known or {})
        if key == "id":
            identifier = check_identifier("option", value)
        else:
            pairs.append((key, value))
    options = Options(tuple(pairs), identifier, asked, tuple(shorthand))
    if known is not None:
        check_known(options.pairs, known)
    return options


def check_known(pairs: Iterable[tuple[str, str]], known: Known) -> None:
    """Do nothing if all names are known and all values of their types.

    Raises:
        ConfigError: an unknown name.
        ParameterError: a value that is not of its type.
    """
    for name, value in pairs:
        kind = known.get(name)
        if kind is None:
            raise ConfigError("option", f"there is no key {name[:100]!r} here")
        if kind in _PARSERS:
            _PARSERS[kind](name, value)


def _flag(word: str, known: Known) -> tuple[str, str]:
    """Return what a bare word means: ``server`` is on, ``nowait`` is ``wait`` off."""
    if word.startswith("no") and word not in known:
        return word.removeprefix("no"), "off"
    return word, "on"
