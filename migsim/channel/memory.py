"""Channels in memory: for tests, and for streams that never leave the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Buffer


class MemoryOutput:
    """A sink that keeps everything in memory; what is skipped reads as zeros."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._position

    def write(self, data: Buffer) -> None:
        """Keep a copy of ``data``."""
        self.write_at(self._position, data)
        self._position += memoryview(data).nbytes

    def write_at(self, position: int, data: Buffer) -> None:
        """Keep a copy of ``data`` at byte ``position``; the running position does not move."""
        view = memoryview(data).cast("B")
        if position > len(self._data):
            self.resize(position)
        self._data[position : position + view.nbytes] = view

    def read_at(self, position: int, room: memoryview) -> int:
        """Copy the bytes at ``position`` into ``room``."""
        piece = self._data[position : position + len(room)]
        room[: len(piece)] = piece
        return len(piece)

    def seek(self, position: int) -> None:
        """Go on writing at byte ``position``."""
        self._position = position

    def resize(self, size_bytes: int) -> None:
        """Cut what is kept to ``size_bytes``, or fill it up with zeros."""
        del self._data[size_bytes:]
        self._data += bytes(size_bytes - len(self._data))

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: the bytes stay available."""

    def getvalue(self) -> bytes:
        """Return a copy of everything written."""
        return bytes(self._data)


class MemoryInput:
    """A source over bytes in memory.

    ``seekable`` False makes it behave like a pipe: bytes come in order, at most ``chunk_bytes`` at
    a time, and nothing can be looked up ahead.
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        *,
        offset: int = 0,
        seekable: bool = True,
        chunk_bytes: int | None = None,
    ) -> None:
        self._view = memoryview(data).cast("B").toreadonly()
        self._position = offset
        self._seekable = seekable
        self._chunk_bytes = chunk_bytes

    @property
    def position(self) -> int:
        """Byte offset of the next byte."""
        return self._position

    @property
    def size_bytes(self) -> int:
        """Number of bytes in all."""
        return len(self._view)

    def read_into(self, room: memoryview) -> int:
        """Copy the next bytes into ``room``; fewer only at the end or by ``chunk_bytes``."""
        count = self.read_at(self._position, room[: self._chunk_bytes])
        self._position += count
        return count

    def read_at(self, position: int, room: memoryview) -> int:
        """Copy the bytes at ``position`` into ``room``."""
        piece = self._view[position : position + len(room)]
        room[: len(piece)] = piece
        return len(piece)

    def seekable(self) -> MemoryInput | None:
        """Return itself, or None when it plays a pipe."""
        return self if self._seekable else None

    def close(self) -> None:
        """Do nothing: the bytes belong to the caller."""
