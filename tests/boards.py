"""Command lines with the sections that real machines have, and those that migsim gives them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from migsim.channel.file import FileInput
from migsim.cmdline.build import build
from migsim.cmdline.parse import parse
from migsim.stream.items import DeviceSection
from migsim.stream.reader import StreamReader
from migsim.vm import VM

DATA = Path(__file__).parent / "data" / "boards"
LINES = (DATA / "lines.txt").read_text().splitlines()


def recorded() -> dict[str, list[list[object]]]:
    """Return name, instance, version and size of the sections by command line (QEMU 10.0.2)."""
    return json.loads((DATA / "sections.json").read_text())


def sections(path: Path) -> list[DeviceSection]:
    """Return the device sections of a state file."""
    reader = StreamReader(FileInput(Path(path), 0))
    return [item for item in reader if isinstance(item, DeviceSection)]


def rows(found: list[DeviceSection]) -> list[list[object]]:
    """Return what is compared of sections."""
    return [[s.name, s.instance_id, s.version, len(s.body)] for s in found]


def save(text: str, path: Path) -> list[DeviceSection]:
    """Save a machine with this command line to ``path``; return its sections."""
    built = build(parse([*shlex.split(text), "-S"]))
    with VM(built.config) as vm:
        vm.set_parameters({"max-bandwidth": 0})
        vm.save(f"file:{path}")
    return sections(path)
