"""Numbers and layouts of the migration stream, version 3; nothing else.

Every value here is a fact of the format (spec stream.md); what is done with them lives in the other
modules.  All integers in a stream are big-endian unless a name says otherwise.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

U8: Final = struct.Struct(">B")
U16: Final = struct.Struct(">H")
U32: Final = struct.Struct(">I")
U64: Final = struct.Struct(">Q")

FILE_MAGIC: Final = 0x5145564D
"""First four bytes of a stream, "QEVM" (spec stream.md section 3.1)."""
FILE_VERSION: Final = 3
"""The only stream version there is (spec stream.md section 3.1)."""
FILE_HEADER: Final = struct.Struct(">II")
"""Magic, version."""

NAME_BYTES_MAX: Final = 255
"""Longest section, subsection, block or capability name in bytes (spec stream.md section 13)."""
VMDESC_BYTES_MAX: Final = 64 << 20
"""Longest description a reader takes in bytes; QEMU's stay below 1 MiB (our limit)."""
PAGE_BITS_MIN: Final = 10
"""Smallest target page, 1 KiB: below, addresses and flags would collide (spec stream.md 13)."""
PAGE_BITS_MAX: Final = 16
"""Largest target page that a QEMU target has, 64 KiB."""
BLOCKS_MAX: Final = 1 << 16
"""Most RAM blocks that a reader takes (our limit)."""
RAM_BYTES_MAX: Final = 64 << 40
"""Most RAM of all blocks together that a reader takes, in bytes (our limit)."""
SECTIONS_MAX: Final = 1 << 16
"""Most device sections that a reader takes (our limit)."""
COMMANDS_MAX: Final = 1 << 20
"""Most commands that a reader takes (our limit)."""


class SectionType(IntEnum):
    """First byte of everything at the top level of a stream (spec stream.md section 4.1)."""

    EOF = 0x00
    START = 0x01
    PART = 0x02
    END = 0x03
    FULL = 0x04
    SUBSECTION = 0x05
    VMDESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    FOOTER = 0x7E


SECTION_ID: Final = struct.Struct(">BI")
"""Type and section id: the whole header of PART and END, and the footer."""
SECTION_NUMBERS: Final = struct.Struct(">II")
"""Instance id and version, after the name in the header of START and FULL."""
EOS_BYTES: Final = 8
"""Bytes of the end-of-section word of a ram section part (spec lifecycle.md section 5)."""


class CommandKind(IntEnum):
    """Numbers of the commands between sections (spec stream.md section 7)."""

    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


COMMAND_LENGTHS: Final[dict[CommandKind, tuple[int, ...] | None]] = {
    CommandKind.OPEN_RETURN_PATH: (0,),
    CommandKind.PING: (4,),
    CommandKind.POSTCOPY_ADVISE: (0, 16),
    CommandKind.POSTCOPY_LISTEN: (0,),
    CommandKind.POSTCOPY_RUN: (0,),
    CommandKind.POSTCOPY_RAM_DISCARD: None,
    CommandKind.PACKAGED: (4,),
    CommandKind.ENABLE_COLO: (0,),
    CommandKind.POSTCOPY_RESUME: (0,),
    CommandKind.RECV_BITMAP: None,
    CommandKind.SWITCHOVER_START: (0,),
}
"""Data lengths in bytes that each command may have; None where it varies."""
COMMAND_HEADER: Final = struct.Struct(">BHH")
"""Type byte, command number, data length."""


class RamFlag(IntEnum):
    """Flags in the low bits of a ram record's first word (spec stream.md section 8.1)."""

    ZERO = 0x002
    MEM_SIZE = 0x004
    PAGE = 0x008
    EOS = 0x010
    CONTINUE = 0x020
    XBZRLE = 0x040
    HOOK = 0x080
    MULTIFD_FLUSH = 0x200


RAM_SECTION: Final = "ram"
RAM_VERSION: Final = 4
"""Version of the ram section; a receiver takes no other (spec stream.md section 8)."""
RECORD_HEADER_BYTES: Final = 8
ZERO_RECORD_BYTES: Final = RECORD_HEADER_BYTES + 1
"""Bytes of a zero page record of the same block as the record before."""

MAPPED_HEADER: Final = struct.Struct(">IQQQ")
"""Version, page size, bitmap offset, pages offset of a block (spec stream.md section 10)."""
MAPPED_VERSION: Final = 1
"""Version that is written; a reader takes 0 as well."""
MAPPED_ALIGNMENT: Final = 1 << 20
"""Where a writer lets the pages of a block begin: at a multiple of this in the file."""

POSTCOPY_ADVICE: Final = struct.Struct(">QQ")
"""Host page sizes in use, ORed; target page size (spec stream.md section 7)."""

IO_VECTOR_ENTRIES: Final = 64
"""Pieces QEMU gathers before it writes (spec lifecycle.md section 6)."""
IO_BUFFER_BYTES: Final = 32768
"""Small bytes QEMU gathers before it writes (spec lifecycle.md section 6)."""
