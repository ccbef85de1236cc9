"""A walk-through as text: the timeline, the saves side by side, the checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from ..demo import Line, LineKind, Save, Voice
from ..demo.result import REBOOT
from ..qapi.enums import MigMode
from ..units import format_duration, format_size
from .console import output

if TYPE_CHECKING:
    from rich.console import Console

    from ..demo import Walkthrough

_VOICES: Final = {Voice.WINDOW_1: "cyan", Voice.HOST: "yellow", Voice.WINDOW_2: "green"}
_KINDS: Final = {
    # Kind: what stands before the text, and its style.
    LineKind.SHELL: ("    ", "dim"),
    LineKind.COMMAND: ("(qemu) ", "bold"),
    LineKind.ANSWER: ("", "bold magenta"),
    LineKind.EVENT: ("event ", "dim italic"),
    LineKind.NOTE: ("", ""),
    LineKind.REBOOT: (f"{REBOOT} ", "bold yellow"),
    LineKind.KEPT: ("kept  ", "green"),
    LineKind.LOST: ("lost  ", "red"),
}
_CONTINUED: Final = (LineKind.SHELL, LineKind.ANSWER)


def print_walkthrough(walk: Walkthrough, kept: Path | None = None) -> None:
    """Print ``walk``; ``kept`` is the directory in which its files stay."""
    console = output()
    scenario = walk.scenario
    console.print(Text("cpr-reboot: the host reboots under a guest that goes on", style="bold"))
    console.print(
        f"seed {scenario.seed}, {format_size(scenario.ram_bytes)} of RAM in {scenario.ram_kind},"
        f" {scenario.rate_pages_per_s:,.0f} page writes a second; times are virtual\n"
    )
    _print_lines(console, walk.lines)
    console.print()
    console.print(_checks(walk))
    console.print(_saves(walk))
    _print_blockers(console, walk)
    console.print()
    console.print(_verdict(walk))
    if kept is not None:
        console.print(f"Files kept in {kept}.", soft_wrap=True)


def _print_lines(console: Console, lines: tuple[Line, ...]) -> None:
    """Print the timeline; time and voice are not repeated on lines that go on."""
    last: Line | None = None
    for number, line in enumerate(lines):
        goes_on = last is not None and last.voice is line.voice and line.kind in _CONTINUED
        if last is not None and last.voice is not line.voice:
            console.print()
        follows = lines[number + 1 : number + 2]
        text = _text(line, first=not goes_on, more=bool(follows) and follows[0].kind is line.kind)
        console.print(text, soft_wrap=True)
        last = line


def _text(line: Line, *, first: bool, more: bool) -> Text:
    before, style = _KINDS[line.kind]
    text = Text()
    head = f"{line.time_s:9.4f} s  {line.voice:<8}  " if first else " " * 23
    text.append(head, style=_VOICES[line.voice])
    if line.kind is LineKind.SHELL:
        before = "$ " if first else before
        tail = " \\" if more else ""
        return text.append(f"{before}{line.text}{tail}", style=style)
    return text.append(f"{before}{line.text}", style=style)


def _checks(walk: Walkthrough) -> Table:
    table = _table("What the guest had, and has", ("", "before", "after the resume", ""))
    for check in walk.checks:
        word = Text("ok", style="green") if check.passed else Text("LOST", style="bold red")
        table.add_row(check.what, check.before, check.after, word)
    return table


_Cell = Callable[["Walkthrough", "Save"], str]
_ROWS: Final[tuple[tuple[str, _Cell], ...]] = (
    ("guest stopped by the save", lambda _, s: _time(s.stop_s)),
    ("total time of the save", lambda _, s: _time(s.total_s)),
    ("load, until the guest runs", lambda _, s: _time(s.load_s)),
    ("host in between", lambda w, s: "another one" if _is_normal(s) else f"reboots, {_reboot(w)}"),
    ("guest stands still in all", lambda w, s: _time(s.away_s(w.scenario.reboot_s))),
    ("state file", lambda _, s: format_size(s.file_bytes)),
    ("passes over RAM", lambda _, s: str(s.passes)),
    ("pages with content", lambda _, s: f"{s.normal_pages:,}"),
    ("zero pages", lambda _, s: f"{s.zero_pages:,}"),
    ("guest equal after the load", lambda _, s: {None: "-", True: "yes", False: "NO"}[s.equal]),
    ("blocked here by", lambda _, s: "; ".join(s.blocked_reasons) or "nothing"),
    ("would be blocked by", lambda w, s: f"{len(w.blocking[s.mode])} known features"),
)


def _saves(walk: Walkthrough) -> Table:
    saves = walk.side_by_side
    table = _table("The same guest, saved in other ways", ("", *(s.label for s in saves)))
    for column in table.columns[1:]:
        column.justify = "right"
    if not all(save.completed for save in saves):
        table.add_row("status of the save", *(str(save.status) for save in saves))
    for name, show in _ROWS:
        table.add_row(name, *(show(walk, save) for save in saves))
    return table


def _is_normal(save: Save) -> bool:
    return save.mode is MigMode.NORMAL


def _reboot(walk: Walkthrough) -> str:
    return format_duration(walk.scenario.reboot_s)


def _print_blockers(console: Console, walk: Walkthrough) -> None:
    rest = set(walk.blocking[MigMode.CPR_REBOOT])
    freed = [feature for feature in walk.blocking[MigMode.NORMAL] if feature not in rest]
    console.print(f"Known to block normal but not cpr-reboot in QEMU 10.0: {', '.join(freed)}.")


def _verdict(walk: Walkthrough) -> Text:
    if walk.ok:
        return Text("The guest went on where it stopped: RAM and devices are intact.", "green")
    what = ", ".join(check.what for check in walk.checks if not check.passed)
    return Text(
        f"The guest lost something ({what}): its RAM lay in {walk.scenario.ram_kind}, which did"
        " not outlive the reboot, and nothing in QEMU prevents that.",
        style="bold red",
    )


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column)
    return table
