"""Ask a QEMU binary for the names that its command line knows; write migsim/cmdline/data/*.json.

Usage: python tools/cmdline_facts.py [qemu-system-x86_64]

Only names and types are taken: no help texts.  Run it again for another release of QEMU and look
at the difference before committing it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "migsim" / "cmdline" / "data"
OPTIONS = ["-nodefaults", "-no-user-config", "-display", "none"]
FAMILIES = {"none": "none", "microvm": "microvm", "pc": "pc-i440fx", "q35": "pc-q35"}
OTHER_FAMILIES = ("isapc", "x-remote")
CPU_SUFFIX = "-x86_64-cpu"
INTERNAL = ("child<", "link<irq>", "guest statistics", "busnr", "X86CPUFeatureWordInfo")
# The schema calls every whole number "int"; these take size suffixes as text.
SIZES = {"size", "align", "offset", "hugetlbsize", "mem", "reserved-size"}
SIZED = ("object/memory-backend", "numa/")


class Monitor:
    """A QMP session over the standard streams of a new process."""

    def __init__(self, program: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [program, *OPTIONS, "-machine", "none", "-qmp", "stdio", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.greeting = self._read()
        self("qmp_capabilities")

    def _read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def __call__(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Return the result of a command."""
        message = {"execute": command, "arguments": arguments}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        while True:
            reply = self._read()
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])


def help_lines(program: str, *options: str) -> list[str]:
    """Return what the program prints for ``options``, by line."""
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


# Devices.


def device_buses(program: str) -> dict[str, dict]:
    """Return creatable devices by name: the kind of bus that each needs, and its alias."""
    row = re.compile(r'name "([^"]+)"(?:, bus ([^,]+))?(?:, alias "([^"]+)")?')
    found = {}
    for line in help_lines(program, "-device", "help"):
        if match := row.match(line):
            found[match[1]] = {"bus": match[2] or "", "alias": match[3] or ""}
    return found


def state_names(program: str) -> dict[str, list]:
    """Return name, version and least version of the saved state of every device that has one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        subprocess.run([program, *OPTIONS, "-machine", "q35", "-dump-vmstate", path], check=True)
        described = json.loads(path.read_text())
    return {
        name: [d["Description"]["name"], d["version_id"], d["minimum_version_id"]]
        for name, d in described.items()
        if "Description" in d
    }


def is_public(kind: str) -> bool:
    """Return whether a property of this type can be given by a user."""
    return not kind.startswith(INTERNAL)


def inner_device(properties: dict[str, str]) -> str | None:
    """Return the device that a virtio proxy wraps, or None."""
    match = re.fullmatch(r"child<(.+)>", properties.get("virtio-backend", ""))
    return match[1] if match else None


def devices(program: str, monitor: Monitor) -> dict:
    """Return the content of devices.json."""
    buses = device_buses(program)
    states = state_names(program)
    everything = {}
    for name in buses:
        rows = monitor("device-list-properties", typename=name)
        everything[name] = {row["name"]: row["type"] for row in rows}
    plain = {n: p for n, p in everything.items() if not n.endswith(CPU_SUFFIX)}
    public = {n: {k: t for k, t in p.items() if is_public(t)} for n, p in plain.items()}
    types, bases = main_types(public), common_names(public, buses)
    rows = {}
    for name, properties in sorted(public.items()):
        bus = buses[name]["bus"]
        own = sorted(set(properties) - bases.get(bus, set()))
        row = {"bus": bus} if bus else {}
        if buses[name]["alias"]:
            row["alias"] = buses[name]["alias"]
        inner = inner_device(plain[name])
        if state := states.get(name) if inner is None else states.get(inner):
            row["state"] = state
        row["properties"] = " ".join(
            p if types[p] == properties[p] else f"{p}:{properties[p]}" for p in own
        )
        rows[name] = row
    return {
        "source": source(monitor),
        "types": by_type(types),
        "bases": {bus: " ".join(sorted(names)) for bus, names in sorted(bases.items())},
        "devices": rows,
    }


def main_types(devices: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the most frequent type of every property name."""
    count: dict[str, Counter] = defaultdict(Counter)
    for properties in devices.values():
        for name, kind in properties.items():
            count[name][kind] += 1
    return {name: kinds.most_common(1)[0][0] for name, kinds in count.items()}


def common_names(devices: dict, buses: dict) -> dict[str, set[str]]:
    """Return what all devices of one kind of bus have in common."""
    shared: dict[str, set[str]] = {}
    for name, properties in devices.items():
        if bus := buses[name]["bus"]:
            shared[bus] = shared.get(bus, set(properties)) & set(properties)
    return shared


def by_type(types: dict[str, str]) -> dict[str, str]:
    """Return the names of every type, in one text each."""
    grouped = defaultdict(list)
    for name, kind in types.items():
        grouped[kind].append(name)
    return {kind: " ".join(sorted(names)) for kind, names in sorted(grouped.items())}


# Machines, processors, accelerators.


