"""Values of device state as text that fits on a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .visible import visible

if TYPE_CHECKING:
    from ..streamtool import ShownField, ShownValue

_ELEMENTS_SHOWN = 8
_BYTES_SHOWN = 16
_NEVER = ("timer",)
_NOT_ARMED = ((1 << 64) - 1, -1)
_SMALL = 10


def value_text(field: ShownField, *, whole: bool) -> str:
    """Return the value of ``field``; ``whole`` leaves nothing of it out."""
    if field.type in _NEVER and field.value in _NOT_ARMED:
        return "not armed"
    return text_of(field.value, whole=whole)


def text_of(value: ShownValue, *, whole: bool = False) -> str:
    """Return ``value`` as text, arrays and bytes shortened unless ``whole``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if 0 <= value < _SMALL else f"{value} ({value:#x})"
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, bytes):
        return _bytes(value, whole=whole)
    return _array(value, whole=whole)


def _bytes(value: bytes, *, whole: bool) -> str:
    if not value.strip(b"\0") and len(value) > 1 and not whole:
        return f"{len(value)} bytes, all zero"
    shown = value if whole else value[:_BYTES_SHOWN]
    more = f" ... {len(value) - len(shown)} more" if len(shown) < len(value) else ""
    text = value.rstrip(b"\0")
    readable = f"  {text.decode()!r}" if len(text) > 1 and _is_text(text) and not more else ""
    return f"{shown.hex(' ')}{more}{readable}"


def _is_text(raw: bytes) -> bool:
    return raw.isascii() and raw.decode("ascii").isprintable()


def _array(value: tuple[ShownValue, ...], *, whole: bool) -> str:
    if len(value) > 1 and not whole and all(element == value[0] for element in value):
        return f"{len(value)} x {text_of(value[0])}"
    shown = value if whole else value[:_ELEMENTS_SHOWN]
    numbers = all(isinstance(element, int) for element in shown)
    parts = [
        f"{element:#x}" if numbers and isinstance(element, int) else text_of(element, whole=whole)
        for element in shown
    ]
    more = f" ... {len(value) - len(shown)} more" if len(shown) < len(value) else ""
    return f"[{', '.join(parts)}{more}]"
