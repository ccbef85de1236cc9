"""A real QEMU loads what the writer writes, and agrees with the reader about what it refuses."""

from __future__ import annotations

import json
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from migsim.channel import FileInput, FileOutput, MemoryInput
from migsim.errors import StreamError
from migsim.stream import (
    BlockInfo,
    DeviceSection,
    OutFile,
    PageBatch,
    RamBlocks,
    SectionBegin,
    StreamReader,
    StreamWriter,
    write_item,
)
from migsim.stream.wire import CommandKind, SectionType
from migsim.vmstate.common import GLOBALSTATE, TIMER, globalstate_values, timer_values

pytestmark = pytest.mark.live

STREAMS = Path(__file__).parents[1] / "data" / "streams"
PAGE = 4096
MIB = 1 << 20


def mixed_ram(pages: int, seed: int = 3) -> np.ndarray:
    """Return RAM with long and short runs of zero and of random pages."""
    generator = np.random.default_rng(seed)
    ram = generator.integers(0, 256, (pages, PAGE), np.uint8)
    ram[generator.random(pages) < 0.3] = 0
    ram[pages // 4 : pages // 2] = 0
    ram[pages // 2 : 5 * pages // 8] = 7
    ram[0, 1:], ram[-1, :-1] = 0, 0  # one byte away from zero, at either end
    ram[0, 0], ram[-1, -1] = 1, 1
    return ram


def write_none(
    path, ram, *, offset=0, address=None, capabilities=(), pages=True, runstate="running"
):
    """Write a whole stream of machine ``none`` whose only block is ram0."""
    channel = FileOutput(path, offset)
    writer = StreamWriter(OutFile(channel))
    writer.header()
    writer.configuration("none", capabilities)
    writer.device(0, "timer", 0, TIMER, timer_values())
    writer.ram_setup(1, [BlockInfo("ram0", ram.size, address)])
    if pages:
        zero = ~ram.any(axis=1)
        half = len(ram) // 2
        for part in (np.arange(half), np.arange(half, len(ram))):
            writer.begin_part(1)
            writer.pages("ram0", part, ram[part], zero[part])
            writer.end_ram_part(1)
    writer.command(CommandKind.SWITCHOVER_START)
    writer.begin_part(1, SectionType.END)
    writer.end_ram_part(1)
    writer.device(2, "globalstate", 0, GLOBALSTATE, globalstate_values(runstate))
    writer.finish()
    channel.close()
    assert writer.out.transferred == path.stat().st_size - offset


def file_backend(path, size_bytes):
    return (
        "-m",
        f"{size_bytes >> 10}k",
        "-object",
        f"memory-backend-file,id=ram0,size={size_bytes},mem-path={path},share=on",
    )


@pytest.fixture
def receiver(qemu, tmp_path):
    """Start a receiver of machine ``none`` whose RAM is a file."""

    def start(size_bytes, *args):
        ram_path = tmp_path / "ram"
        backend = file_backend(ram_path, size_bytes)
        machine = qemu(
            "-machine", "none,memory-backend=ram0", *backend, "-incoming", "defer", *args
        )
        return machine, ram_path

    return start


@pytest.mark.parametrize("offset", [0, 0x5000])
def test_64_mib_of_mixed_ram_arrive(receiver, tmp_path, offset):
    ram = mixed_ram(64 * MIB // PAGE)
    write_none(tmp_path / "stream", ram, offset=offset)
    machine, ram_path = receiver(ram.size)
    assert machine.load(f"file:{tmp_path}/stream,offset={offset}") == "completed"
    assert machine("query-status")["status"] == "running"
    assert ram_path.read_bytes() == ram.tobytes()
    assert machine.log == ""


def test_ignored_ram_stays_in_its_file(receiver, tmp_path):
    ram = mixed_ram(64 * MIB // PAGE)
    stream = tmp_path / "stream"
    write_none(stream, ram, address=0, capabilities=["x-ignore-shared"], pages=False)
    (tmp_path / "ram").write_bytes(ram.tobytes())
    machine, ram_path = receiver(ram.size)
    machine.capabilities(x_ignore_shared=True)
    assert machine.load(f"file:{stream}") == "completed"
    assert ram_path.read_bytes() == ram.tobytes()
    assert stream.stat().st_size < 2000


def test_ram_of_no_named_file_travels_even_with_ignore_shared(qemu, tmp_path):
    ram = mixed_ram(64 * MIB // PAGE)
    write_none(tmp_path / "stream", ram, address=0, capabilities=["x-ignore-shared"])
    machine = qemu(
        *("-machine", "none,memory-backend=ram0", "-m", "64M", "-incoming", "defer"),
        *("-object", "memory-backend-memfd,id=ram0,size=64M,share=on"),
    )
    machine.capabilities(x_ignore_shared=True)
    assert machine.load(f"file:{tmp_path}/stream") == "completed"
    (descriptor,) = (
        link
        for link in Path(f"/proc/{machine.process.pid}/fd").iterdir()
        if "memfd:memory-backend-memfd" in str(link.readlink())
    )
    assert descriptor.read_bytes() == ram.tobytes()


def test_the_stored_run_state_becomes_that_of_the_receiver(receiver, tmp_path):
    ram = np.zeros((8, PAGE), np.uint8)
    write_none(tmp_path / "stream", ram, runstate="paused")
    machine, _ = receiver(ram.size)
    assert machine.load(f"file:{tmp_path}/stream") == "completed"
    assert machine("query-status")["status"] == "paused"


@pytest.mark.parametrize("bandwidth", [None, 40 * MIB])
@pytest.mark.parametrize("ignore", [False, True])
def test_the_reader_gets_the_ram_of_a_real_sender(qemu, tmp_path, ignore, bandwidth):
    ram = mixed_ram(32 * MIB // PAGE, seed=4)
    (tmp_path / "ram").write_bytes(ram.tobytes())
    machine = qemu(
        "-machine", "none,memory-backend=ram0", *file_backend(tmp_path / "ram", ram.size)
    )
    machine.capabilities(x_ignore_shared=ignore)
    if bandwidth is not None:
        machine("migrate-set-parameters", max_bandwidth=bandwidth)
    machine("migrate", uri=f"file:{tmp_path}/stream")
    machine.migration("completed")
    found = np.zeros_like(ram)
    for item in StreamReader(FileInput(tmp_path / "stream")):
        if isinstance(item, PageBatch):
            found[item.pfns] = 0 if item.is_zero else item.data
    assert (found == (0 if ignore else ram)).all()


def test_a_real_machine_with_other_ram_and_another_page_order_loads(qemu, tmp_path):
    """Device sections go through as bytes; RAM is replaced, and every batch turned around."""
    manifest = json.loads((STREAMS / "manifest.json").read_text())
    (entry,) = (sample for sample in manifest["samples"] if sample["name"] == "q35-8m")
    raw = lzma.decompress((STREAMS / entry["file"]).read_bytes())
    ram = mixed_ram(8 * MIB // PAGE, seed=5)
    channel = FileOutput(tmp_path / "stream")
    writer = StreamWriter(OutFile(channel))
    for item in StreamReader(MemoryInput(raw)):
        if isinstance(item, PageBatch) and item.block == "ram0":
            pfns = item.pfns[::-1]
            writer.pages("ram0", pfns, ram[pfns], ~ram[pfns].any(axis=1))
        elif isinstance(item, RamBlocks):
            writer.block_list(item.blocks[::-1])
        else:
            write_item(item, writer)
    writer.out.flush()
    channel.close()
    machine = qemu(
        *("-machine", "q35,accel=tcg,memory-backend=ram0", "-S", "-incoming", "defer"),
        *file_backend(tmp_path / "ram", ram.size),
    )
    assert machine.load(f"file:{tmp_path}/stream") == "completed", machine.log
    assert machine("query-status")["status"] == "prelaunch"
    assert (tmp_path / "ram").read_bytes() == ram.tobytes()


# Hand-made streams of machine none with one block of eight pages.


def u32(value):
    return struct.pack(">I", value)


def word(address, flags):
    return struct.pack(">Q", address | flags)


HEAD = b"QEVM\0\0\0\3" + b"\7" + u32(4) + b"none"
START = b"\1" + u32(1) + b"\3ram" + u32(0) + u32(4)
LIST = word(0x8000, 4) + b"\4ram0" + word(0, 0x8000)
EOS = word(0, 0x10)
FOOT = b"\x7e" + u32(1)
ONES = b"\1" * PAGE
FIRST = word(0, 8) + b"\4ram0" + ONES


def stream(pages=FIRST, *, head=HEAD, start=START, blocks=LIST, foot=FOOT, rest=b"", end=b"\0"):
    part = b"\2" + u32(1) + pages + EOS + FOOT
    return head + start + blocks + EOS + foot + part + rest + end


BOTH_ACCEPT = {
    "one page": stream(),
    "nothing": HEAD + b"\0",
    "pages in start": HEAD + START + LIST + FIRST + EOS + FOOT + b"\0",
    "ram in one FULL": HEAD + b"\4" + START[1:] + LIST + FIRST + EOS + FOOT + b"\0",
    "a page twice": stream(FIRST + word(0, 0x28) + b"\2" * PAGE),
    "a page, then zero": stream(FIRST + word(0, 0x22) + b"\0"),
    "multifd flush": stream(FIRST + word(0, 0x200)),
    "address in the end record": stream(FIRST + word(0x3000, 0x10) + FOOT + b"\2" + u32(1)),
    "part behind the end": stream(rest=b"\3" + u32(1) + EOS + FOOT + b"\2" + u32(1) + EOS + FOOT),
    "open return path": stream(rest=b"\x08" + struct.pack(">HH", 1, 0)),
    "page bits 12": stream(head=HEAD + b"\5\x1econfiguration/target-page-bits" + u32(1) + u32(12)),
    "tail": stream(end=b"\0tail"),
}
BOTH_REFUSE = {
    "magic": b"QEVN" + stream()[4:],
    "version 2": b"QEVM\0\0\0\2" + stream()[8:],
    "empty": b"",
    "no configuration": HEAD[:8] + stream()[len(HEAD) :],
    "page bits 13": stream(head=HEAD + b"\5\x1econfiguration/target-page-bits" + u32(1) + u32(13)),
    "unknown capability": stream(
        head=HEAD + b"\5\x1aconfiguration/capabilities" + u32(1) + u32(1) + b"\1x"
    ),
    "no footer": stream(foot=b""),
    "other footer": stream(foot=b"\x7e" + u32(2)),
    "ram version 3": stream(start=START[:-1] + b"\3"),
    "ram version 5": stream(start=START[:-1] + b"\5"),
    "ram instance 1": stream(start=START[:-5] + b"\1" + u32(4)),
    "unknown section": stream(start=START.replace(b"ram", b"rom")),
    "total too large": stream(blocks=word(0x9000, 4) + LIST[8:]),
    "total too small": stream(blocks=word(0x7000, 4) + LIST[8:]),
    "unknown block": stream(word(0, 8) + b"\4ram1" + ONES),
    "first continues": stream(word(0, 0x28) + ONES),
    "page behind the block": stream(word(0x8000, 8) + b"\4ram0" + ONES),
    "page behind the block later": stream(FIRST + word(0x8000, 0x28) + ONES),
    "fill byte": stream(word(0, 2) + b"\4ram0\1"),
    "retired flag": stream(FIRST + word(0, 0x100)),
    "zero and page": stream(word(0, 0xA) + b"\4ram0\0"),
    "command 99": stream(rest=b"\x08" + struct.pack(">HH", 99, 0)),
    "part of another id": stream(rest=b"\2" + u32(7) + EOS + b"\x7e" + u32(7)),
    "section type 9": stream(rest=b"\x09"),
    "no end marker": stream(end=b""),
    "cut page": stream()[:-2000],
}


def reader_accepts(raw: bytes) -> bool:
    try:
        # Which sections there are is for the machine to know; machine ``none`` has these.
        return all(
            item.name in ("timer", "ram", "globalstate")
            for item in StreamReader(MemoryInput(raw))
            if isinstance(item, SectionBegin | DeviceSection)
        )
    except StreamError:
        return False


@pytest.mark.parametrize("case", [*BOTH_ACCEPT, *BOTH_REFUSE])
def test_reader_and_receiver_agree(receiver, tmp_path, case):
    raw = BOTH_ACCEPT.get(case, BOTH_REFUSE.get(case))
    (tmp_path / "stream").write_bytes(raw)
    machine, _ = receiver(0x8000)
    accepted = machine.load(f"file:{tmp_path}/stream") == "completed"
    assert accepted == (case in BOTH_ACCEPT), machine.log
    assert reader_accepts(raw) == accepted
