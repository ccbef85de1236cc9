"""Ask a QEMU binary for the types of its monitor; write migsim/monitor/data/qmp.json.

Usage: python tools/qmp_facts.py [qemu-system-x86_64]

Only names and types are taken.  A type has the path to its first use as its name, but for those
that migsim's own tables describe: their rows are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from cmdline_facts import DATA, Monitor, source

TARGET = DATA.parent.parent / "monitor" / "data" / "qmp.json"
OWN = {
    "migrate-set-parameters": "MigrateSetParameters",
    "query-migrate-parameters:": "MigrationParameters",
    "migrate-set-capabilities.capabilities[].capability": "MigrationCapability",
    "query-migrate:.status": "MigrationStatus",
    "query-status:.status": "RunState",
    "MigrateSetParameters.mode": "MigMode",
    "MigrateSetParameters.multifd-compression": "MultiFDCompression",
    "MigrateSetParameters.zero-page-detection": "ZeroPageDetection",
}
"""Paths of types that have names of their own."""
TABLES = {name for name in OWN.values() if name != "RunState"}
"""Types that are described by tables of ``migsim.qapi``."""


class Namer:
    """Collects the rows of types, by names of their own."""

    def __init__(self, entities: list[dict[str, Any]]) -> None:
        self._by_name = {entity["name"]: entity for entity in entities}
        self._names: dict[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}

    def name(self, masked: str, path: str) -> str:
        """Return the name of a type, and keep its row."""
        entity = self._by_name[masked]
        if entity["meta-type"] == "builtin":
            return masked
        if entity["meta-type"] == "array":
            return f"[{self.name(entity['element-type'], path + '[]')}]"
        if _empty(entity):
            return "Empty"
        if masked not in self._names:
            self._names[masked] = own = OWN.get(path, path)
            self.rows[own] = {}
            self.rows[own] = dict(self._row(entity, own))
        return self._names[masked]

    def _row(self, entity: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        kind = entity["meta-type"]
        if kind == "enum":
            yield "enum", " ".join(member["name"] for member in entity["members"])
        elif kind == "alternate":
            members = enumerate(entity["members"])
            yield "any", [self.name(m["type"], f"{path}|{i}") for i, m in members]
        else:
            yield (
                "members",
                {
                    m["name"] + "?" * ("default" in m): self.name(m["type"], f"{path}.{m['name']}")
                    for m in entity["members"]
                },
            )
            if "tag" in entity:
                yield "tag", entity["tag"]
                yield (
                    "cases",
                    {
                        v["case"]: self.name(v["type"], f"{path}/{v['case']}")
                        for v in entity["variants"]
                        if not _empty(self._by_name[v["type"]])
                    },
                )
        marked = {m["name"]: m["features"] for m in entity.get("members", ()) if "features" in m}
        if marked:
            yield "marked", {name: " ".join(words) for name, words in marked.items()}
        if "features" in entity:
            yield "features", " ".join(entity["features"])


def _empty(entity: dict[str, Any]) -> bool:
    return entity.get("members") == [] and "tag" not in entity


def facts(entities: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return commands, events and types of a schema."""
    namer = Namer(entities)
    commands: dict[str, dict[str, Any]] = {}
    events: dict[str, str] = {}
    ordered = sorted(
        (e for e in entities if e["meta-type"] in ("command", "event")),
        key=lambda e: (e["name"] not in {p.split(".")[0].rstrip(":") for p in OWN}, e["name"]),
    )
    for entity in ordered:
        name = entity["name"]
        takes = namer.name(entity["arg-type"], name)
        if entity["meta-type"] == "event":
            events[name] = takes
            continue
        commands[name] = {"takes": takes, "returns": namer.name(entity["ret-type"], name + ":")}
        if entity.get("allow-oob"):
            commands[name]["oob"] = True
        if "features" in entity:
            commands[name]["features"] = " ".join(entity["features"])
    rows = {name: row for name, row in namer.rows.items() if name not in TABLES}
    return {"commands": commands, "events": events, "types": rows}


def main() -> None:
    """Write the file."""
    monitor = Monitor(sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64")
    content = facts(monitor("query-qmp-schema"))
    options = {
        row["option"]: " ".join(f"{p['name']}:{p['type']}" for p in row["parameters"])
        for row in monitor("query-command-line-options")
    }
    lines = [f'"source": {json.dumps(source(monitor))}']
    for section, rows in {**content, "options": options}.items():
        inner = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(rows.items()))
        lines.append(f'"{section}": {{\n{inner}\n}}')
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", "ascii")
    monitor("quit")


if __name__ == "__main__":
    main()
