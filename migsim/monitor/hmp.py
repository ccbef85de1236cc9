"""HMP in process: the human monitor's commands and what they print.

Success prints nothing.  A refused command prints one line that begins with ``Error:``; a line
that cannot be parsed prints something else and a hint (spec monitor.md section 3, QEMU 10.0).
Lines end with CR LF, as the real monitor's do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import MigsimError, ParameterError, StateError
from ..qapi.capabilities import CAPABILITIES
from ..qapi.enums import MigrationStatus
from ..qapi.transitions import info_status
from .hmp_info import ALL_SINCE, migrate_lines
from .hmp_others import OTHER_COMMANDS, OTHER_TOPICS

if TYPE_CHECKING:
    from ..machine.machine import Machine

WAITING = frozenset(
    {
        None,
        MigrationStatus.SETUP.value,
        MigrationStatus.ACTIVE.value,
        MigrationStatus.DEVICE.value,
        MigrationStatus.FAILING.value,
    }
)
"""Statuses for which ``migrate`` without ``-d`` keeps the monitor waiting.

QEMU waits for the first three; it looks once a second, which makes it miss the two passing ones.
"""
MIGRATE_WAIT_LIMIT_S = 86_400.0
"""A migration that has not ended after this time gives the monitor back (seconds)."""


class UsageError(MigsimError):
    """The line itself is wrong: a word too few or too many, an unknown flag."""


@dataclass(frozen=True, slots=True)
class HmpCommand:
    """One command of the human monitor.

    Attributes:
        usage: the words after the name; optional ones in brackets.
        handler: gets machine, flags and words; returns lines to print.
        flags: accepted one-letter flags.
        words: how many words it takes, as (least, most).
        rest_since: first release in which the last word is all that is left of the line.
    """

    name: str
    usage: str
    handler: Callable[[Machine, frozenset[str], Sequence[str]], Sequence[str]]
    flags: str = ""
    words: tuple[int, int] = (0, 0)
    rest_since: str | None = None


def _migrate(vm: Machine, flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    if "r" in flags:
        raise StateError("migrate -r", "idle", ["postcopy-paused"])
    vm.migrate(words[0])
    if "d" not in flags:
        vm.run_until(lambda: vm.query_migrate().get("status") not in WAITING, MIGRATE_WAIT_LIMIT_S)
    return ()


def _migrate_incoming(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    vm.migrate_incoming(words[0], exit_on_error=False)
    return ()


def _migrate_continue(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    try:
        state = MigrationStatus(words[0])
    except ValueError:
        raise ParameterError("state", words[0], "the name of a migration status") from None
    vm.migrate_continue(state)
    return ()


def _set_capability(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    if words[1] not in ("on", "off"):
        raise UsageError("the state is 'on' or 'off'")
    on = words[1] == "on"
    vm.set_capabilities([(words[0], on)])
    leaving = [one for one in CAPABILITIES if one.name == words[0] and one.warns_in(vm.release)]
    return [f"warning: capability '{words[0]}' is deprecated"] if on and leaving else ()


def _set_parameter(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    vm.set_parameters({words[0]: vm.parameters.parse_hmp(words[0], words[1])})
    return ()


def _plain(method: str) -> Callable[[Machine, frozenset[str], Sequence[str]], Sequence[str]]:
    def handler(vm: Machine, _flags: frozenset[str], _words: Sequence[str]) -> Sequence[str]:
        getattr(vm, method)()
        return ()

    return handler


def _info(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    if not words:
        return [f"info {topic}" for topic in INFO_TOPICS]
    topic, *rest = words
    if topic == "migrate" and rest == ["-a"] and vm.release.has(ALL_SINCE):
        return migrate_lines(vm, everything=True)
    if topic in OTHER_TOPICS:
        return OTHER_TOPICS[topic](vm)
    if topic not in INFO_TOPICS:
        raise UsageError(f"unknown command: 'info {topic}'")
    if rest:
        raise UsageError(f"{topic}: extraneous characters at the end of line")
    return INFO_TOPICS[topic](vm)


def _qmp(
    name: str, *arguments: str
) -> Callable[[Machine, frozenset[str], Sequence[str]], Sequence[str]]:
    """Return a handler that is a QMP command with the words as its arguments."""

    def handler(vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
        from .commands import COMMANDS as QMP_COMMANDS  # noqa: PLC0415 - it needs this module

        QMP_COMMANDS[name].handler(vm, dict(zip(arguments, words, strict=True)))
        return ()

    return handler


def _help(_vm: Machine, _flags: frozenset[str], words: Sequence[str]) -> Sequence[str]:
    if words[:1] == ["info"]:
        return [f"info {topic}" for topic in INFO_TOPICS]
    if words and _ALIASES.get(words[0], words[0]) not in COMMANDS:
        return [f"unknown command: '{words[0]}'"]
    names = [_ALIASES.get(word, word) for word in words[:1]] or list(COMMANDS)
    return [f"{COMMANDS[n].name} {COMMANDS[n].usage}".rstrip() for n in names if n in COMMANDS]


INFO_TOPICS: dict[str, Callable[[Machine], Sequence[str]]] = {
    "status": lambda vm: [f"VM status: {info_status(vm.run.state)}"],
    "migrate": migrate_lines,
    "migrate_parameters": lambda vm: vm.parameters.hmp_lines(),
    "migrate_capabilities": lambda vm: vm.capabilities.hmp_lines(),
    "version": lambda vm: [str(vm.release)],
    "name": lambda vm: [vm.config.name] if vm.config.name else [],
}
"""What ``info`` knows."""

_COMMANDS = (
    HmpCommand("migrate", "[-d] [-r] uri", _migrate, "dr", (1, 1)),
    HmpCommand("migrate_incoming", "uri", _migrate_incoming, "", (1, 1)),
    HmpCommand("migrate_cancel", "", _plain("migrate_cancel")),
    HmpCommand("migrate_continue", "state", _migrate_continue, "", (1, 1)),
    HmpCommand("migrate_set_capability", "capability state", _set_capability, "", (2, 2)),
    HmpCommand("migrate_set_parameter", "parameter value", _set_parameter, "", (2, 2), "10.2"),
    HmpCommand("migrate_start_postcopy", "", _qmp("migrate-start-postcopy")),
    HmpCommand("migrate_pause", "", _qmp("migrate-pause")),
    HmpCommand("migrate_recover", "uri", _qmp("migrate-recover", "uri"), "", (1, 1)),
    HmpCommand("help", "[name]", _help, "", (0, 2)),
    HmpCommand("stop", "", _plain("stop")),
    HmpCommand("cont", "", _plain("cont")),
    HmpCommand("system_reset", "", _plain("system_reset")),
    HmpCommand("system_powerdown", "", _plain("system_powerdown")),
    HmpCommand("system_wakeup", "", _plain("system_wakeup")),
    HmpCommand("quit", "", _plain("quit")),
    HmpCommand("info", "[topic]", _info, "", (0, 99)),
)
_OTHERS = tuple(
    HmpCommand(name, "", handler, "", (least, most))
    for name, (handler, least, most) in OTHER_COMMANDS.items()
)
_ALIASES = {"c": "cont", "s": "stop", "q": "quit"}
COMMANDS = {command.name: command for command in (*_OTHERS, *_COMMANDS)}
"""Every command of the human monitor by name."""


class HmpMonitor:
    """Executes lines of the human monitor on one machine.

    ``on_wait`` is called instead of letting time pass by a ``migrate`` without ``-d``, and returns
    lines to print.  ``extra`` are more commands by name.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        on_wait: Callable[[], Sequence[str]] | None = None,
        extra: Mapping[str, HmpCommand] = MappingProxyType({}),
    ) -> None:
        self.machine = machine
        self._extra = extra
        self._on_wait = on_wait

    def execute(self, line: str) -> str:
        """Return what the monitor prints for ``line``; nothing for a command that succeeds."""
        lines = self._lines(line)
        return "".join(f"{text}\r\n" for text in lines)

    def _lines(self, line: str) -> Sequence[str]:
        name, _, rest = line.strip().partition(" ")
        if not name:
            return ()
        command = self._extra.get(name) or COMMANDS.get(_ALIASES.get(name, name))
        if command is None:
            return [f"unknown command: '{name}'"]
        try:
            whole = command.rest_since is not None and self.machine.release.has(command.rest_since)
            flags, words = _split(command, _halves(rest) if whole else _words(command, rest))
            if self._on_wait is None or "d" not in command.flags or "d" in flags:
                return command.handler(self.machine, flags, words)
            return [*command.handler(self.machine, flags | {"d"}, words), *self._on_wait()]
        except UsageError as error:
            return [str(error), f'Try "help {command.name}" for more information']
        except MigsimError as error:
            return [f"Error: {error}"]


