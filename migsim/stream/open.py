"""Opening a stream in whatever form it is: offset, wrapper, further channels, switches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from ..channel.file import FileInput
from ..errors import StateError
from .libvirt import LibvirtWrapper, read_wrapper
from .multifd import MultifdChannels
from .options import DETECT, StreamOptions
from .reader import StreamReader
from .source import ByteSource
from .summary import StreamSummary, counted

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from .device_reader import LocalValues, Lookup
    from .items import Item

    Place = str | os.PathLike[str] | InputChannel


class StreamFile:
    """A stream together with the channels that belong to it; made by `open_stream`.

    It can be read again and again when it and all its channels can be seeked, else once.

    Attributes:
        name: of the file, for messages.
        offset: byte of the source at which the stream begins.
        wrapper: what libvirt has put in front of it, or None.
        options: what the stream has to have.
        multifd: the further channels of the last walk, None without channels.
    """

    def __init__(
        self,
        channel: InputChannel,
        name: str,
        channels: Sequence[InputChannel],
        options: StreamOptions,
    ) -> None:
        self.name = name
        self.options = options
        self.multifd: MultifdChannels | None = None
        self._channel = channel
        self._further = tuple(channels)
        self._source: ByteSource | None = ByteSource(channel)
        self._sources: list[ByteSource] = []
        self._reader: StreamReader | None = None
        self.wrapper: LibvirtWrapper | None = read_wrapper(self._source)
        if self.wrapper is not None:
            self.wrapper.require_plain(name)
        self.offset = self._source.position

    @property
    def size_bytes(self) -> int | None:
        """Length of the source, from its first byte on; None of a pipe."""
        whole = self._channel.seekable()
        return None if whole is None else whole.size_bytes

    @property
    def position(self) -> int:
        """Offset in the source that the last walk has reached, for progress."""
        return self.offset if self._reader is None else self._reader.position

    @property
    def found(self) -> StreamOptions:
        """What the stream has turned out to have, as far as it was read."""
        return self.options if self._reader is None else self._reader.options

    def items(
        self,
        describe: Lookup | None = None,
        *,
        local: LocalValues | None = None,
        keep_order: bool = False,
    ) -> Iterator[Item]:
        """Yield the items from the header to the end; arguments as of `StreamReader`.

        Pages of further channels come at the synchronisation points.  Page contents are valid
        until the next item is asked for.

        Raises:
            StreamError: while iterating, at anything malformed, cut off or not understood; at once
                when the further channels are not what belongs together.
            MissingExtraError: while iterating, when a compression needs a package that is not
                installed.
            ChannelError: while iterating, when the input breaks.
            StateError: a pipe has been read already.
        """
        source = self._rewound()
        self._sources = [source]
        if self._further:
            sources = [ByteSource(channel) for channel in self._further]
            self._sources += sources
            self.multifd = MultifdChannels(sources, page_bytes=1 << self.options.page_bits)
        self._reader = StreamReader(
            source,
            describe,
            local=local,
            keep_order=keep_order,
            options=self.options,
            channels=self.multifd,
        )
        return iter(self._reader)

    def summary(self, describe: Lookup | None = None) -> StreamSummary:
        """Return what the stream holds, after reading it to its end; raises as `items`."""
        summary = StreamSummary()
        for _ in counted(self.items(describe), summary):
            pass
        summary.length_bytes = self.position - summary.offset
        summary.options = self.found
        return summary

    def close(self) -> None:
        """Close all channels; a second call does nothing."""
        for source in self._sources:
            source.close()
        for channel in (self._channel, *self._further):
            channel.close()

    def __enter__(self) -> StreamFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rewound(self) -> ByteSource:
        """Return a source at the beginning of the stream."""
        source, self._source = self._source, None
        if source is None:
            if self._channel.seekable() is None or any(
                channel.seekable() is None for channel in self._further
            ):
                hint = "a pipe gives its bytes once"
                raise StateError(f"reading {self.name} again", "read already", hint=hint)
            source = ByteSource(self._channel)
            source.seek(self.offset)
        return source


def open_stream(
    place: Place,
    *,
    offset: int = 0,
    channels: Sequence[Place] = (),
    options: StreamOptions = DETECT,
) -> StreamFile:
    """Return the stream in a file, a pipe or an open channel.

    A wrapper of libvirt is stepped over.  Which capabilities and switches the stream was written
    with is found out while it is read.

    Args:
        place: path of the file or FIFO, or an open channel, which then belongs to the result.
        offset: byte of a file at which the stream, or its wrapper, begins.
        channels: the further channels of a multifd recording, each from its beginning, in any
            order.
        options: what the stream has to have; by default whatever it has.

    Raises:
        ChannelError: a file cannot be opened.
        StreamError: the wrapper is malformed, or the stream behind it is compressed.
    """
    with ExitStack() as opened:
        main = _opened(place, offset, opened)
        further = [_opened(channel, 0, opened) for channel in channels]
        name = os.fspath(place) if isinstance(place, str | os.PathLike) else "stream"
        stream = StreamFile(main, name, further, options)
        opened.pop_all()
    return stream


def _opened(place: Place, offset: int, opened: ExitStack) -> InputChannel:
    if not isinstance(place, str | os.PathLike):
        return place
    channel = FileInput(place, offset)
    opened.callback(channel.close)
    return channel