def machines(program: str, monitor: Monitor) -> dict:
    """Return the content of machines.json."""
    listed = monitor("query-machines")
    aliases = {m.get("alias"): m["name"] for m in listed}
    properties = {}
    for short, family in FAMILIES.items():
        properties[family] = own_properties(monitor, aliases.get(short, short) + "-machine")
    for name in OTHER_FAMILIES:
        properties[name] = own_properties(monitor, name + "-machine")
    shared = set.intersection(*(set(p.items()) for p in properties.values()))
    return {
        "source": source(monitor),
        "machines": {m["name"]: m["cpu-max"] for m in sorted(listed, key=lambda m: m["name"])},
        "shared": dict(sorted(shared)),
        "properties": {f: dict(sorted(set(p.items()) - shared)) for f, p in properties.items()},
        "cpus": cpus(program, monitor),
        "accelerators": {
            kind["name"].removesuffix("-accel"): own_properties(monitor, kind["name"])
            for kind in monitor("qom-list-types", implements="accel")
        },
    }


def own_properties(monitor: Monitor, typename: str) -> dict[str, str]:
    """Return the properties of a type that a user can give."""
    rows = monitor("qom-list-properties", typename=typename)
    return {r["name"]: r["type"] for r in rows if is_public(r["type"])}


def cpus(program: str, monitor: Monitor) -> dict:
    """Return processor models, and the types of the flags that any of them has."""
    models = [n.removesuffix(CPU_SUFFIX) for n in device_buses(program) if n.endswith(CPU_SUFFIX)]
    flags: dict[str, str] = {}
    special: dict[str, str] = {}
    for model in models:
        rows = monitor("device-list-properties", typename=model + CPU_SUFFIX)
        names = {r["name"]: r["type"] for r in rows if is_public(r["type"])}
        flags |= names
        special[model] = names
    everywhere = set.intersection(*(set(names) for names in special.values()))
    return {
        "models": " ".join(sorted(models)),
        "flags": by_type({n: t for n, t in flags.items() if n in everywhere}),
        "special": {
            model: " ".join(sorted(set(names) - everywhere))
            for model, names in special.items()
            if set(names) - everywhere
        },
    }


# Options described by the schema of QMP.


class Schema:
    """The part of the schema that options use, with readable names."""

    def __init__(self, monitor: Monitor) -> None:
        self.source = {row["name"]: row for row in monitor("query-qmp-schema")}
        self.names: dict[str, str] = {}
        self.types: dict[str, object] = {}

    def argument(self, command: str, member: str | None = None) -> str:
        """Return the type of a command's argument, or of the elements of one member."""
        kind = self.source[command]["arg-type"]
        if member is None:
            return kind
        members = {m["name"]: m["type"] for m in self.source[kind]["members"]}
        return self.source[members[member]]["element-type"]

    def result(self, command: str) -> str:
        """Return the type of a command's result, or of its elements."""
        kind = self.source[command]["ret-type"]
        return self.source[kind].get("element-type", kind)

    def add(self, kind: str, name: str) -> str:
        """Add ``kind`` under ``name`` unless it is known; return the name that it has."""
        row = self.source[kind]
        if row["meta-type"] == "builtin":
            return row["json-type"]
        if kind not in self.names:
            self.names[kind] = name
            self.types[name] = None  # keeps the place
            self.types[name] = getattr(self, "_" + row["meta-type"])(row, name)
        return self.names[kind]

    def _enum(self, row: dict, name: str) -> dict:
        values = row.get("values") or [m["name"] for m in row["members"]]
        return {"enum": " ".join(values)}

    def _array(self, row: dict, name: str) -> dict:
        return {"list": self.add(row["element-type"], name + "[]")}

    def _alternate(self, row: dict, name: str) -> dict:
        kinds = [self.add(m["type"], f"{name}|{i}") for i, m in enumerate(row["members"])]
        return {"any": kinds}

    def _object(self, row: dict, name: str) -> dict:
        out: dict = {"members": {}}
        for member in row["members"]:
            mark = "?" if "default" in member else ""
            kind = self.add(member["type"], f"{name}.{member['name']}")
            if kind == "int" and name.startswith(SIZED) and member["name"] in SIZES:
                kind = "size"
            out["members"][member["name"] + mark] = kind
        if "tag" in row:
            out["tag"] = row["tag"]
            out["cases"] = {
                v["case"]: self.add(v["type"], f"{name}/{v['case']}")
                for v in sorted(row["variants"], key=lambda v: v["case"])
            }
        return out


def schema(monitor: Monitor) -> dict:
    """Return the content of qapi.json."""
    table = Schema(monitor)
    roots = {
        "channel": table.argument("migrate", "channels"),
        "object": table.argument("object-add"),
        "blockdev": table.argument("blockdev-add"),
        "netdev": table.argument("netdev_add"),
        "numa": table.argument("set-numa-node"),
        "display": table.result("query-display-options"),
        "audiodev": table.result("query-audiodevs"),
        "action": table.argument("set-action"),
    }
    for name, kind in roots.items():
        if table.add(kind, name) != name:
            raise RuntimeError(f"{name} is part of another type")
    return {"source": source(monitor), "types": table.types}


def source(monitor: Monitor) -> str:
    """Return which QEMU was asked."""
    version = monitor.greeting["QMP"]["version"]["qemu"]
    return "qemu-system-x86_64 {major}.{minor}.{micro}".format(**version)


def write(name: str, content: dict) -> None:
    """Write one file: a line for each entry of the second level, in a stable order."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            inner = ",\n".join(
                f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=True)}" for k, v in value.items()
            )
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    (DATA / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    """Write all files."""
    program = sys.argv[1] if len(sys.argv) > 1 else "qemu-system-x86_64"
    monitor = Monitor(program)
    write("devices.json", devices(program, monitor))
    write("machines.json", machines(program, monitor))
    write("qapi.json", schema(monitor))


if __name__ == "__main__":
    main()
