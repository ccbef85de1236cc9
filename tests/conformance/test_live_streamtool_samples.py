"""Every recorded stream, converted, loads in a real QEMU with the RAM of its sender."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from pathlib import Path

import pytest

from migsim.streamtool import StreamFiles, StreamForm, convert

pytestmark = pytest.mark.live

STREAMS = Path(__file__).parents[1] / "data" / "streams"
MANIFEST = json.loads((STREAMS / "manifest.json").read_text())["samples"]
LEFT_OUT = {
    "microvm-2m-xbzrle-cache",  # has a qtest socket
    "pc-8m-postcopy-hugepages",  # needs huge pages
    "none-noram",  # nothing to compare
}
SAMPLES = {
    entry["name"]: entry
    for entry in MANIFEST
    if entry["name"] not in LEFT_OUT
    and not entry.get("malformed")
    and "x-ignore-shared" not in entry["capabilities"]
    and "RAMFILE" in " ".join(entry["command_line"])
}
BASE = {"-nodefaults", "-no-user-config", "-display", "none", "-S"}


def unpacked(directory: Path, file: str) -> Path:
    raw = (STREAMS / file).read_bytes()
    path = directory / file.removesuffix(".xz")
    path.write_bytes(lzma.decompress(raw) if file.endswith(".xz") else raw)
    return path


def command_line(entry: dict, directory: Path) -> list[str]:
    """Return the sender's arguments, with files of this test."""
    (directory / "firmware").write_bytes(b"\xf4" * 0x10000)
    given = entry["command_line"]
    kept = [
        word for at, word in enumerate(given) if word not in BASE or given[at - 1] == "-machine"
    ]
    args = [word.replace("RAMFILE", f"{directory}/ram") for word in kept]
    for at, word in enumerate(args):
        if word == "-bios":
            args[at + 1] = f"{directory}/firmware"
    return [*args, "-S", "-incoming", "defer"]


@pytest.mark.parametrize("form", [StreamForm.PLAIN, StreamForm.MAPPED_RAM])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_converted_sample_loads(qemu, tmp_path, name, form):
    entry = SAMPLES[name]
    if "accel=kvm" in " ".join(entry["command_line"]) and not os.access("/dev/kvm", os.W_OK):
        pytest.skip("recorded under KVM, which is not here")
    channels = [unpacked(tmp_path, channel["file"]) for channel in entry.get("channels", [])]
    source = StreamFiles.at(unpacked(tmp_path, entry["file"]), entry["offset"], channels)
    convert(source, tmp_path / "new", form)

    process = qemu(*command_line(entry, tmp_path))
    process.capabilities(mapped_ram=form is StreamForm.MAPPED_RAM)
    assert process.load(f"file:{tmp_path}/new") == "completed", process.log
    for place in sorted(tmp_path.glob("ram*")):
        block = (
            {"ram0": "node0", "ram1": "node1"}[place.name] if "node0" in entry["blocks"] else "ram0"
        )
        found = hashlib.sha256(place.read_bytes()).hexdigest()
        assert found == entry["blocks"][block]["sha256"]
