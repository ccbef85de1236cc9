"""New content for a RAM block, from a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..channel.file import FileInput
from ..errors import ChannelError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream.items import BlockInfo
    from .files import PathLike

_PIECE_BYTES = 2 << 20


class Replacement:
    """A file with the bytes of a block, page 0 first.

    Args:
        path: a regular file of exactly the block's length.

    Attributes:
        path: as given.
        seen: pages of the block have come in the stream.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.seen = False

    def check(self, block: BlockInfo) -> None:
        """Return if the file can replace ``block``.

        Raises:
            ConfigError: it is no regular file, or has another length.
            ChannelError: it is not there.
        """
        try:
            status = os.stat(self.path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ChannelError(f"file:{self.path}", "open", reason, error.errno) from error
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(str(self.path), "is no regular file")
        if status.st_size != block.used_bytes:
            reason = f"has {status.st_size} bytes, RAM block {block.name} has {block.used_bytes}"
            raise ConfigError(str(self.path), reason)

    def pages(self, block: BlockInfo) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield page numbers and contents, ascending, 2 MiB at a time; valid until the next.

        Raises:
            ChannelError: the file cannot be read, or became shorter.
        """
        channel = FileInput(self.path)
        try:
            most = max(1, _PIECE_BYTES // block.page_bytes)
            for first in range(0, block.pages, most):
                count = min(most, block.pages - first)
                data = np.empty((count, block.page_bytes), np.uint8)
                self._fill(channel, memoryview(data.reshape(-1).data))
                yield np.arange(first, first + count), data
        finally:
            channel.close()

    def _fill(self, channel: FileInput, room: memoryview) -> None:
        while len(room):
            count = channel.read_into(room)
            if count == 0:
                raise ChannelError(f"file:{self.path}", "read", "it became shorter")
            room = room[count:]
