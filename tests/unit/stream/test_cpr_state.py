"""The state that cpr-transfer sends ahead: the bytes of QEMU 10.0.2, and damage."""

from __future__ import annotations

import pytest

from migsim.errors import StreamError
from migsim.stream.cpr_state import (
    RIDER,
    CprEntry,
    decode_state,
    encode_end,
    encode_entry,
    encode_header,
)

SEEN = bytes.fromhex(
    "5143505200000001"  # header
    "01 00000005 72616d3100 00000000 20"  # ram1
    "01 00000005 72616d3000 00000000 20"  # ram0
    "00"
)
"""Recorded from QEMU 10.0.2 with two memfd backends."""


def encoded(*entries: CprEntry) -> bytes:
    return encode_header() + b"".join(encode_entry(e) + RIDER for e in entries) + encode_end()


def test_bytes_of_qemu() -> None:
    entries = [CprEntry("ram1"), CprEntry("ram0")]
    assert encoded(*entries) == SEEN
    assert decode_state(SEEN) == entries
    assert decode_state(encoded()) == []


def test_every_beginning_is_unfinished_and_nothing_else() -> None:
    for end in range(len(SEEN)):
        assert decode_state(SEEN[:end]) is None


def test_other_kinds_of_descriptor_keep_their_number() -> None:
    entries = [CprEntry("vfio", 7), CprEntry("päge", -1)]
    assert decode_state(encoded(*entries)) == entries


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0x52),  # magic
        (7, 2),  # version
        (8, 3),  # neither more nor the end
        (9, 0x7F),  # a name of 2 GiB
        (13, 0xFF),  # not UTF-8
    ],
)
def test_damage_is_named_by_its_place(at: int, value: int) -> None:
    broken = bytearray(SEEN)
    broken[at] = value
    with pytest.raises(StreamError):
        decode_state(bytes(broken))


def test_a_name_needs_its_end() -> None:
    broken = bytearray(SEEN)
    broken[9:13] = bytes(4)
    with pytest.raises(StreamError):
        decode_state(bytes(broken))
