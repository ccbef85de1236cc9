"""Several channels of one migration: the main one and those that multifd adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import Interruptible

if TYPE_CHECKING:
    from .base import InputChannel, OutputChannel


@dataclass(frozen=True, slots=True)
class OutputGroup:
    """Where a migration goes over several channels.

    Attributes:
        main: takes the stream.
        further: take pages, in the order of their numbers.
    """

    main: OutputChannel
    further: tuple[OutputChannel, ...] = ()


@dataclass(frozen=True, slots=True)
class InputGroup:
    """Where a migration comes from over several channels.

    Attributes:
        main: gives the stream.
        further: give pages, in any order.
        ready: returns those of some channels that have bytes or have ended, and waits until there
            is one; None for recordings, which can be read one after another.
    """

    main: InputChannel
    further: tuple[InputChannel, ...] = ()
    ready: Callable[[Sequence[InputChannel]], Sequence[InputChannel]] | None = None

    def interrupt(self) -> None:
        """Have whoever waits for bytes see the end, where a channel can do that."""
        for channel in (self.main, *self.further):
            if isinstance(channel, Interruptible):
                channel.interrupt()

    def close(self) -> None:
        """Let go of all channels."""
        for channel in (self.main, *self.further):
            channel.close()
