"""The wrapper that libvirt puts in front of a stream when it saves a machine into a file.

====== ==== ==========================================================================
offset size field
====== ==== ==========================================================================
0      16   ``LibvirtQemudSave``, or ``LibvirtQemudPart`` while the file is not complete
16     4    version: 1, 2 or 3
20     4    data_len: bytes of everything between header and stream
24     4    was_running
28     4    compressed: number of the format of the stream, since version 2
32     4    cookieOffset: where the cookie begins behind the header, 0 without one
36     56   14 unused numbers
92          domain XML, a zero byte, the cookie with a zero byte, zeros up to data_len
====== ==== ==========================================================================

Numbers have the byte order of the host that wrote them.  Source: libvirt's source, up to 11;
QEMU knows nothing of this.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import StreamError

if TYPE_CHECKING:
    from .source import ByteSource

MAGIC: Final = b"LibvirtQemudSave"
MAGIC_PARTIAL: Final = b"LibvirtQemudPart"
HEADER_BYTES: Final = 92
VERSION_MAX: Final = 3
DATA_BYTES_MAX: Final = 64 << 20
"""Longest XML and cookie taken in bytes; libvirt's are below 1 MiB (our limit)."""

SECTION = "libvirt header"

_NUMBERS = "16s5I56x"
_ORDERS = ("<", ">")


@dataclass(frozen=True, slots=True)
class SaveFormat:
    """A way in which the stream behind the wrapper is stored.

    Attributes:
        number: as in the header.
        name: as libvirt's ``save_image_format`` spells it.
        command: program and options that turn it into the stream, empty when it is the stream.
    """

    number: int
    name: str
    command: str = ""


SAVE_FORMATS: Final = (
    SaveFormat(0, "raw"),
    SaveFormat(1, "gzip", "gzip -dc"),
    SaveFormat(2, "bzip2", "bzip2 -dc"),
    SaveFormat(3, "xz", "xz -dc"),
    SaveFormat(4, "lzop", "lzop -dc --ignore-warn"),
    SaveFormat(5, "zstd", "zstd -dc"),
    SaveFormat(6, "sparse"),
)
"""Every format up to libvirt 11; ``sparse`` is a stream with mapped-ram."""

_BY_NUMBER = {save_format.number: save_format for save_format in SAVE_FORMATS}


@dataclass(frozen=True, slots=True)
class LibvirtWrapper:
    """What stands in front of a stream.

    Attributes:
        offset: of the header.
        complete: False while libvirt had not finished the file; it refuses to load such a one.
        version: of the header.
        big_endian: byte order of the host that wrote it.
        was_running: whether libvirt lets the machine run after the load.
        save_format: how the stream is stored.
        xml: description of the domain, as bytes of XML.
        cookie: what libvirt keeps for itself, as bytes of XML; None without one.
        stream_offset: where the stream begins.
    """

    offset: int
    complete: bool
    version: int
    big_endian: bool
    was_running: bool
    save_format: SaveFormat
    xml: bytes = field(repr=False)
    cookie: bytes | None = field(repr=False)
    stream_offset: int

    @property
    def compression(self) -> str:
        """Name of the format in which the stream is stored: ``raw``, ``gzip``, ..."""
        return self.save_format.name

    def require_plain(self, path: str = "FILE") -> None:
        """Return if the stream itself follows.

        Raises:
            StreamError: it is compressed; the text names the command that unpacks it.
        """
        command = self.save_format.command
        if command:
            first = self.stream_offset + 1
            found = f"{self.compression}: unpack with 'tail -c +{first} {path} | {command} > NEW'"
            raise StreamError(self.stream_offset, SECTION, "a stream as QEMU wrote it", found)


def is_wrapped(beginning: bytes | memoryview) -> bool:
    """Return whether a file that begins with these bytes (16 will do) has the wrapper."""
    return bytes(beginning[: len(MAGIC)]) in (MAGIC, MAGIC_PARTIAL)


def read_wrapper(source: ByteSource) -> LibvirtWrapper | None:
    """Take the wrapper at the source's position, and be behind it; None when there is none.

    Raises:
        StreamError: the wrapper is cut off, of a version or format that does not exist, or its
            lengths make no sense.
    """
    if not is_wrapped(source.window(len(MAGIC))):
        return None
    offset = source.position
    raw = source.take(HEADER_BYTES, SECTION, f"a header of {HEADER_BYTES} bytes")
    order = _order(raw, offset)
    magic, version, data_bytes, running, number, cookie_at = struct.unpack(order + _NUMBERS, raw)
    save_format = _BY_NUMBER.get(number if version > 1 else 0)
    if save_format is None:
        expected = f"a format from 0 to {SAVE_FORMATS[-1].number}"
        raise StreamError(offset + 28, SECTION, expected, str(number))
    if not 0 < data_bytes <= DATA_BYTES_MAX:
        expected = f"1 to {DATA_BYTES_MAX} bytes of XML and cookie"
        raise StreamError(offset + 20, SECTION, expected, str(data_bytes))
    if cookie_at >= data_bytes:
        expected = f"a cookie inside the {data_bytes} bytes of data"
        raise StreamError(offset + 32, SECTION, expected, f"one at {cookie_at}")
    data = bytes(source.take(data_bytes, SECTION, f"{data_bytes} bytes of XML and cookie"))
    return LibvirtWrapper(
        offset=offset,
        complete=magic == MAGIC,
        version=version,
        big_endian=order == ">",
        was_running=bool(running),
        save_format=save_format,
        xml=_text(data[: cookie_at or None]),
        cookie=_text(data[cookie_at:]) if cookie_at else None,
        stream_offset=source.position,
    )


def _order(raw: memoryview, offset: int) -> str:
    """Return the byte order in which the version is one."""
    for order in _ORDERS:
        version = struct.unpack_from(order + "I", raw, len(MAGIC))[0]
        if 1 <= version <= VERSION_MAX:
            return order
    expected = f"a version from 1 to {VERSION_MAX} in either byte order"
    found = bytes(raw[len(MAGIC) : len(MAGIC) + 4]).hex(" ")
    raise StreamError(offset + len(MAGIC), SECTION, expected, found)


def _text(data: bytes) -> bytes:
    """Return what is in front of the first zero byte."""
    return data.partition(b"\0")[0]
