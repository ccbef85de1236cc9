"""The QMP commands that migsim answers, as a table (spec monitor.md section 2, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..channel.addresses import parse_channels
from ..errors import ParameterError, StateError
from ..machine.machine import Machine
from ..qapi.enums import Capability, MigrationStatus
from .commands_process import PROCESS_COMMANDS
from .errors import QmpError
from .hmp import HmpCommand, HmpMonitor
from .schema import ArgType, Argument, Arguments, Command

if TYPE_CHECKING:
    from ..channel.uri import ChannelAddress


def _migrate(vm: Machine, arguments: Arguments) -> object:
    uri, channels = arguments.get("uri"), arguments.get("channels")
    if arguments.get("resume"):
        raise QmpError("migrate: there is no paused postcopy migration to resume")
    vm.migrate(_address("migrate", uri, channels))
    return {}


def _migrate_incoming(vm: Machine, arguments: Arguments) -> object:
    uri = _address("migrate-incoming", arguments.get("uri"), arguments.get("channels"))
    vm.migrate_incoming(uri, exit_on_error=arguments.get("exit-on-error") is not False)
    return {}


def _address(command: str, uri: object, channels: object) -> str | ChannelAddress:
    """Return the one address given: a URI, or that of the channel list's main channel.

    A source takes one channel of each type and opens the cpr channel in cpr-transfer alone.  A
    target takes one channel, whatever its type (seen on QEMU 10.0.2).
    """
    if bool(uri is not None) == bool(channels):
        raise QmpError(f"{command}: give either 'uri' or 'channels'")
    if isinstance(uri, str):
        return uri
    assert isinstance(channels, list)
    found = parse_channels(channels)
    if command == "migrate-incoming":
        if found.main is not None and found.cpr is not None:
            raise QmpError(f"{command}: the channel list needs exactly one channel")
        address = found.main or found.cpr
    else:
        address = found.main
    if address is None:
        raise QmpError(f"{command}: the channel list has no main channel")
    return address


def _set_capabilities(vm: Machine, arguments: Arguments) -> object:
    entries = arguments["capabilities"]
    assert isinstance(entries, list)
    wanted: list[tuple[str, bool]] = []
    for entry in entries:
        match entry:
            case {"capability": str(name), "state": bool(state), **rest} if not rest:
                wanted.append((name, state))
            case _:
                raise QmpError(
                    "migrate-set-capabilities: an entry has 'capability' (string) and 'state'"
                    " (boolean) and nothing else"
                )
    vm.set_capabilities(wanted)
    return {}


def _set_parameters(vm: Machine, arguments: Arguments) -> object:
    vm.set_parameters(arguments)
    return {}


def _continue(vm: Machine, arguments: Arguments) -> object:
    name = str(arguments["state"])
    try:
        state = MigrationStatus(name)
    except ValueError:
        known = ", ".join(status.value for status in MigrationStatus)
        raise ParameterError("state", name, f"one of {known}") from None
    vm.migrate_continue(state)
    return {}


def _simple(name: str) -> Command:
    """A command without arguments and result that has a method of the same name."""
    method = name.replace("-", "_")

    def handler(vm: Machine, _arguments: Arguments) -> object:
        getattr(vm, method)()
        return {}

    doc = getattr(Machine, method).__doc__ or ""
    return Command(name, handler, doc.split("\n", 1)[0])


def _query_version(vm: Machine, _arguments: Arguments) -> object:
    release = vm.release
    return {
        "qemu": {"major": release.major, "minor": release.minor, "micro": 0},
        "package": "migsim",
    }


def _name(vm: Machine, _arguments: Arguments) -> object:
    return {"name": vm.config.name} if vm.config.name else {}


def human_monitor_command(extra: Mapping[str, HmpCommand]) -> Command:
    """Return the command that executes lines of the human monitor, which knows ``extra``, too."""

    def handler(vm: Machine, arguments: Arguments) -> object:
        notice = ["migrate: goes on in the background, as with -d"]
        monitor = HmpMonitor(vm, on_wait=lambda: notice, extra=extra)
        return monitor.execute(str(arguments["command-line"]))

    return Command(
        "human-monitor-command",
        handler,
        "Execute a line of the human monitor and return what it prints.",
        (
            Argument("command-line", ArgType.STRING, required=True),
            Argument("cpu-index", ArgType.INTEGER),
        ),
    )


def _start_postcopy(vm: Machine, _arguments: Arguments) -> object:
    if Capability.POSTCOPY_RAM not in vm.capabilities:
        raise StateError("migrate-start-postcopy", "off", hint="switch on postcopy-ram first")
    if vm.source.status.value is MigrationStatus.NONE:
        raise StateError("migrate-start-postcopy", "none", hint="no migration was started")
    return {}


def _pause(vm: Machine, _arguments: Arguments) -> object:
    wanted = ["postcopy-active", "postcopy-recover"]
    raise StateError("migrate-pause", vm.source.status.value.value, wanted)


def _recover(vm: Machine, _arguments: Arguments) -> object:
    raise StateError("migrate-recover", vm.incoming.status.value.value, ["postcopy-paused"])


def _query_commands(more: Iterable[str]) -> Command:
    def handler(_vm: Machine, _arguments: Arguments) -> object:
        return [{"name": name} for name in (*COMMANDS, *more)]

    return Command("query-commands", handler, "List the commands.")


def extended(
    commands: Iterable[Command], hmp_commands: Mapping[str, HmpCommand]
) -> dict[str, Command]:
    """Return the table of commands with more of them, and more in the human monitor."""
    more = {command.name: command for command in commands}
    table = {**COMMANDS, **more}
    for command in (_query_commands(more), human_monitor_command(hmp_commands)):
        table[command.name] = command
    return table


_URI_OR_CHANNELS = (
    Argument("uri", ArgType.STRING),
    Argument("channels", ArgType.ARRAY),
)

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "migrate",
            _migrate,
            "Save or send the guest to a URI.",
            (
                *_URI_OR_CHANNELS,
                Argument("detach", ArgType.BOOLEAN),
                Argument("resume", ArgType.BOOLEAN),
            ),
        ),
        Command(
            "migrate-incoming",
            _migrate_incoming,
            "Load the guest from a URI; the machine waits for it.",
            (*_URI_OR_CHANNELS, Argument("exit-on-error", ArgType.BOOLEAN)),
        ),
        _simple("migrate_cancel"),
        Command(
            "migrate-continue",
            _continue,
            "Go on behind a status that waits.",
            (Argument("state", ArgType.STRING, required=True),),
        ),
        Command(
            "migrate-set-capabilities",
            _set_capabilities,
            "Switch capabilities on or off; all or none.",
            (Argument("capabilities", ArgType.ARRAY, required=True),),
        ),
        Command(
            "query-migrate-capabilities",
            lambda vm, _: vm.capabilities.query(),
            "List all capabilities with their state.",
        ),
        Command(
            "migrate-set-parameters",
            _set_parameters,
            "Set migration parameters; all or none.",
            None,
        ),
        Command(
            "query-migrate-parameters",
            lambda vm, _: vm.parameters.query(),
            "Show all migration parameters.",
        ),
        Command(
            "query-migrate", lambda vm, _: vm.query_migrate(), "Show how the migration stands."
        ),
        Command("query-status", lambda vm, _: vm.query_status(), "Show the run state."),
        Command("query-version", _query_version, "Show the release that is modelled."),
        Command("query-name", _name, "Show the guest's name."),
        _query_commands(()),
        Command("migrate-start-postcopy", _start_postcopy, "Let the target run ahead of its RAM."),
        Command("migrate-pause", _pause, "Interrupt a postcopy migration."),
        Command(
            "migrate-recover",
            _recover,
            "Listen for a source that comes back to an interrupted postcopy.",
            (Argument("uri", ArgType.STRING, required=True),),
        ),
        human_monitor_command({}),
        *PROCESS_COMMANDS,
        _simple("stop"),
        _simple("cont"),
        _simple("system_reset"),
        _simple("system_powerdown"),
        _simple("system_wakeup"),
        _simple("quit"),
    )
}
"""Every command by name."""
