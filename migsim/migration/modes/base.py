"""What a migration mode decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...qapi.enums import MigMode
    from ...qapi.release import Release
    from ...ram.block import RAMBlock


class ModePolicy(ABC):
    """The decisions in which migration modes differ (spec modes.md section 2).

    Attributes:
        mode: the mode this policy is for.
    """

    mode: MigMode

    @abstractmethod
    def stops_first(self, release: Release) -> bool:
        """Whether the guest stops when the channel is connected, before any RAM is looked at."""

    def copies(self, block: RAMBlock, *, ignore_shared: bool) -> bool:
        """Whether the pages of ``block`` go into the stream.

        Every mode announces every migratable block, copied or not.
        """
        return block.migratable and not (ignore_shared and block.ignorable)
