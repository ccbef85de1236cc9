"""Values of properties by the names that QEMU's object model gives their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import ParameterError
from .text import parse_bytes, parse_integer, parse_switch, shorten

_BITS: Final[Mapping[str, int]] = {
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
    "uint64_t": 64,
    "int32": 32,
    "int": 64,
}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "OnOffAuto": ("on", "off", "auto"),
    "BlockdevOnError": ("report", "ignore", "enospc", "stop", "auto"),
    "on|off|split": ("on", "off", "split"),
    "NotifyVMexitOption": ("run", "internal-error", "disable"),
    "LostTickPolicy": ("discard", "delay", "slew"),
    "FloppyDriveType": ("144", "288", "120", "none", "auto"),
    "BiosAtaTranslation": ("none", "lba", "large", "rechs", "auto"),
    "PCSouthBridgeOption": ("PIIX3", "piix4-isa"),
}


def check_property(name: str, text: str, kind: str) -> None:
    """Do nothing if ``text`` can be a value of a property of type ``kind``.

    Types that migsim does not know (links, lists, free text) take everything.

    Raises:
        ParameterError: it cannot.
    """
    if kind == "bool":
        parse_switch(name, text)
    elif kind == "size":
        parse_bytes(name, text)
    elif kind in _BITS:
        _check_bits(name, text, kind)
    elif kind in _CHOICES and text not in _CHOICES[kind]:
        raise ParameterError(name, shorten(text), f"one of {', '.join(_CHOICES[kind])}")


def _check_bits(name: str, text: str, kind: str) -> None:
    value, bits = parse_integer(name, text), _BITS[kind]
    least = -(1 << (bits - 1))
    if not least <= value < 1 << bits:
        raise ParameterError(name, shorten(text), f"a whole number of {bits} bits")


def check_json_property(name: str, value: object, kind: str) -> None:
    """Do nothing if a decoded JSON ``value`` can be given to a property of type ``kind``.

    Raises:
        ParameterError: it cannot.
    """
    if isinstance(value, str) and (kind == "bool" or kind in _BITS or kind == "size"):
        wanted = "true or false" if kind == "bool" else "a number"
        raise ParameterError(name, shorten(value), wanted)
    if isinstance(value, bool) and kind != "bool":
        raise ParameterError(name, value, "a value that is not true or false")
    if kind == "bool" and not isinstance(value, bool):
        raise ParameterError(name, value, "true or false")
    if isinstance(value, int) and not isinstance(value, bool) and kind in _BITS:
        _check_bits(name, str(value), kind)
    if isinstance(value, str) and kind in _CHOICES:
        check_property(name, value, kind)
