"""A sink that counts: how long a stream would be, without its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Buffer


class CountingOutput:
    """A sink that forgets every byte and remembers how many there were."""

    def __init__(self, position: int = 0) -> None:
        self._position = position

    @property
    def position(self) -> int:
        """Bytes written and skipped so far, plus the initial position."""
        return self._position

    def write(self, data: Buffer) -> None:
        """Count the bytes of ``data``."""
        self._position += memoryview(data).nbytes

    def skip(self, size_bytes: int) -> None:
        """Count ``size_bytes`` bytes that were never made."""
        self._position += size_bytes

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: there is no target."""
