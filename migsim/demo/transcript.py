"""Writing down what is typed, answered and done, with paths as the simulated host has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StateError
from .result import Line, LineKind, StateSpan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..clock import VirtualClock
    from ..qapi.enums import RunState
    from ..vm import VM
    from .result import Voice


class Transcript:
    """The timeline as it grows.

    Args:
        clock: gives the time of every line.
        root: directory of the host; paths below it lose it.
    """

    def __init__(self, clock: VirtualClock, root: Path) -> None:
        self.clock = clock
        self.lines: list[Line] = []
        self._shown = {str(root.resolve()): ""}

    def show(self, real: str, as_text: str) -> None:
        """Let ``real`` appear as ``as_text`` in every line from now on."""
        self._shown[real] = as_text

    def view(self, text: str) -> str:
        """Return ``text`` as it is to be shown."""
        for real, shown in self._shown.items():
            text = text.replace(real, shown)
        return text

    def add(self, voice: Voice, kind: LineKind, text: str) -> None:
        """Add one line at the time it is now."""
        self.lines.append(Line(self.clock.now, voice, kind, self.view(text)))


class Window:
    """A terminal window: one machine, its human monitor, and what happened in it.

    Attributes:
        vm: the machine.
        voice: which window it is.
        spans: run states so far, the last one still open.
    """

    def __init__(self, vm: VM, voice: Voice, transcript: Transcript, start: list[str]) -> None:
        self.vm = vm
        self.voice = voice
        self.spans: list[StateSpan] = []
        self._log = transcript
        self._events_seen = 0
        for text in start:
            transcript.add(voice, LineKind.SHELL, text)
        self.look()

    def note(self, text: str) -> None:
        """Add a line in words."""
        self._log.add(self.voice, LineKind.NOTE, text)

    def type(self, line: str) -> str:
        """Type ``line`` into the human monitor and return its answer.

        Raises:
            StateError: the command was refused.
        """
        self._log.add(self.voice, LineKind.COMMAND, line)
        answer = self.vm.hmp(line)
        for text in answer.splitlines():
            self._log.add(self.voice, LineKind.ANSWER, text)
        self.look()
        if answer.startswith("Error: "):
            state = self.vm.run.state.value
            raise StateError(line, state, hint=answer.removeprefix("Error: ").strip())
        return answer

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.vm.advance(seconds)
        self.look()

    def wait(
        self, done: Callable[[], bool], limit_s: float, each: Callable[[], None] | None = None
    ) -> bool:
        """Let time pass until ``done()``, at most ``limit_s``; return whether it was done.

        ``each`` is called whenever the machine has done a piece of work.
        """
        end_s = self._log.clock.now + limit_s

        def over() -> bool:
            self.look()
            if each is not None:
                each()
            return done() or self._log.clock.now >= end_s

        self.vm.run_until(over, 2 * limit_s)
        return done()

    def look(self) -> None:
        """Note what is new: events, and the run state."""
        for event in self.vm.events[self._events_seen :]:
            self._log.add(self.voice, LineKind.EVENT, event.name)
        self._events_seen = len(self.vm.events)
        self._close_span(None if self.vm.exited else self.vm.run.state)

    def _close_span(self, state: RunState | None) -> None:
        """Let the open stretch end now, and another begin if the state is a new one."""
        now = self._log.clock.now
        if self.spans:
            last = self.spans[-1]
            self.spans[-1] = StateSpan(last.voice, last.state, last.start_s, now)
            if state is last.state:
                return
        if state is not None:
            self.spans.append(StateSpan(self.voice, state, now, now))
