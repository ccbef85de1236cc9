"""Write docs/qmp.md, the page about the QMP commands, from the table that answers them.

Usage: python tools/qmp_docs.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.monitor.commands import COMMANDS
from migsim.monitor.inventory import Inventory
from migsim.monitor.vocabulary import EnumType, ListType, ObjectType, Vocabulary, vocabulary
from migsim.server.plug import Plugger

if TYPE_CHECKING:
    from migsim.monitor.schema import Command

TARGET = Path(__file__).parent.parent / "docs" / "qmp.md"
HEAD = """# QMP commands

Every command of QEMU 10.0, with what it takes and what answers it here.  A `?` marks what may be
left out.  All arguments are checked by the types that `query-qmp-schema` describes; types and
members are QEMU's.

This page is made by `tools/qmp_docs.py`.
"""
NAMED = ("MigMode", "MigrationStatus", "MigrationCapability", "MigrateSetParameters")


def commands() -> dict[str, Command]:
    """Return all commands by name."""
    table = dict(COMMANDS)
    parts = (Inventory.commands, Plugger.commands.fget)
    for make in parts:
        for command in make(_Unbound()):
            table[command.name] = command
    return dict(sorted(table.items()))


class _Unbound(Inventory):
    """Stands for an object whose methods are only named."""

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> None:
        return None


def shown(words: Vocabulary, kind: str) -> str:
    """Return a type in words."""
    row = words.type(kind)
    match row:
        case ListType(element):
            return f"list of {shown(words, element)}"
        case EnumType(values) if len(values) <= 6:
            return " or ".join(values)
        case EnumType():
            return kind if kind in NAMED else "word"
        case ObjectType():
            return kind if kind in NAMED else "object"
    return kind if not hasattr(row, "kinds") else " or ".join(shown(words, k) for k in row.kinds)


def members(words: Vocabulary, kind: str) -> Iterator[str]:
    """Return the members of an object type in words."""
    row = words.type(kind)
    assert isinstance(row, ObjectType)
    if kind in NAMED:
        yield f"any of {len(row.members)} parameters"
        return
    for name, member in row.members.items():
        mark = "?" if member.optional else ""
        yield f"`{name}`{mark}: {shown(words, member.type)}"
    if row.cases:
        yield f"more by `{row.tag}`"


def table(title: str, rows: list[Command], words: Vocabulary) -> str:
    """Return one section."""
    lines = [f"\n## {title}\n", "| command | takes | answer |", "|---|---|---|"]
    for row in rows:
        takes = ", ".join(members(words, words.commands[row.name].takes)) or "-"
        lines.append(f"| `{row.name}` | {takes} | {row.doc.rstrip('.')} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page."""
    words = vocabulary()
    rows = list(commands().values())
    modelled = [row for row in rows if row.modelled]
    refused = [row for row in rows if not row.modelled]
    events = "\n".join(
        f"| `{name}` | {', '.join(members(words, kind)) or '-'} |"
        for name, kind in sorted(words.events.items())
        if name in EVENTS
    )
    return (
        HEAD
        + table("Answered", modelled, words)
        + table("Known, checked and refused", refused, words)
        + "\n## Events that are sent\n\n| event | data |\n|---|---|\n"
        + events
        + "\n"
    )


EVENTS = frozenset(
    {
        "DEVICE_DELETED",
        "JOB_STATUS_CHANGE",
        "MIGRATION",
        "MIGRATION_PASS",
        "POWERDOWN",
        "RESET",
        "RESUME",
        "SHUTDOWN",
        "STOP",
        "SUSPEND",
        "WAKEUP",
    }
)
"""Events that a machine here sends; the others are in the schema alone."""

if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
