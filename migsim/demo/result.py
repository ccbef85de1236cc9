"""What a walk-through found, as values: a timeline, saves side by side, checks, losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, cast

from .. import __version__
from ..qapi.enums import MigMode

if TYPE_CHECKING:
    from ..qapi.enums import MigrationStatus, RunState
    from .scenario import Scenario

REBOOT = "[reboot]"
"""How the reboot stands among the run states of `Walkthrough.states`."""


class Voice(StrEnum):
    """Who says a line of the timeline."""

    WINDOW_1 = "window 1"
    HOST = "host"
    WINDOW_2 = "window 2"


class LineKind(StrEnum):
    """What a line of the timeline is."""

    SHELL = "shell"
    """Part of a command line that starts a process."""
    COMMAND = "command"
    """A line typed into the human monitor."""
    ANSWER = "answer"
    """What the human monitor printed."""
    EVENT = "event"
    """An event that QMP would have reported."""
    NOTE = "note"
    """What happened, in words."""
    REBOOT = "reboot"
    """The host boots another kernel."""
    KEPT = "kept"
    """Something that outlived an event of the host."""
    LOST = "lost"
    """Something that did not."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline.

    Attributes:
        time_s: virtual time in seconds since the beginning.
        voice: whose line it is.
        kind: what it is.
        text: the line; paths are those of the simulated host.
    """

    time_s: float
    voice: Voice
    kind: LineKind
    text: str


@dataclass(frozen=True, slots=True)
class StateSpan:
    """A stretch of time in which a guest was in one run state.

    Attributes:
        voice: the window of its process.
        state: the run state.
        start_s: when it entered the state, virtual seconds.
        end_s: when it left it, or the process ended.
    """

    voice: Voice
    state: RunState
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Sample:
    """What a save had left, seen at the beginning of one piece of its work.

    Attributes:
        time_s: virtual seconds since ``migrate`` was given.
        due_bytes: RAM to be sent before that piece, what the guest wrote meanwhile included if
            the piece looked at the dirty log.
        remaining_bytes: RAM to be sent after it, as ``query-migrate`` counts.
    """

    time_s: float
    due_bytes: int
    remaining_bytes: int


@dataclass(frozen=True, slots=True)
class Save:
    """One save of the guest and the load that followed it.

    Attributes:
        mode: migration mode.
        in_place: whether the RAM stayed where it was (``x-ignore-shared`` and a shared file).
        status: how the save ended; cancelled when it took longer than the limit.
        stop_s: how long the guest was stopped by the save; None when it was not to the end.
        total_s: from ``migrate`` to the end of the save.
        load_s: from ``migrate_incoming`` to the guest running again; None without a load.
        stopped_at_s: seconds from ``migrate`` to the stop; None when the guest was not stopped.
        file_bytes: length of the state file.
        passes: dirty syncs of the save (``dirty-sync-count``).
        normal_pages: pages sent with content.
        zero_pages: pages sent as zero.
        blocked_reasons: what blocked the mode on this machine; nothing, or there was no save.
        equal: whether RAM and writes of the guest were equal before and after.
        samples: RAM left to be sent, over time.
    """

    mode: MigMode
    in_place: bool
    status: MigrationStatus
    stop_s: float | None
    total_s: float
    load_s: float | None
    stopped_at_s: float | None
    file_bytes: int
    passes: int
    normal_pages: int
    zero_pages: int
    blocked_reasons: tuple[str, ...]
    equal: bool | None
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """A short name: mode, and whether RAM was copied into the file or stayed in place."""
        return f"{self.mode}, {'in place' if self.in_place else 'copied'}"

    @property
    def completed(self) -> bool:
        """Whether the save ended by itself."""
        return self.stop_s is not None

    def away_s(self, reboot_s: float) -> float | None:
        """Return how long the guest stands still in all, or None if it did not get that far.

        A CPR mode is for a host that reboots in between; mode normal goes to another host.
        """
        if self.stop_s is None or self.load_s is None:
            return None
        return self.stop_s + self.load_s + (0.0 if self.mode is MigMode.NORMAL else reboot_s)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be as it was.

    Attributes:
        what: the thing.
        before: what it was before the reboot, or what is expected.
        after: what it is after.
        passed: whether that is as it should be.
    """

    what: str
    before: str
    after: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Walkthrough:
    """A live update, told from beginning to end.

    Attributes:
        scenario: what was walked through.
        lines: the timeline.
        spans: run states of the guest over time.
        reboot_s: begin and end of the reboot, virtual seconds.
        losses: what the host lost, in words, oldest first.
        saves: the walk-through's own save first, then the same guest saved in other ways.
        blocking: features of the blocker catalogue that would block, by mode.
        checks: what was compared before and after.
    """

    scenario: Scenario
    lines: tuple[Line, ...]
    spans: tuple[StateSpan, ...]
    reboot_s: tuple[float, float]
    losses: tuple[str, ...]
    saves: tuple[Save, ...]
    blocking: Mapping[MigMode, tuple[str, ...]]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether the guest came through with everything it had."""
        return all(check.passed for check in self.checks)

    @property
    def saved(self) -> Save:
        """The save of the walk-through itself."""
        return self.saves[0]

    @property
    def side_by_side(self) -> tuple[Save, ...]:
        """All saves as tables and pictures show them: normal first, in place last."""
        return tuple(sorted(self.saves, key=lambda s: (s.mode is not MigMode.NORMAL, s.in_place)))

    @property
    def states(self) -> tuple[str, ...]:
        """The run states that ``info status`` printed, and the reboot, in order."""
        found = []
        for line in self.lines:
            if line.kind is LineKind.REBOOT:
                found.append(REBOOT)
            elif line.kind is LineKind.ANSWER and line.text.startswith(_STATUS):
                found.append(line.text.removeprefix(_STATUS))
        return tuple(found)

    def to_dict(self) -> dict[str, object]:
        """Return everything as values that JSON has; the same scenario gives the same text."""
        plain = cast("dict[str, object]", _plain(asdict(self)))
        return {"migsim": __version__, "ok": self.ok, "states": list(self.states), **plain}


_STATUS = "VM status: "


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value
