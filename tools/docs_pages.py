"""Pages of the reference that are made from tables and from the list of modules.

Usage: python tools/docs_pages.py FOLDER
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import migsim
from migsim.blockers import FREE, ROWS
from migsim.qapi.capabilities import CAPABILITIES, CapabilityRow
from migsim.qapi.parameters import PARAMETERS

if TYPE_CHECKING:
    from migsim.qapi.parameter import Parameter

FIRST_LINE = "<!-- Made by tools/docs_pages.py from the tables; do not edit. -->"
PRIVATE = ("migsim.__main__",)


def write(folder: Path) -> None:
    """Write every generated page into ``folder``; a page that is as it was is not touched."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    pages = {
        "parameters.md": parameters(),
        "capabilities.md": capabilities(),
        "blockers.md": blockers(),
        **api_pages(),
    }
    for name, lines in pages.items():
        text = "\n".join([FIRST_LINE, "", *lines]) + "\n"
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield a Markdown table."""
    head = list(head)
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def parameters() -> Iterator[str]:
    """Yield the page of migration parameters."""
    yield "# Migration parameters"
    yield ""
    yield "What `migrate-set-parameters` takes, in QEMU's order. Units are those of QMP."
    yield ""
    rows = (
        (
            f"`{row.name}`",
            row.type.expected(),
            _default(row),
            row.unit,
            _life(row),
            row.doc,
        )
        for row in PARAMETERS
    )
    yield from table(("name", "values", "default", "unit", "releases", "what it is"), rows)


def _default(row: Parameter[object]) -> str:
    value = row.default
    return "" if value is None else f"`{getattr(value, 'value', value)}`"


def _life(row: Parameter[object] | CapabilityRow) -> str:
    since = f"since {row.since}" if row.since and row.since != "8.2" else ""
    until = f"until {row.until}" if row.until else ""
    return " ".join(part for part in (since, until) if part)


def capabilities() -> Iterator[str]:
    """Yield the page of migration capabilities."""
    yield "# Migration capabilities"
    yield ""
    yield "What `migrate-set-capabilities` takes, in QEMU's order; all are off by default."
    yield ""
    rows = ((f"`{row.name}`", _life(row), row.doc) for row in CAPABILITIES)
    yield from table(("name", "releases", "what it does"), rows)


def blockers() -> Iterator[str]:
    """Yield the page of known blockers."""
    yield "# Known migration blockers"
    yield ""
    yield "What forbids migration in 10.0, as `migsim blockers` knows it."
    yield ""
    rows = (
        (f"`{row.feature}`", row.title, row.scope().value, row.when, row.lift)
        for row in ROWS.values()
    )
    yield from table(("feature", "what it is", "blocks", "when", "what lifts it"), rows)
    yield ""
    yield "## Suspected, but free"
    yield ""
    yield from table(
        ("feature", "what it is", "note"),
        ((f"`{row.feature}`", row.title, row.note) for row in FREE.values()),
    )


PACKAGES = {info.name for info in pkgutil.walk_packages(migsim.__path__, "migsim.") if info.ispkg}


def api_pages() -> dict[str, list[str]]:
    """Return the pages of the packages: one for each, with all public modules in it."""
    pages: dict[str, list[str]] = {}
    packages: dict[str, list[str]] = {}
    for info in pkgutil.walk_packages(migsim.__path__, "migsim."):
        if info.name in PRIVATE or any(part.startswith("_") for part in info.name.split(".")):
            continue
        top = ".".join(info.name.split(".")[:2])
        packages.setdefault(top, [])
        if info.name != top or not info.ispkg:
            packages[top].append(info.name)
    for top, modules in sorted(packages.items()):
        lines = [f"# {top}", ""]
        names = [top, *modules] if modules != [top] else [top]
        for name in names:
            if name != top:
                lines += [f"## {name}", ""]
            # A package says what it is; its names are told where they are defined.
            alone = ["   :no-members:"] if name in PACKAGES else []
            lines += ["```{eval-rst}", f".. automodule:: {name}", *alone, "```", ""]
        pages[f"api/{top.removeprefix('migsim.')}.md"] = lines
    listed = [top.removeprefix("migsim.") for top in sorted(packages)]
    toc = ["```{toctree}", ":maxdepth: 1", "", *listed, "```"]
    pages["api/index.md"] = ["# Packages and modules", "", *toc]
    return pages


if __name__ == "__main__":
    write(Path(sys.argv[1]))
