"""Where a stream lies, and its items read from there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from ..channel.file import FileInput
from ..qapi.enums import Capability
from ..stream.items import PageBatch
from ..stream.libvirt import MAGIC, is_wrapped
from ..stream.open import StreamFile, open_stream
from ..stream.wire import FILE_MAGIC, U32

if TYPE_CHECKING:
    from ..stream.items import BlockInfo, Item

PathLike: TypeAlias = "str | os.PathLike[str]"
Progress: TypeAlias = Callable[[int, int | None], None]
"""Is told, now and then, how many bytes are done and, where it is known, of how many."""

_PROGRESS_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class StreamFiles:
    """The files of one stream.

    Attributes:
        path: file with the stream, or with its main channel; a pipe can be read, once.
        offset: where it, or libvirt's wrapper around it, begins in the file (``,offset=N``).
        channels: recordings of the multifd channels, in any order.
    """

    path: Path
    offset: int = 0
    channels: tuple[Path, ...] = ()

    @classmethod
    def at(cls, path: PathLike, offset: int = 0, channels: Sequence[PathLike] = ()) -> Self:
        """Return the files from whatever names them."""
        return cls(Path(path), offset, tuple(Path(channel) for channel in channels))

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """Every file that belongs to the stream."""
        return (self.path, *self.channels)

    def open(self) -> StreamFile:
        """Return the stream in whatever form it is; close it.

        Raises:
            ChannelError: a file cannot be opened.
            StreamError: libvirt's wrapper is malformed, or the stream in it is compressed.
        """
        return open_stream(self.path, offset=self.offset, channels=self.channels)


def leaves_blocks_out(capabilities: Iterable[str], blocks: Iterable[BlockInfo]) -> bool:
    """Return whether RAM blocks may be announced without pages (x-ignore-shared).

    Without a configuration section the capability is not told, but blocks have addresses then.
    """
    return Capability.X_IGNORE_SHARED in set(capabilities) or any(
        block.address is not None for block in blocks
    )


def is_pipe(path: Path) -> bool:
    """Return whether ``path`` can only be read in order; without opening it, which may wait."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # opening it will say what is wrong
    return not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode))


def begins_stream(files: StreamFiles) -> bool:
    """Return whether a stream, or libvirt's wrapper around one, begins where ``files`` say.

    Of a pipe, which cannot be looked at without reading it, that is assumed.

    Raises:
        ChannelError: the file cannot be opened or read.
    """
    if is_pipe(files.path):
        return True
    channel = FileInput(files.path, files.offset)
    try:
        room = bytearray(len(MAGIC))
        count = channel.read_at(files.offset, memoryview(room))
    finally:
        channel.close()
    beginning = bytes(room[:count])
    return is_wrapped(beginning) or beginning.startswith(U32.pack(FILE_MAGIC))


def walk(
    stream: StreamFile, progress: Progress | None = None, *, keep_order: bool = False
) -> Iterator[Item]:
    """Yield the items of ``stream``, telling ``progress`` how far the main channel was read.

    Args:
        stream: the stream.
        progress: is told every few MiB.
        keep_order: page batches come exactly as the records lie.

    Raises:
        StreamError, ChannelError, MissingExtraError: as ``StreamFile.items``.
    """
    items = stream.items(keep_order=keep_order)
    if progress is None:
        yield from items
        return
    told, total = 0, stream.size_bytes
    for item in items:
        yield item
        # The pages of a mapped-ram file lie in front of the place that reading goes on from.
        here = isinstance(item, PageBatch) and stream.multifd is None
        done = item.offset if here else stream.position
        if done - told >= _PROGRESS_BYTES:
            told = done
            progress(done, total)
