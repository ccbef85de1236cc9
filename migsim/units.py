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
_HEX = re.compile(r"\s*\+?0[xX]([0-9a-fA-F]+)")
_DECIMAL = re.compile(r"\s*\+?(\d*)(?:\.(\d*))?([bkmgtpe]?)", re.IGNORECASE)
_MOST_DIGITS = 400  # far beyond any size; Python itself refuses thousands
_EXPECTED = "a size such as 4096, 4k, 1M, 1.5G or 0x1000"


def parse_size(text: str, name: str = "size", default_unit: int = 1) -> int:
    """Return the bytes that ``text`` names, with the freedoms that QEMU's own parser takes.

    Accepts decimal and hexadecimal whole numbers and decimal fractions, with one optional binary
    suffix (b, k, M, G, T, P, E; case does not matter; none after a hexadecimal number), blanks and
    a plus sign in front, and a point without digits on one side.  Fractions are rounded to whole
    bytes, but none of a single byte is taken.  ``default_unit`` multiplies a decimal number
    without suffix (``-m`` counts MiB).

    Raises:
        ParameterError: not a size, negative, or 2^64 and more.
    """
    if match := _HEX.fullmatch(text):
        value = int(match[1], 16) * default_unit
    else:
        value = _decimal(text, name, default_unit)
    if value >= 1 << 64:
        raise ParameterError(name, text, "a size below 2^64 bytes")
    return value


def _decimal(text: str, name: str, default_unit: int) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise ParameterError(name, text, _EXPECTED)
    whole, fraction, suffix = match[1] or "0", (match[2] or "").rstrip("0"), match[3].lower()
    if len(whole) > _MOST_DIGITS or len(fraction) > _MOST_DIGITS:
        raise ParameterError(name, f"a number of {len(text)} characters", _EXPECTED)
    unit = _SUFFIXES[suffix] if suffix else default_unit
    if fraction and unit == 1:
        raise ParameterError(name, text, "no fraction of a byte")
    scale: int = 10 ** len(fraction)
    return int(whole) * unit + (int(fraction or "0") * unit + scale // 2) // scale


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
