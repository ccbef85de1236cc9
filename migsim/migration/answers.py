"""The return path of a migration, on both ends (spec stream.md section 7, QEMU 10.0).

The source opens it with a command in the stream; what the target says then comes back over the
same socket.  The target's last word, SHUT, says whether it has loaded everything, and the source
does not call a migration completed before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..channel.base import AnsweringChannel
from ..errors import ChannelError, MigsimError, StreamError
from ..stream.return_path import (
    MESSAGE_HEADER,
    Message,
    MessageKind,
    Pong,
    ReturnPathFeed,
    Shut,
    SwitchoverAck,
)
from ..stream.wire import U32

if TYPE_CHECKING:
    from ..channel.base import AnsweredChannel, InputChannel

SETUP_PING = 1
"""Value of the ping that follows the opening of the return path."""


class Answers:
    """What the target of an outgoing migration has said.

    Attributes:
        shut: its last word, or None as long as it may say more.
        switchover_acked: it is ready for the switchover.
        pongs: values of the pings it has answered.
        problem: why nothing more can be understood, or None.
    """

    def __init__(self, channel: AnsweredChannel) -> None:
        self._channel = channel
        self._feed = ReturnPathFeed()
        self.shut: Shut | None = None
        self.switchover_acked = False
        self.pongs: list[int] = []
        self.problem: MigsimError | None = None

    @property
    def over(self) -> bool:
        """Whether the target will say nothing more."""
        return self.shut is not None or self.problem is not None

    def listen(self) -> list[Message]:
        """Take in what has come, and return it."""
        if self.over:
            return []
        raw = self._channel.take_answers()
        messages: list[Message] = []
        try:
            for message in self._feed.feed(raw):
                self._note(message)
                messages.append(message)
        except StreamError as error:
            self.problem = error
        if self._channel.answers_ended and not self.over:
            self.problem = ChannelError("return path", "read", "the other side closed it early")
        return messages

    def check(self) -> None:
        """Do nothing if the target has loaded everything.

        Raises:
            ChannelError: it has not, or broke the return path.
        """
        if self.problem is not None:
            raise ChannelError("return path", "read", str(self.problem)) from self.problem
        if self.shut is not None and self.shut.error:
            raise ChannelError("return path", "read", "the target says that its load failed")

    def _note(self, message: Message) -> None:
        match message:
            case Shut():
                self.shut = message
            case SwitchoverAck():
                self.switchover_acked = True
            case Pong():
                self.pongs.append(message.value)
            case _:
                pass


class Replies:
    """What the target of a migration says to its source.

    Attributes:
        is_open: the source has asked for it.
    """

    def __init__(self, channel: InputChannel) -> None:
        self._channel = channel if isinstance(channel, AnsweringChannel) else None
        self.is_open = False

    def open(self, offset: int) -> None:
        """Begin to answer; nobody hears it if the source is a file.

        Raises:
            StreamError: it is open already; ``offset`` is where the stream says so.
        """
        if self.is_open:
            raise StreamError(offset, "command", "one OPEN_RETURN_PATH", "another one")
        self.is_open = True

    def pong(self, value: int, offset: int) -> None:
        """Answer a ping.

        Raises:
            StreamError: the return path is not open.
        """
        if not self.is_open:
            raise StreamError(offset, "command", "OPEN_RETURN_PATH before it", "PING")
        self._say(MessageKind.PONG, U32.pack(value))

    def switchover_ack(self) -> None:
        """Say that the guest may be stopped: no device has anything left to prepare."""
        self._say(MessageKind.SWITCHOVER_ACK)

    def shut(self, *, failed: bool) -> None:
        """Say the last word, once."""
        if self.is_open:
            self._say(MessageKind.SHUT, U32.pack(failed))
        self.is_open = False

    def say(self, message: bytes) -> None:
        """Send a message that is complete."""
        if self._channel is not None and self.is_open:
            self._channel.answer(message)

    def go_on(self) -> None:
        """Be open without being asked: the stream goes on behind a break."""
        self.is_open = True

    def _say(self, kind: MessageKind, data: bytes = b"") -> None:
        if self._channel is not None and self.is_open:
            self._channel.answer(MESSAGE_HEADER.pack(kind, len(data)) + data)
