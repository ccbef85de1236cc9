"""Recorded command lines, the images that they name, and starting a machine with one of them."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.cmdline.build import build
from migsim.cmdline.parse import parse
from migsim.vm import VM

if TYPE_CHECKING:
    from migsim.machine.config import MachineConfig

DATA = Path(__file__).parent / "data" / "cmdline"
IMAGES = ("raw", "qcow", "qcow2", "qed", "vmdk", "vdi", "vpc", "vhdx", "parallels")


def image(name: str) -> bytes:
    """Return the image ``name`` (``vmdk.img``), made by QEMU 10.0.2."""
    return zlib.decompress(base64.b64decode(json.loads((DATA / "images.json").read_text())[name]))


def furnish(folder: Path) -> None:
    """Fill ``folder`` with what the recorded command lines name."""
    for name, packed in json.loads((DATA / "images.json").read_text()).items():
        (folder / name).write_bytes(zlib.decompress(base64.b64decode(packed)))
    with (folder / "ram16").open("wb") as file:
        file.truncate(16 << 20)
    (folder / "empty").touch()
    (folder / "d").mkdir()
    (folder / "d" / "x").write_text("x")


def recorded() -> list[tuple[int, str]]:
    """Return exit status and command line of every recorded line."""
    rows = []
    for line in (DATA / "lines.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            status, _, text = line.partition(" ")
            rows.append((int(status), text))
    return rows


def cmdline(text: str, **how):
    """Return the parsed command line that ``text`` is in a shell."""
    return parse(shlex.split(text), **how)


def bare(text: str, **how):
    """Return the parsed command line of a machine with nothing but what ``text`` asks for."""
    return cmdline(f"-nodefaults {text}", **how)


@contextmanager
def started(text: str, base: MachineConfig | None = None, **how):
    """Return a machine started by a command line, its blockers registered; end it afterwards.

    Only ``file:`` is loaded from; with other addresses the machine waits.
    """
    built = build(cmdline(text, **how), base)
    config = built.config
    if config.incoming is not None and not _is_file(config.incoming):
        config = replace(config, incoming="defer")
    with VM(config) as vm:
        built.register(vm.blockers)
        if config.incoming not in (None, "defer"):
            vm.run_until(lambda: not vm.incoming.running)
        yield vm


def _is_file(incoming) -> bool:
    scheme = incoming.partition(":")[0] if isinstance(incoming, str) else incoming.scheme.value
    return scheme == "file"
