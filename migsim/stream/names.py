"""Names on the wire: one length byte, then that many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError, StreamError
from .wire import NAME_BYTES_MAX

if TYPE_CHECKING:
    from .source import ByteSource

_ENCODING = "utf-8", "surrogateescape"


def encode_text(text: str) -> bytes:
    """Return ``text`` as bytes; what ``decode_text`` made of any bytes gives those bytes again."""
    return text.encode(*_ENCODING)


def decode_text(raw: bytes | memoryview) -> str:
    """Return bytes of a name as text; bytes that are no UTF-8 survive a round trip."""
    return bytes(raw).decode(*_ENCODING)


def encode_name(name: str) -> bytes:
    """Return length byte and bytes of ``name``.

    Raises:
        ConfigError: the name is empty or longer than 255 bytes (spec stream.md section 13).
    """
    raw = encode_text(name)
    if not 1 <= len(raw) <= NAME_BYTES_MAX:
        raise ConfigError(f"name {name!r}", f"it needs 1 to {NAME_BYTES_MAX} bytes")
    return bytes((len(raw),)) + raw


def read_name(source: ByteSource, section: str, what: str) -> str:
    """Take a name from ``source``.

    Raises:
        StreamError: the source ends, or the name is empty.
    """
    length = source.take(1, section, f"the length of {what}")[0]
    if length == 0:
        raise StreamError(source.position - 1, section, f"{what} of 1 to 255 bytes", "length 0")
    return decode_text(source.take(length, section, what))
