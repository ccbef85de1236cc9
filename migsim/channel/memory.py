"""Channels in memory: for tests, and for streams that never leave the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Buffer


class MemoryOutput:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return len(self._data)

    def write(self, data: Buffer) -> None:
        """Keep a copy of ``data``."""
        self._data += memoryview(data).cast("B")

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: the bytes stay available."""

    def getvalue(self) -> bytes:
        """Return a copy of everything written."""
        return bytes(self._data)


class MemoryInput:
    """A source over bytes in memory.

    ``mapped`` False makes it behave like a pipe: bytes come in order, at most ``chunk_bytes`` at a
    time, and nothing can be looked up ahead.
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        *,
        offset: int = 0,
        mapped: bool = True,
        chunk_bytes: int | None = None,
    ) -> None:
        self._view = memoryview(data).cast("B").toreadonly()
        self._position = offset
        self._mapped = mapped
        self._chunk_bytes = chunk_bytes

    @property
    def position(self) -> int:
        """Byte offset of the next byte."""
        return self._position

    def read(self, size_bytes: int) -> bytes:
        """Return up to ``size_bytes`` bytes; fewer only at the end or by ``chunk_bytes``."""
        if self._chunk_bytes is not None:
            size_bytes = min(size_bytes, self._chunk_bytes)
        piece = bytes(self._view[self._position : self._position + size_bytes])
        self._position += len(piece)
        return piece

    def buffer(self) -> memoryview | None:
        """Return all bytes, or None when it plays a pipe."""
        return self._view if self._mapped else None

    def close(self) -> None:
        """Do nothing: the bytes belong to the caller."""
