"""Monitor commands and the time between them, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from ...monitor.commands import COMMANDS
from ...qapi.release import Release
from .vocabulary import any_json, any_parameter_changes, capability_requests, modes

if TYPE_CHECKING:
    from ...vm import VM

_PLAIN: Final = ("stop", "cont", "migrate_cancel", "system_reset", "system_wakeup")
_WAITING: Final = ("pre-switchover", "active", "device")
_SWITCHES: Final = (
    "pause-before-switchover", "events", "auto-converge", "return-path", "x-ignore-shared",
    "validate-uuid", "xbzrle", "mapped-ram", "background-snapshot", "multifd",
)  # fmt: skip
"""Capabilities that change how commands follow each other, which any request seldom finds."""
_PACES: Final = (0, 5, 100_000, 2_000_000, 20_000_000)
_DOWNTIMES_MS: Final = (0, 1, 300, 2_000_000, 2_000_001)
_SPANS_S: Final = (0.0, 1e-6, 0.0007, 0.05, 0.1, 0.333, 2.0)


@dataclass(frozen=True, slots=True)
class Command:
    """One QMP command with its arguments."""

    name: str
    arguments: dict[str, object] = field(default_factory=dict)

    def run(self, vm: VM) -> dict[str, object]:
        """Return QMP's reply to it, ``{"return": ...}`` or ``{"error": ...}``."""
        return vm.qmp(self.name, self.arguments)

    def message(self) -> dict[str, object]:
        """Return it as the message that goes over a socket."""
        arguments = {"arguments": self.arguments} if self.arguments else {}
        return {"execute": self.name, **arguments}


@dataclass(frozen=True, slots=True)
class Pause:
    """Some time that passes, in seconds."""

    seconds: float


def pauses() -> st.SearchStrategy[Pause]:
    """Return some time: less than a step of an engine, many steps, or none at all."""
    return st.builds(Pause, st.sampled_from(_SPANS_S) | st.floats(0, 1))


def migration_commands(
    release: Release = Release.DEFAULT,
    *,
    uris: tuple[str, ...] = ("file:/nowhere/at/all",),
) -> st.SearchStrategy[Command]:
    """Return a command that has to do with migration, mostly one that changes something.

    ``uris`` are those that ``migrate`` and ``migrate-incoming`` go to.
    """
    addresses = st.fixed_dictionaries({"uri": st.sampled_from(uris)})
    return st.one_of(
        st.builds(Command, st.sampled_from(_PLAIN)),
        st.builds(Command, st.just("migrate"), addresses),
        st.builds(Command, st.just("migrate-continue"), _one("state", st.sampled_from(_WAITING))),
        st.builds(Command, st.just("migrate-set-parameters"), _one("mode", _mode_names(release))),
        st.builds(Command, st.just("migrate-set-parameters"), _paces()),
        st.builds(Command, st.just("migrate-set-parameters"), any_parameter_changes(release)),
        st.tuples(st.sampled_from(_SWITCHES), st.booleans()).map(lambda one: _switch([one])),
        capability_requests(release, most=3).map(_switch),
        st.builds(Command, st.just("migrate-incoming"), addresses),
    )


def _one(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, object]]:
    return values.map(lambda value: {name: value})


def _mode_names(release: Release) -> st.SearchStrategy[str]:
    return modes(release).map(lambda mode: mode.value) | st.just("nonsense")


def _paces() -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "max-bandwidth": st.sampled_from(_PACES).map(_any),
            "downtime-limit": st.sampled_from(_DOWNTIMES_MS).map(_any),
        }
    )


def _any(value: object) -> object:
    return value


def _switch(request: list[tuple[str, bool]]) -> Command:
    entries = [{"capability": name, "state": state} for name, state in request]
    return Command("migrate-set-capabilities", {"capabilities": entries})


def monitor_commands(*, but: frozenset[str] = frozenset({"quit"})) -> st.SearchStrategy[Command]:
    """Return any command that the monitor knows, ``but`` some, with arguments of any kind."""
    names = st.sampled_from(sorted(COMMANDS.keys() - but))
    words = st.sampled_from(["uri", "state", "name", "id", "path", "capabilities"])
    given = st.dictionaries(words, any_json().map(_any), max_size=2)
    arguments: st.SearchStrategy[dict[str, object]] = st.just({}) | given
    return st.builds(Command, names, arguments)


def command_sequences(
    release: Release = Release.DEFAULT,
    *,
    least: int = 0,
    most: int = 20,
    uris: tuple[str, ...] = ("file:/nowhere/at/all",),
) -> st.SearchStrategy[list[Command | Pause]]:
    """Return commands about migration with time between them; shrinks to few and to no time."""
    return st.lists(
        migration_commands(release, uris=uris) | pauses(), min_size=least, max_size=most
    )
