"""One outgoing migration: where it stands, what it has counted, and its open end."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ChannelError
from .statistics import DirtyRate, RamCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..channel.base import OutputChannel
    from ..qapi.enums import RunState
    from ..stream.engine_ram import XbzrleWriter
    from ..stream.outfile import OutFile
    from ..stream.writer import StreamWriter
    from .answers import Answers
    from .convergence import Convergence
    from .environment import SavedSection
    from .modes import ModePolicy
    from .outgoing import Outgoing
    from .ram_sender import RamSender
    from .work import Work


RAM_SECTION_ID = 1
"""Number under which every machine registers its RAM (spec stream.md section 4.2)."""


class Stage(enum.Enum):
    """Where an outgoing migration stands."""

    SETUP = "setup"
    ACTIVATE = "activate"
    ITERATE = "iterate"
    PRE_SWITCHOVER = "pre-switchover"
    FINAL_SYNC = "final-sync"
    FINAL_RAM = "final-ram"
    DEVICES = "devices"
    FINISH = "finish"
    HAND_OFF = "hand-off"
    POSTCOPY = "postcopy"
    POSTCOPY_END = "postcopy-end"
    POSTCOPY_FINISH = "postcopy-finish"
    PAUSED = "paused"
    RECOVER = "recover"


PhaseStep: TypeAlias = "Callable[[Outgoing, float, int], Work]"
"""What a stage does in one step of the engine: at that time (seconds), at most so many pages."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The open end of a migration.

    Attributes:
        channel: the main channel.
        out: its accounting.
        writer: what puts the stream together.
        sender: the scan over RAM.
        further: channels of multifd.
        xbzrle: the writer of RAM if it encodes pages.
        answers: the return path, if there is one.
    """

    channel: OutputChannel
    out: OutFile
    writer: StreamWriter
    sender: RamSender
    further: tuple[OutputChannel, ...] = ()
    xbzrle: XbzrleWriter | None = None
    answers: Answers | None = None

    @property
    def channels(self) -> tuple[OutputChannel, ...]:
        """The main channel, and those of multifd."""
        return self.channel, *self.further

    def close(self) -> None:
        """Close all channels; the first problem is raised when all are closed."""
        problems: list[ChannelError] = []
        for channel in self.channels:
            try:
                channel.close()
            except ChannelError as error:
                problems.append(error)
        if problems:
            raise problems[0]


@dataclass(slots=True)
class Run:
    """Everything that belongs to one migration and is new with the next.

    Attributes:
        policy: the decisions of the mode, latched when ``migrate`` was given.
        started_s: when ``migrate`` was given.
        phases: what each stage does.
        stage: what the next step does.
        counters: pages and bytes of RAM.
        convergence: rate window and switchover threshold.
        dirty_rate: dirty rate and throttle.
        setup_ms, downtime_ms, total_ms: as ``query-migrate`` shows them, once known.
        old_state: the guest's run state before migration stopped it, or None.
        transfer: the open channel and what writes to it; None before and after.
        transferred: bytes that have left, as QEMU's file object counts them.
        kept_sections: device state of the moment that a snapshot is of, to be written at its end.
        behind_switchover: the stage that follows the switchover.
        postcopy_wanted: ``migrate-start-postcopy`` was given.
        parked: what a paused postcopy still has to send; there is no transfer then.
        earlier_bytes: bytes that left over channels that are lost.
        bitmaps_awaited, resume_asked, resume_acked: how far a resume has come.
        total_bytes: RAM that this migration copies.
    """

    policy: ModePolicy
    started_s: float
    convergence: Convergence
    phases: Mapping[Stage, PhaseStep]
    stage: Stage = Stage.SETUP
    counters: RamCounters = field(default_factory=RamCounters)
    dirty_rate: DirtyRate = field(default_factory=DirtyRate)
    transfer: Transfer | None = None
    transferred: int = 0
    worker_s: float = 0.0
    stopped_s: float | None = None
    setup_ms: int = 0
    downtime_ms: int | None = None
    total_ms: int | None = None
    final_mbps: float | None = None
    old_state: RunState | None = None
    old_was_suspended: bool = False
    kept_sections: Sequence[SavedSection] = ()
    postcopy_wanted: bool = False
    behind_switchover: Stage = Stage.FINAL_SYNC
    parked: RamSender | None = None
    earlier_bytes: int = 0
    bitmaps_awaited: set[str] = field(default_factory=set)
    resume_asked: bool = False
    resume_acked: bool = False
