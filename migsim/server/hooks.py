"""Places at which tests may step between a machine and its clients, to break things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine.timing import HostTiming

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from .connection import Session
    from .frontend import FrontEnd


class Hooks:
    """Does nothing anywhere; others override what they need.

    Attributes:
        timing: what work costs in virtual time.
    """

    timing = HostTiming()

    def session(self, _front: FrontEnd, session: Session) -> Session:
        """Return the session that a new QMP client talks to."""
        return session

    def output(self, channel: OutputChannel) -> OutputChannel:
        """Return the channel that a migration writes to."""
        return channel

    def stepped(self, front: FrontEnd) -> None:
        """Told after every step of the machine, before its clients hear of it."""
