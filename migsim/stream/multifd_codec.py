"""Payloads of multifd packets, packed and unpacked (spec stream.md section 11).

A compressed channel is one stream over all its packets, flushed at the end of each payload, so
that what packs or unpacks it belongs to one channel and sees every packet in order.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import MissingExtraError, StreamError
from ..qapi.enums import MultiFDCompression
from .multifd_wire import COMPRESSION_MASK, COMPRESSION_SHIFT, PACKET_PAGES_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..channel.base import Buffer

DEFAULT_LEVEL = 1
"""Level of both methods unless told otherwise (``multifd-zlib-level``, ``multifd-zstd-level``)."""

_ZSTD_WINDOW_BYTES_MAX = 128 << 20


class Packer(Protocol):
    """Packs the payloads of one channel."""

    def pack(self, pages: NDArray[np.uint8]) -> Buffer:
        """Return the payload of ``pages``, shape (n, page size) uint8 and contiguous."""
        ...


class Unpacker(Protocol):
    """Unpacks the payloads of one channel."""

    def unpack(
        self, payload: memoryview, size_bytes: int, offset: int, section: str
    ) -> NDArray[np.uint8]:
        """Return the pages in ``payload``, shape (size_bytes,) uint8, valid until the next call.

        ``offset`` and ``section`` say where the payload is, for errors.

        Raises:
            StreamError: it is damaged, or gives more or less than ``size_bytes`` bytes.
        """
        ...


class _Plain:
    def pack(self, pages: NDArray[np.uint8]) -> Buffer:
        return pages.reshape(-1).data

    def unpack(
        self, payload: memoryview, size_bytes: int, offset: int, section: str
    ) -> NDArray[np.uint8]:
        _check_size(len(payload), size_bytes, offset, section)
        return np.frombuffer(payload, np.uint8)


class _ZlibPacker:
    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level)

    def pack(self, pages: NDArray[np.uint8]) -> Buffer:
        return self._stream.compress(pages.reshape(-1).data) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class _ZlibUnpacker:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def unpack(
        self, payload: memoryview, size_bytes: int, offset: int, section: str
    ) -> NDArray[np.uint8]:
        try:
            # One byte more than there should be tells that there is more.
            raw = self._stream.decompress(payload, size_bytes + 1)
        except zlib.error as error:
            raise StreamError(offset, section, "a zlib payload", str(error)) from None
        _check_size(len(raw), size_bytes, offset, section)
        if self._stream.eof:
            found = "a zlib stream that ends"
            raise StreamError(offset, section, "a payload that goes on with the next", found)
        return np.frombuffer(raw, np.uint8)


class _ZstdPacker:
    def __init__(self, level: int) -> None:
        zstandard = _zstandard()
        self._flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._stream = zstandard.ZstdCompressor(level=level).compressobj()

    def pack(self, pages: NDArray[np.uint8]) -> Buffer:
        packed: bytes = self._stream.compress(pages.reshape(-1).data) + self._stream.flush(
            self._flush
        )
        return packed


class _Room:
    """A place of fixed size that unpacked bytes are put into; it counts what does not fit."""

    def __init__(self) -> None:
        self.data = np.empty(PACKET_PAGES_BYTES, np.uint8)
        self.used = self.limit = 0

    def write(self, piece: Buffer) -> int:
        end = self.used + len(piece)
        if end > self.limit:
            self.used = end
            raise _FullError
        self.data[self.used : end] = np.frombuffer(piece, np.uint8)
        self.used = end
        return len(piece)


class _FullError(Exception):
    """Nothing more fits."""


class _ZstdUnpacker:
    def __init__(self) -> None:
        zstandard = _zstandard()
        self._error: type[Exception] = zstandard.ZstdError
        self._room = _Room()
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        # All that a packet may hold comes in one piece, or else bytes could be held back.
        self._stream = unpacker.stream_writer(self._room, write_size=PACKET_PAGES_BYTES + 1)

    def unpack(
        self, payload: memoryview, size_bytes: int, offset: int, section: str
    ) -> NDArray[np.uint8]:
        room = self._room
        room.used, room.limit = 0, size_bytes
        try:
            self._stream.write(payload)
        except _FullError:
            pass
        except (self._error, MemoryError) as error:
            raise StreamError(offset, section, "a zstd payload", str(error)) from None
        _check_size(room.used, size_bytes, offset, section)
        return room.data[:size_bytes]


def _zstandard() -> ModuleType:
    try:
        return import_module("zstandard")
    except ImportError:
        raise MissingExtraError("compress", "zstandard") from None


def _check_size(size_bytes: int, expected_bytes: int, offset: int, section: str) -> None:
    if size_bytes == expected_bytes:
        return
    found = f"{size_bytes}" if size_bytes < expected_bytes else "more"
    raise StreamError(offset, section, f"a payload of {expected_bytes} bytes of pages", found)


@dataclass(frozen=True, slots=True)
class Method:
    """A number that the flags of a packet can name.

    Attributes:
        number: as in the flags, shifted down.
        name: as the parameter ``multifd-compression`` spells it.
        compression: the value of that parameter, None where there is no codec for it here.
    """

    number: int
    name: str
    compression: MultiFDCompression | None = None


METHODS = (
    Method(0, "none", MultiFDCompression.NONE),
    Method(1, "zlib", MultiFDCompression.ZLIB),
    Method(2, "zstd", MultiFDCompression.ZSTD),
    Method(4, "qpl"),
    Method(8, "uadk"),
    Method(16, "qatzip"),
)
"""Every method of QEMU 10.0; the last three need an accelerator and cannot be read here."""

_BY_NUMBER = {method.number: method for method in METHODS}
_FLAGS = {method.compression: method.number << COMPRESSION_SHIFT for method in METHODS}


def flags_of(compression: MultiFDCompression) -> int:
    """Return the flags that name ``compression`` in a packet."""
    return _FLAGS[compression]


def compression_of(flags: int, offset: int, section: str) -> MultiFDCompression:
    """Return what the flags of a packet name; ``offset`` is where they are.

    Raises:
        StreamError: there is no such method, or no codec for it here.
    """
    number = (flags & COMPRESSION_MASK) >> COMPRESSION_SHIFT
    method = _BY_NUMBER.get(number)
    if method is None or method.compression is None:
        found = f"number {number}" if method is None else method.name
        raise StreamError(offset, section, "compression none, zlib or zstd", found)
    return method.compression


def make_packer(compression: MultiFDCompression, level: int = DEFAULT_LEVEL) -> Packer:
    """Return what packs the payloads of one channel.

    Raises:
        MissingExtraError: the method needs a package that is not installed.
    """
    if compression is MultiFDCompression.ZLIB:
        return _ZlibPacker(level)
    return _ZstdPacker(level) if compression is MultiFDCompression.ZSTD else _Plain()


def make_unpacker(compression: MultiFDCompression) -> Unpacker:
    """Return what unpacks the payloads of one channel.

    Raises:
        MissingExtraError: the method needs a package that is not installed.
    """
    if compression is MultiFDCompression.ZLIB:
        return _ZlibUnpacker()
    return _ZstdUnpacker() if compression is MultiFDCompression.ZSTD else _Plain()
