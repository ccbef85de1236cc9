"""The recorded device states: an index and, below numbers, descriptions and bytes.

Everything is of ``qemu-system-x86_64`` 10.0.2, taken by ``tools/device_facts.py``; the archive is
read when a device's state is first asked for.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

_PATH: Final = Path(__file__).with_name("data") / "devices-10.0.zip"


class StateRef(NamedTuple):
    """Where a recorded state is: numbers of its description and of its bytes."""

    entry: int
    body: int


class BaseRow(NamedTuple):
    """A section of a machine without any option, as recorded.

    ``number`` is the section's number in that stream.
    """

    name: str
    instance_id: int
    version: int
    number: int
    state: StateRef


class AddedRow(NamedTuple):
    """A section that a setting adds: behind which one it is registered, and whether it is early."""

    behind: tuple[str, int]
    name: str
    instance_id: int
    version: int
    early: bool
    state: StateRef


class Setting(NamedTuple):
    """The difference that an option makes to a machine's sections.

    ``patched`` has bytes by offset for sections that keep their layout.
    """

    added: tuple[AddedRow, ...]
    gone: frozenset[tuple[str, int]]
    replaced: Mapping[tuple[str, int], tuple[int, StateRef]]
    patched: Mapping[tuple[str, int], Mapping[int, bytes]]


class ModelRow(NamedTuple):
    """A section of a device model; ``{}`` in the name stands for the device's path."""

    name: str
    version: int
    early: bool
    state: StateRef


@cache
def _zip() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(_PATH.read_bytes()))


@cache
def _index() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_zip().read("index.json"))
    return content


@cache
def entry(number: int) -> dict[str, object]:
    """Return a description as a stream has it, without name and instance; not to be changed."""
    found: dict[str, object] = json.loads(_zip().read(f"entry/{number}"))
    return found


@cache
def body(number: int) -> bytes:
    """Return the bytes of a recorded state."""
    return _zip().read(f"body/{number}")


def dump_vmstate() -> dict[str, object]:
    """Return what ``-dump-vmstate`` of the recorded program writes for machine ``none``."""
    found: dict[str, object] = json.loads(_zip().read("dump-vmstate.json"))
    return found


@cache
def base(machine: str) -> tuple[BaseRow, ...]:
    """Return the sections of a machine (``pc-tcg``, ``q35-kvm`` ...) without options."""
    rows: Sequence[Sequence[Any]] = _index()["machines"][machine]
    return tuple(BaseRow(r[0], r[1], r[2], r[3], StateRef(r[4], r[5])) for r in rows)


@cache
def setting(machine: str, name: str) -> Setting | None:
    """Return what the setting ``name`` changes on a machine, or None when that is nothing."""
    row = _index()["settings"].get(machine, {}).get(name)
    if row is None:
        return None
    added = [
        AddedRow((r[0], r[1]), r[2], r[3], r[4], bool(r[5]), StateRef(*r[6:]))
        for r in row.get("added", ())
    ]
    return Setting(
        tuple(added),
        frozenset((name, instance) for name, instance in row.get("gone", ())),
        {(r[0], r[1]): (r[2], StateRef(*r[3:])) for r in row.get("replaced", ())},
        {
            (name, instance): {int(at): bytes.fromhex(text) for at, text in change.items()}
            for name, instance, change in row.get("patched", ())
        },
    )


@cache
def model(name: str, machine: str) -> tuple[ModelRow, ...] | None:
    """Return the sections of a device model on a machine (``pc``, ``q35``, ``microvm``).

    ``port`` in place of the machine is a PCI Express port.

    None for a model that brings none, or of which nothing is known.
    """
    by_machine = _index()["devices"].get(name, {})
    rows = by_machine.get(machine) or next(iter(by_machine.values()), None)
    if rows is None:
        return None
    return tuple(ModelRow(r[0], r[1], bool(r[2]), StateRef(*r[3:])) for r in rows)
