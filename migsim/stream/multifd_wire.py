"""Numbers and layouts of multifd channels; nothing else (spec stream.md section 11).

A channel begins with one initial packet.  Then come packets of pages, each a header, a table of
page offsets and a payload, and packets that only mark a sync point.
"""

from __future__ import annotations

import struct
from typing import Final

from ..units import PAGE_SIZE

MAGIC: Final = 0x11223344
"""First four bytes of everything on a channel but payloads."""
VERSION: Final = 1
CHANNELS_MAX: Final = 255
"""Most channels; the number of a channel takes a byte (parameter ``multifd-channels``)."""

INITIAL_PACKET: Final = struct.Struct(">II16sB39x")
"""Magic, version, UUID, number of the channel."""
HEADER: Final = struct.Struct(">III")
"""Magic, version, flags: the beginning of every packet."""
PAGE_PACKET: Final = struct.Struct(">IIIIIIQI28x256s")
"""Header, pages_alloc, normal_pages, next_packet_size, packet_num, zero_pages, block name.

The table of offsets follows, eight bytes for each of the pages that a packet can hold.
"""
DEVICE_PACKET: Final = struct.Struct(">III256sII")
"""Header, section name, instance id, payload size: device state (vfio), seen in the source only."""

BLOCK_NAME_BYTES: Final = 256
OFFSET_BYTES: Final = 8
PACKET_PAGES_BYTES: Final = 512 << 10
"""Bytes of the pages that a packet can hold."""
PAYLOAD_BYTES_MAX: Final = 2 * PACKET_PAGES_BYTES
"""Longest compressed payload: what a receiver has room for."""
DEVICE_BYTES_MAX: Final = 64 << 20
"""Longest device state taken in bytes (our limit)."""

FLAG_SYNC: Final = 1 << 0
COMPRESSION_SHIFT: Final = 1
COMPRESSION_MASK: Final = 0x1F << COMPRESSION_SHIFT
FLAG_DEVICE_STATE: Final = 1 << 6
KNOWN_FLAGS: Final = FLAG_SYNC | COMPRESSION_MASK | FLAG_DEVICE_STATE


def packet_pages(page_bytes: int = PAGE_SIZE) -> int:
    """Return how many pages a packet can hold: 128 of 4 KiB."""
    return PACKET_PAGES_BYTES // page_bytes
