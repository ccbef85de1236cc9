"""The QMP commands that migsim answers, as a table (spec monitor.md section 2, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..channel.addresses import Channels, parse_channels
from ..machine.machine import Machine
from ..qapi.enums import MigrationStatus
from .commands_catalogue import CATALOGUE_COMMANDS
from .commands_process import PROCESS_COMMANDS
from .commands_quiet import QUIET_COMMANDS
from .dirty_rate import DIRTY_RATE_COMMANDS
from .errors import QmpError
from .hmp import HmpCommand, HmpMonitor
from .introspection import describe
from .jobs import JOB_COMMANDS
from .object_tree import OBJECT_COMMANDS
from .refusals import REFUSED_COMMANDS
from .schema import Arguments, Command

if TYPE_CHECKING:
    from ..channel.uri import ChannelAddress


def _migrate(vm: Machine, arguments: Arguments) -> object:
    uri, channels = arguments.get("uri"), arguments.get("channels")
    found = parse_channels(channels) if isinstance(channels, list) else Channels()
    vm.migrate(
        _address("migrate", uri, channels), cpr=found.cpr, resume=arguments.get("resume") is True
    )
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
    vm.set_capabilities([(entry["capability"], entry["state"]) for entry in entries])
    return {}


def _set_parameters(vm: Machine, arguments: Arguments) -> object:
    vm.set_parameters(arguments)
    return {}


def _continue(vm: Machine, arguments: Arguments) -> object:
    vm.migrate_continue(MigrationStatus(str(arguments["state"])))
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


def human_monitor_command(extra: Mapping[str, HmpCommand], cpus: int = 1) -> Command:
    """Return the command that executes lines of the human monitor, which knows ``extra``, too.

    ``cpus`` is how many virtual processors there are, one of which a line may be about.
    """

    def handler(vm: Machine, arguments: Arguments) -> object:
        index = arguments.get("cpu-index")
        if index is not None and (vm.machine_name == "none" or index not in range(cpus)):
            raise QmpError(f"human-monitor-command: there is no processor {index}")
        notice = ["migrate: goes on in the background, as with -d"]
        monitor = HmpMonitor(vm, on_wait=lambda: notice, extra=extra)
        return monitor.execute(str(arguments["command-line"]))

    return Command(
        "human-monitor-command",
        handler,
        "Execute a line of the human monitor and return what it prints.",
    )


def _recover(vm: Machine, arguments: Arguments) -> object:
    vm.migrate_recover(str(arguments["uri"]))
    return {}


def _about(more: Iterable[str]) -> tuple[Command, Command]:
    """Return the commands that say which commands there are, with ``more`` than in this module."""
    added = frozenset(more)

    def names() -> frozenset[str]:
        return frozenset({*added, *COMMANDS, "qmp_capabilities"})

    def listed(_vm: Machine, _arguments: Arguments) -> object:
        return [{"name": name} for name in sorted(names())]

    def described(vm: Machine, _arguments: Arguments) -> object:
        return describe(vm.release, names())

    return (
        Command("query-commands", listed, "List the commands."),
        Command("query-qmp-schema", described, "Describe all commands, events and types."),
    )


def extended(
    commands: Iterable[Command], hmp_commands: Mapping[str, HmpCommand], cpus: int = 1
) -> dict[str, Command]:
    """Return the table of commands with more of them, and more in the human monitor."""
    more = {command.name: command for command in commands}
    table = {**COMMANDS, **more}
    for command in (*_about(more), human_monitor_command(hmp_commands, cpus)):
        table[command.name] = command
    return table


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("migrate", _migrate, "Save or send the guest to a URI."),
        Command(
            "migrate-incoming",
            _migrate_incoming,
            "Load the guest from a URI; the machine waits for it.",
        ),
        _simple("migrate_cancel"),
        Command("migrate-continue", _continue, "Go on behind a status that waits."),
        Command(
            "migrate-set-capabilities",
            _set_capabilities,
            "Switch capabilities on or off; all or none.",
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
            own_check=True,
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
        *_about(()),
        _simple("migrate-start-postcopy"),
        _simple("migrate-pause"),
        Command(
            "migrate-recover",
            _recover,
            "Listen for a source that comes back to an interrupted postcopy.",
        ),
        human_monitor_command({}),
        *PROCESS_COMMANDS,
        *CATALOGUE_COMMANDS,
        *DIRTY_RATE_COMMANDS,
        *JOB_COMMANDS,
        *OBJECT_COMMANDS,
        *QUIET_COMMANDS,
        _simple("stop"),
        _simple("cont"),
        _simple("system_reset"),
        _simple("system_powerdown"),
        _simple("system_wakeup"),
        _simple("quit"),
        *REFUSED_COMMANDS,
    )
}
"""Every command by name."""
