"""Sizes, in and out of text: the suffixes that QEMU takes, and numbers that people read."""

from __future__ import annotations

import re

from .errors import ParameterError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40
PAGE_SIZE = 4096
"""Target page size of x86 in bytes (spec stream.md section 1)."""
PAGE_BITS = 12

_SUFFIXES = {"b": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB, "p": 1 << 50, "e": 1 << 60}
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?)([bkmgtpe]?)", re.IGNORECASE)


def parse_size(text: str, name: str = "size", default_unit: int = 1) -> int:
    """Return the bytes that ``text`` names, as QEMU's option parser reads sizes.

    Accepts decimal and hexadecimal whole numbers and decimal fractions, with one optional binary
    suffix (b, k, M, G, T, P, E; case does not matter; none after a hexadecimal number).
    ``default_unit`` multiplies a number without suffix (``-m`` counts MiB).

    Raises:
        ParameterError: not a size, negative, or 2^64 and more.
    """
    match = _SIZE.fullmatch(text)
    if match is None or (match[1][:2] in ("0x", "0X") and match[2]):
        raise ParameterError(name, text, "a size such as 4096, 4k, 1M, 1.5G or 0x1000")
    unit = _SUFFIXES[match[2].lower()] if match[2] else default_unit
    number = match[1]
    if number[:2] in ("0x", "0X"):
        value = int(number, 16) * unit
    elif "." in number:
        whole, fraction = number.split(".")
        value = int(whole) * unit + int(fraction) * unit // 10 ** len(fraction)
    else:
        value = int(number) * unit
    if value >= 1 << 64:
        raise ParameterError(name, text, "a size below 2^64 bytes")
    return value


def format_size(size_bytes: float) -> str:
    """Return ``size_bytes`` with the binary unit that keeps it readable, such as ``1.5 GiB``."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the unit that keeps it readable: ``3.2 ms``, ``2 min 5 s``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
