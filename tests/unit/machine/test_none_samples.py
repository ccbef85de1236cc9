"""Streams that a real QEMU wrote for a machine ``none`` load into a machine built like theirs."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

STREAMS = Path(__file__).parents[2] / "data" / "streams"
SAMPLES = {s["name"]: s for s in json.loads((STREAMS / "manifest.json").read_text())["samples"]}
NAMES = [
    "none-1m",
    "none-1m-offset",
    "none-1m-ignore-shared",
    "none-1m-ignore-shared-memfd",
    "none-4m-default-ram",
    "none-noram",
]


def memory(sample, tmp_path) -> BackendSpec | None:
    """Return the backend that the sample's command line names; its file holds what it had."""
    line = " ".join(sample["command_line"])
    size = sum(block["length"] for block in sample["blocks"].values())
    if "memory-backend-memfd" in line:
        return BackendSpec(BackendKind.MEMFD, "ram0", size, share=True)
    if "memory-backend-file" in line:
        return BackendSpec(BackendKind.FILE, "ram0", size, str(tmp_path / "ram0"), share=True)
    return BackendSpec(BackendKind.RAM, "ram", size) if size else None


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_with_the_ram_of_the_manifest(tmp_path, name):
    sample = SAMPLES[name]
    path = tmp_path / "state"
    path.write_bytes(lzma.decompress((STREAMS / sample["file"]).read_bytes()))
    uri = f"file:{path},offset={sample['offset']}"
    with VM(MachineConfig(memory=memory(sample, tmp_path), incoming="defer")) as vm:
        vm.set_capabilities([(capability, True) for capability in sample["capabilities"]])
        vm.load(uri)
        assert vm.run.state.value == sample["runstate_before"]
        digests = vm.ram_sha256()
        assert set(digests) == set(sample["blocks"])
        for block, facts in sample["blocks"].items():
            if facts.get("in_stream", True):
                assert digests[block] == facts["sha256"]
            else:
                assert not vm.ram[block].view().any(), "a shared block is not written to"
