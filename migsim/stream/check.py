"""Walking through a stream to see that it is well formed, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import QEMU_DEFAULTS, StreamOptions
from .reader import StreamReader
from .summary import StreamSummary, counted

if TYPE_CHECKING:
    from ..channel.base import InputChannel
    from .device_reader import Lookup


def check_stream(
    channel: InputChannel,
    describe: Lookup | None = None,
    *,
    options: StreamOptions = QEMU_DEFAULTS,
) -> StreamSummary:
    """Return what the stream in ``channel`` holds, after reading it to its end.

    Page contents are not looked at, only their records' headers; memory use does not grow with RAM.
    ``open_stream`` finds out what this function is told: wrapper, channels, options.

    Raises:
        StreamError: the stream is malformed, or holds devices that cannot be measured (see
            ``StreamReader``).
        ChannelError: the input broke.
    """
    summary = StreamSummary()
    reader = StreamReader(channel, describe, options=options)
    for _ in counted(reader, summary):
        pass
    summary.length_bytes = reader.position - summary.offset
    summary.options = reader.options
    return summary
