"""``-preconfig``: few commands until ``x-exit-preconfig`` (seen on QEMU 10.0.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from .errors import QmpError
from .schema import Arguments, Command

if TYPE_CHECKING:
    from ..machine.machine import Machine

_EXIT: Final = "x-exit-preconfig"
_EARLY: Final = frozenset(
    [
        "netdev_add",
        "netdev_del",
        "object-add",
        "object-del",
        "qom-get",
        "qom-list",
        "qom-list-properties",
        "qom-list-types",
        "qom-set",
        "query-chardev",
        "query-command-line-options",
        "query-commands",
        "query-hotpluggable-cpus",
        "query-iothreads",
        "query-memdev",
        "query-name",
        "query-named-block-nodes",
        "query-pr-managers",
        "query-qmp-schema",
        "query-status",
        "query-uuid",
        "query-version",
        "quit",
        "set-action",
        "set-numa-node",
    ]
)
"""Commands that may come before; those of the block layer may, too."""
_EARLY_BEGINNINGS: Final = (
    "block-",
    "block_",
    "blockdev-",
    "drive-",
    "nbd-",
    "query-block",
    "x-block",
)
_LATE: Final = frozenset({"block-job-change", "blockdev-change-medium", "blockdev-close-tray"})


class PreconfigCommands(Mapping[str, Command]):
    """A table of commands of which most are refused at first.

    ``runs_then`` is whether the guest runs when the phase is over.
    """

    def __init__(self, commands: Mapping[str, Command], *, runs_then: bool) -> None:
        exit_command = Command(_EXIT, self._exit, "End the phase of preparations.")
        self._commands = {**commands, _EXIT: exit_command}
        self._runs_then = runs_then
        self.over = False

    def __getitem__(self, name: str) -> Command:
        found = self._commands[name]
        early = name in _EARLY or (name.startswith(_EARLY_BEGINNINGS) and name not in _LATE)
        if self.over or early or name == _EXIT:
            return found
        return Command(name, self._too_early, found.doc, own_check=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)

    def _too_early(self, _vm: Machine, _arguments: Arguments) -> object:
        raise QmpError(f"permitted only after the machine has been created: give {_EXIT}")

    def _exit(self, vm: Machine, _arguments: Arguments) -> object:
        if self.over:
            raise QmpError(f"{_EXIT}: permitted only before the machine has been created")
        self.over = True
        if self._runs_then:
            vm.run.start()
        return {}
