"""Forms of the stream other than plain, between this project and a real QEMU, both ways."""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from migsim.channel import FileOutput, MemoryInput, MemoryOutput
from migsim.stream import (
    BlockInfo,
    DeviceSection,
    MemoryStore,
    OutFile,
    StreamOptions,
    StreamWriter,
    apply_items,
    open_stream,
    rewrite,
)
from migsim.stream.multifd_writer import MultifdWriter
from migsim.stream.wire import CommandKind, SectionType
from migsim.stream.xbzrle import encode_deltas
from migsim.stream.xbzrle_records import XbzrleBatch
from migsim.vmstate.common import GLOBALSTATE, TIMER, globalstate_values, timer_values

pytestmark = pytest.mark.live

STREAMS = Path(__file__).parents[1] / "data" / "streams"
PAGE = 4096
MIB = 1 << 20
BARE = StreamOptions(footers=False, configuration=False)
BARE_ARGS = (
    "-global",
    "migration.send-section-footer=off",
    "-global",
    "migration.send-configuration=off",
)


@pytest.fixture
def shm():
    """Return a directory in memory: RAM files on disk would be slow."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(dir=base, prefix="migsim"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def mixed_ram(pages: int, seed: int = 3) -> np.ndarray:
    """Return RAM with long and short runs of zero and of random pages."""
    generator = np.random.default_rng(seed)
    ram = generator.integers(0, 256, (pages, PAGE), np.uint8)
    ram[generator.random(pages) < 0.3] = 0
    ram[pages // 4 : pages // 2] = 0
    ram[0, 1:], ram[-1, :-1] = 0, 0
    ram[0, 0], ram[-1, -1] = 1, 1
    return ram


def backend(name: str, path: Path, size_bytes: int) -> tuple[str, str]:
    spec = f"memory-backend-file,id={name},size={size_bytes},mem-path={path},share=on"
    return "-object", spec


def none_with(path: Path, size_bytes: int, machine: str = "none") -> tuple[str, ...]:
    size = f"{size_bytes >> 10}k"
    return (
        "-machine",
        f"{machine},memory-backend=ram0",
        "-m",
        size,
        *backend("ram0", path, size_bytes),
    )


def write_none(channel, ram, *, passes=None, description=True, **form) -> None:
    """Write machine ``none``: two passes over ram0, of which the second changes some pages."""
    writer = StreamWriter(OutFile(channel), **form)
    capabilities = ["mapped-ram"] if form.get("mapped_ram") else []
    writer.header()
    writer.configuration("none", capabilities)
    writer.device(0, "timer", 0, TIMER, timer_values())
    writer.ram_setup(1, [BlockInfo("ram0", ram.size)])
    before = ram.copy()
    before[::5, 100:130] ^= 0xFF
    before[1::5] = 0
    before[2::5] = 9
    for pass_, some in ((before, np.arange(len(ram))), (ram, changed(before, ram))):
        writer.begin_part(1)
        writer.pages("ram0", some, pass_[some], ~pass_[some].any(axis=1))
        writer.end_ram_part(1)
    writer.command(CommandKind.SWITCHOVER_START)
    writer.begin_part(1, SectionType.END)
    writer.end_ram_part(1)
    writer.device(2, "globalstate", 0, GLOBALSTATE, globalstate_values("running"))
    writer.finish(description=description)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.flatnonzero((before != after).any(axis=1))


def ram_of(stream, block: str = "ram0") -> np.ndarray:
    store = MemoryStore()
    apply_items(stream.items(), store)
    return store.blocks[block]


# Mapped-ram


@pytest.mark.parametrize("multifd", [False, True], ids=["one", "multifd"])
@pytest.mark.parametrize("offset", [0, 0x5000, 0x1234567])
def test_mapped_ram_written_here_loads(qemu, shm, offset, multifd):
    """Loaded with several channels as well: the file is the same (spec stream.md section 10)."""
    ram = mixed_ram(64 * MIB // PAGE)
    channel = FileOutput(shm / "stream", offset)
    write_none(channel, ram, mapped_ram=True)
    channel.close()
    machine = qemu(*none_with(shm / "ram", ram.size), "-incoming", "defer")
    machine.capabilities(mapped_ram=True, multifd=multifd)
    assert machine.load(f"file:{shm}/stream,offset={offset}") == "completed", machine.log
    assert (shm / "ram").read_bytes() == ram.tobytes()
    assert machine("query-status")["status"] == "running"
    assert machine.log == ""


@pytest.mark.parametrize("multifd", [False, True], ids=["one", "multifd"])
@pytest.mark.parametrize("offset", [0, 0x3000])
def test_mapped_ram_of_a_real_sender_is_read(qemu, shm, offset, multifd):
    ram = mixed_ram(32 * MIB // PAGE, seed=4)
    (shm / "ram").write_bytes(ram.tobytes())
    machine = qemu(*none_with(shm / "ram", ram.size))
    machine.capabilities(mapped_ram=True, multifd=multifd)
    machine("migrate", uri=f"file:{shm}/stream,offset={offset}")
    machine.migration("completed")
    with open_stream(shm / "stream", offset=offset) as stream:
        assert (ram_of(stream) == ram).all()
        summary = stream.summary()
    assert summary.capabilities == ("mapped-ram",)
    assert summary.normal_pages == {"ram0": int(ram.any(axis=1).sum())}
    assert summary.length_bytes == (shm / "stream").stat().st_size - offset


@pytest.mark.parametrize("kind", ["none", "microvm", "pc", "q35"])
def test_a_machine_goes_from_plain_to_mapped_ram_and_back(qemu, shm, kind):
    """What a real QEMU saved loads after each conversion: RAM is equal, and the guest can go on."""
    ram = mixed_ram(8 * MIB // PAGE, seed=6)
    (shm / "ram").write_bytes(ram.tobytes())
    name = kind if kind == "none" else f"{kind},accel=tcg"
    source = qemu(*none_with(shm / "ram", ram.size, name), "-S")
    source("migrate", uri=f"file:{shm}/saved")
    source.migration("completed")
    source.stop()
    for step, (place, mapped) in enumerate((("mapped", True), ("plain", False))):
        origin = shm / ("saved" if step == 0 else "mapped")
        channel = FileOutput(shm / place)
        with open_stream(origin) as stream:
            rewrite(stream.items(), StreamWriter(OutFile(channel), mapped_ram=mapped))
        channel.close()
        (shm / "ram").write_bytes(bytes(ram.size))
        machine = qemu(*none_with(shm / "ram", ram.size, name), "-S", "-incoming", "defer")
        machine.capabilities(mapped_ram=mapped)
        assert machine.load(f"file:{shm}/{place}") == "completed", machine.log
        assert (shm / "ram").read_bytes() == ram.tobytes()
        machine("cont")
        assert machine("query-status")["status"] == "running"
        machine.stop()


def test_two_nodes_of_memory_as_mapped_ram(qemu, shm):
    raw, entry = sample("pc-8m-two-nodes")
    channel = FileOutput(shm / "stream", 0x7000)
    rewrite(open_stream(MemoryInput(raw)).items(), StreamWriter(OutFile(channel), mapped_ram=True))
    channel.close()
    machine = qemu(
        *("-machine", "pc,accel=tcg", "-m", "8M", "-S", "-incoming", "defer"),
        *backend("node0", shm / "node0", 4 * MIB),
        *backend("node1", shm / "node1", 4 * MIB),
        *("-numa", "node,nodeid=0,memdev=node0", "-numa", "node,nodeid=1,memdev=node1"),
    )
    machine.capabilities(mapped_ram=True)
    assert machine.load(f"file:{shm}/stream,offset=0x7000") == "completed", machine.log
    for node in ("node0", "node1"):
        found = hashlib.sha256((shm / node).read_bytes()).hexdigest()
        assert found == entry["blocks"][node]["sha256"]


def sample(name: str):
    manifest = json.loads((STREAMS / "manifest.json").read_text())
    (entry,) = (entry for entry in manifest["samples"] if entry["name"] == name)
    return lzma.decompress((STREAMS / entry["file"]).read_bytes()), entry


# Switches


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_switches_are_written_as_a_receiver_with_them_wants_it(qemu, shm, mapped):
    ram = mixed_ram(64)
    channel = FileOutput(shm / "stream")
    write_none(channel, ram, options=BARE, mapped_ram=mapped, description=False)
    channel.close()
    with open_stream(shm / "stream") as stream:
        assert (ram_of(stream) == ram).all()
        assert stream.found == BARE
    place = none_with(shm / "ram", ram.size)
    usual = qemu(*place, "-incoming", "defer")
    usual.capabilities(mapped_ram=mapped)
    assert usual.load(f"file:{shm}/stream") == "failed"
    usual.stop()
    machine = qemu(*place, "-incoming", "defer", *BARE_ARGS)
    machine.capabilities(mapped_ram=mapped)
    # A description is not missed without a configuration, but complained about.
    assert machine.load(f"file:{shm}/stream") == "completed", machine.log
    assert (shm / "ram").read_bytes() == ram.tobytes()


@pytest.mark.parametrize("capability", [None, "x-ignore-shared", "mapped-ram"])
@pytest.mark.parametrize("footers", [True, False])
def test_switches_of_a_real_sender_are_found_out(qemu, shm, capability, footers):
    ram = mixed_ram(64)
    (shm / "ram").write_bytes(ram.tobytes())
    place = none_with(shm / "ram", ram.size, "none,suppress-vmdesc=on")
    switches = BARE_ARGS if not footers else BARE_ARGS[2:]
    machine = qemu(*place, *switches)
    if capability:
        machine.capabilities(**{capability.replace("-", "_"): True})
    machine("migrate", uri=f"file:{shm}/stream")
    machine.migration("completed")
    with open_stream(shm / "stream") as stream:
        names = [item.name for item in stream.items() if isinstance(item, DeviceSection)]
        assert names == ["timer", "globalstate"]
        assert stream.found == StreamOptions(footers=footers, configuration=False)
        expected = np.zeros_like(ram) if capability == "x-ignore-shared" else ram
        assert (ram_of(stream) == expected).all()
        (block,) = stream.summary().blocks
        assert (block.address is not None) == (capability == "x-ignore-shared")
        assert (block.mapped is not None) == (capability == "mapped-ram")


def test_target_page_bits_that_say_what_is_known_are_accepted(qemu, shm):
    channel = FileOutput(shm / "stream")
    writer = StreamWriter(OutFile(channel))
    writer.header()
    writer.configuration("none", page_bits=12)
    writer.finish(description=False)
    channel.close()
    machine = qemu("-machine", "none", "-incoming", "defer")
    assert machine.load(f"file:{shm}/stream") == "completed", machine.log


# Deltas and channels


def test_deltas_written_here_load(qemu, shm):
    ram = mixed_ram(2048, seed=8)
    before = ram.copy()
    before[:, 5:9] ^= 0x55
    before[::3, 4000:] = 1
    pfns = changed(before, ram)
    channel = FileOutput(shm / "stream")
    writer = StreamWriter(OutFile(channel))
    writer.header()
    writer.configuration("none")
    writer.ram_setup(1, [BlockInfo("ram0", ram.size)])
    writer.begin_part(1)
    writer.pages("ram0", np.arange(len(ram)), before, ~before.any(axis=1))
    writer.deltas(
        XbzrleBatch(0, "ram0", pfns, encode_deltas(before[pfns], ram[pfns]), pfns, named=False)
    )
    writer.end_ram_part(1)
    writer.finish(description=False)
    channel.close()
    with open_stream(shm / "stream") as stream:
        assert (ram_of(stream) == ram).all()
    machine = qemu(*none_with(shm / "ram", ram.size), "-incoming", "defer")
    assert machine.load(f"file:{shm}/stream") == "completed", machine.log
    assert (shm / "ram").read_bytes() == ram.tobytes()


@pytest.mark.parametrize("count", [1, 3])
def test_multifd_channels_written_here_load(qemu, shm, count):
    ram = mixed_ram(4096, seed=9)
    sinks, main = [MemoryOutput() for _ in range(count)], MemoryOutput()
    write_none(main, ram, multifd=MultifdWriter(sinks))
    machine = qemu(*none_with(shm / "ram", ram.size), "-incoming", "defer")
    machine.capabilities(multifd=True)
    machine("migrate-set-parameters", multifd_channels=count)
    machine("migrate-incoming", uri=f"unix:{shm}/s", exit_on_error=False)
    with contextlib.ExitStack() as stack:
        threads = []
        for sink in (main, *sinks):
            end = stack.enter_context(socket.socket(socket.AF_UNIX))
            end.settimeout(20)
            end.connect(f"{shm}/s")
            threads.append(threading.Thread(target=end.sendall, args=(sink.getvalue(),)))
        for thread in threads:
            thread.start()
        answer = machine.migration("completed", "failed")
        for thread in threads:
            thread.join(20)
    assert answer["status"] == "completed", machine.log
    assert (shm / "ram").read_bytes() == ram.tobytes()