_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s]\S*))')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


def _words(command: HmpCommand, text: str) -> list[str]:
    """Return the words of ``text``; one in double quotes may hold spaces (seen on QEMU 10.0.2).

    Raises:
        UsageError: a quote without its other half, or an unknown escape in a quoted word.
    """
    words, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise UsageError(f"{command.name}: string expected")
        quoted, bare = match.groups()
        words.append(bare if quoted is None else _ESCAPE.sub(_unescape(command), quoted))
        at = match.end()
    return words


def _halves(text: str) -> list[str]:
    """Return the first word of ``text`` and all that is behind it."""
    return text.split(maxsplit=1)


def _unescape(command: HmpCommand) -> Callable[[re.Match[str]], str]:
    def replacement(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise UsageError(f"{command.name}: string expected")
        return _ESCAPES[match[1]]

    return replacement


def _split(command: HmpCommand, rest: Sequence[str]) -> tuple[frozenset[str], Sequence[str]]:
    """Return flags and words of a line.

    Raises:
        UsageError: unknown flag, too few or too many words.
    """
    flags: set[str] = set()
    words = list(rest)
    while command.flags and words and words[0].startswith("-") and len(words[0]) > 1:
        letter = words.pop(0)[1:]
        if letter not in list(command.flags):
            raise UsageError(f"{command.name}: unsupported option -{letter}")
        flags.add(letter)
    least, most = command.words
    if len(words) < least:
        raise UsageError(f"{command.name}: takes {command.usage}")
    if len(words) > most:
        raise UsageError(f"{command.name}: extraneous characters at the end of line")
    return frozenset(flags), words
