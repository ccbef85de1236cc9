"""The ``bitmap`` field: 64-bit big-endian words, word 0 holding bits 0 to 63, as one integer."""

from __future__ import annotations

import numpy as np

_WORD_BYTES = 8


def bitmap_bytes(bits: int) -> int:
    """Return the wire size in bytes of a bitmap of ``bits`` bits."""
    return -(-bits // 64) * _WORD_BYTES


def pack_bitmap(value: int, size_bytes: int) -> bytes:
    """Return the wire form of the set of bits in ``value``.

    Raises:
        OverflowError: a bit beyond ``size_bytes``, or a negative value.
    """
    little = value.to_bytes(size_bytes, "little")
    return np.frombuffer(little, "<u8").byteswap().tobytes()


def unpack_bitmap(data: bytes) -> int:
    """Return the set of bits in ``data``, a whole number of words: bit i of the result is bit i."""
    return int.from_bytes(np.frombuffer(data, "<u8").byteswap().tobytes(), "little")
