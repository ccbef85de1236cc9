"""Text of unknown origin, made harmless; needs nothing but the language."""

from __future__ import annotations

_VISIBLE_FROM = 0x20
_DELETE = 0x7F
_VISIBLE_AGAIN_FROM = 0xA0


def visible(text: str) -> str:
    """Return ``text`` from a file of unknown origin, with nothing in it that steers a terminal.

    Control characters, and bytes that are no text, become escapes: a backslash, x and digits.
    """
    raw = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        char
        if ord(char) >= _VISIBLE_FROM and not _DELETE <= ord(char) < _VISIBLE_AGAIN_FROM
        else _escape(char)
        for char in raw
    )


def _escape(char: str) -> str:
    return f"\\x{ord(char):02x}"
