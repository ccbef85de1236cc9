"""Several channels, a return path, encoded pages: between migsim and a real QEMU, both ways."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migsim.testing.process import QmpClient

pytestmark = pytest.mark.live

MIB = 1 << 20
SIZE = 32 * MIB
PROGRAMS = {
    "qemu": ["qemu-system-x86_64", "-nodefaults", "-display", "none"],
    "migsim": [sys.executable, "-c", "from migsim.server.launch import console; console()"],
}
PAIRS = [("migsim", "qemu"), ("qemu", "migsim"), ("migsim", "migsim")]


@dataclass
class Side:
    """One machine ``none`` whose RAM is a file."""

    folder: Path
    process: subprocess.Popen[bytes]
    qmp: QmpClient

    @property
    def ram(self) -> bytes:
        return (self.folder / "ram").read_bytes()

    def set(self, capabilities: tuple[str, ...] = (), **parameters: object) -> None:
        states = [{"capability": name, "state": True} for name in ("events", *capabilities)]
        self.qmp.command("migrate-set-capabilities", capabilities=states)
        if parameters:
            self.qmp.command("migrate-set-parameters", **parameters)

    def query(self) -> dict:
        return self.qmp.command("query-migrate")

    def statuses(self) -> list[str]:
        return [e["data"]["status"] for e in self.qmp.events if e["event"] == "MIGRATION"]


@dataclass
class Stage:
    """Starts machines in a folder and ends them."""

    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self, program: str, *options: str, content: bytes | None = None) -> Side:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        if content is not None:
            (folder / "ram").write_bytes(content)
        path = str(folder / "qmp")
        backend = f"memory-backend-file,id=ram0,size={SIZE},mem-path={folder}/ram,share=on"
        words = [*PROGRAMS[program], "-machine", "none,memory-backend=ram0", "-object", backend]
        words += ["-m", f"{SIZE // MIB}M", "-qmp", f"unix:{path},server=on,wait=off", *options]
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        end = time.monotonic() + 60
        while not os.path.exists(path):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        qmp = QmpClient(path)
        self.stack.callback(qmp.close)
        return Side(folder, process, qmp)

    def pair(self, source: str, target: str) -> tuple[Side, Side]:
        return self.start(source, content=content()), self.start(target, "-incoming", "defer")


@pytest.fixture
def stage() -> Iterator[Stage]:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(dir=base, prefix="migsim"))
    stage = Stage(folder)
    with stage.stack:
        yield stage
    shutil.rmtree(folder, ignore_errors=True)


def content() -> bytes:
    """Return RAM with zero pages, constant pages and pages that no method makes shorter."""
    ram = bytearray(SIZE)
    ram[3 * MIB : 4 * MIB] = random.Random(3).randbytes(MIB)
    ram[8 * MIB : 12 * MIB] = b"\x07" * (4 * MIB)
    ram[12 * MIB : 20 * MIB : 8192] = b"\x55" * 1024
    ram[-1] = 1
    return bytes(ram)


def migrate(source: Side, target: Side, uri: str, wait: bool = True) -> None:
    target.qmp.command("migrate-incoming", uri=uri)
    if uri.startswith("tcp:"):
        address = target.query()["socket-address"][0]
        uri = f"tcp:{address['host']}:{address['port']}"
    source.qmp.command("migrate", uri=uri)
    if wait:
        ended = source.qmp.wait_migration("completed", "failed")
        assert ended == "completed", source.query()
        assert target.qmp.wait_migration("completed", "failed") == "completed", target.query()


def address(stage: Stage, transport: str) -> str:
    return "tcp:127.0.0.1:0" if transport == "tcp" else f"unix:{stage.folder}/mig"


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize(
    ("transport", "channels", "parameters"),
    [
        ("tcp", 16, {}),
        ("unix", 2, {"zero_page_detection": "legacy"}),
        ("tcp", 3, {"zero_page_detection": "none"}),
        ("unix", 4, {"multifd_compression": "zlib"}),
        ("tcp", 16, {"multifd_compression": "zstd", "multifd_zstd_level": 2}),
    ],
    ids=["plain", "legacy", "none", "zlib", "zstd"],
)
def test_multifd(pair, transport, channels, parameters, stage):
    if "zstd" in parameters.values():
        pytest.importorskip("zstandard")
    source, target = stage.pair(*pair)
    for side in (source, target):
        side.set(("multifd",), multifd_channels=channels, **parameters)
    migrate(source, target, address(stage, transport))
    assert target.ram == source.ram
    ram = source.query()["ram"]
    assert ram["transferred"] >= ram["multifd-bytes"] > 64 * channels
    assert ram["normal"] + ram["duplicate"] >= SIZE // 4096
    detected = parameters.get("zero_page_detection") != "none"
    assert (ram["duplicate"] > 0) is detected


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_switchover_ack(pair, stage):
    source, target = stage.pair(*pair)
    for side in (source, target):
        side.set(("return-path", "switchover-ack"))
    migrate(source, target, address(stage, "tcp"))
    assert target.ram == source.ram
    assert target.qmp.command("query-status")["status"] == "running"


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_load_that_fails_is_told_on_the_return_path(pair, stage):
    source = stage.start(
        pair[0], "-uuid", "10000000-0000-0000-0000-000000000001", content=content()
    )
    target = stage.start(
        pair[1], "-uuid", "20000000-0000-0000-0000-000000000002", "-incoming", "defer"
    )
    for side in (source, target):
        side.set(("return-path", "validate-uuid"))
    migrate(source, target, address(stage, "unix"), wait=False)
    assert source.qmp.wait_migration("completed", "failed") == "failed"
    assert source.qmp.command("query-status")["running"]
    assert target.process.wait(30) == 1


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_multifd_cancelled_and_sent_to_a_second_target(pair, stage):
    source, target = stage.pair(*pair)
    second = stage.start(pair[1], "-incoming", "defer")
    for side in (source, target, second):
        side.set(("multifd",), multifd_channels=16)
    source.set(max_bandwidth=1_000_000, downtime_limit=1)
    migrate(source, target, address(stage, "tcp"), wait=False)
    source.qmp.wait_migration("active")
    source.qmp.command("migrate_cancel")
    source.qmp.wait_migration("cancelled")
    assert target.process.wait(30) == 1
    assert source.qmp.command("query-status")["running"]
    source.set(max_bandwidth=1_000_000_000, downtime_limit=30_000)
    migrate(source, second, address(stage, "tcp"))
    assert second.ram == source.ram


# A real machine `none` has no processor through which its RAM could be written.
@pytest.mark.parametrize("pair", PAIRS[::2], ids="-".join)
def test_xbzrle(pair, stage):
    writer = stage.folder / "qtest"
    source = stage.start(pair[0], "-qtest", f"unix:{writer},server=on,wait=off", content=content())
    target = stage.start(pair[1], "-incoming", "defer")
    source.set(
        ("xbzrle", "pause-before-switchover"),
        max_bandwidth=20_000_000,
        downtime_limit=1,
        xbzrle_cache_size=16 * MIB,
    )
    target.set(("xbzrle",))
    with socket.socket(socket.AF_UNIX) as qtest:
        qtest.connect(str(writer))
        replies = stage.stack.enter_context(qtest.makefile("rb"))
        migrate(source, target, address(stage, "unix"), wait=False)
        step = 0
        while source.query()["status"] in ("setup", "active"):
            step += 1
            for page in range(768, 1024):
                qtest.sendall(f"writeb {page * 4096 + step % 4096:#x} {step % 256}\n".encode())
                assert replies.readline() == b"OK\n"
            if source.query().get("xbzrle-cache", {}).get("pages", 0) > 1000:
                source.set(max_bandwidth=1_000_000_000, downtime_limit=30_000)
                break
    assert source.qmp.wait_migration("pre-switchover", "failed") == "pre-switchover"
    source.qmp.command("migrate-continue", state="pre-switchover")
    assert source.qmp.wait_migration("completed", "failed") == "completed"
    assert target.qmp.wait_migration("completed", "failed") == "completed"
    cache = source.query()["xbzrle-cache"]
    assert cache["pages"] > 100
    assert cache["bytes"] < 200 * cache["pages"]
    assert cache["cache-miss"] > 0
    assert target.ram == source.ram


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_direct_io_through_a_set_of_descriptors(pair, tmp_path, stage):
    source, target = stage.pair(*pair)
    path = tmp_path / "saved"  # not in memory: O_DIRECT has to mean something
    path.touch()
    for side, access in ((source, os.O_WRONLY), (target, os.O_RDONLY)):
        side.set(("mapped-ram", "multifd"), multifd_channels=4, direct_io=True)
        for flags in (access, access | os.O_DIRECT):
            fd = os.open(path, flags)
            side.qmp.send_descriptor(fd)
            side.qmp.command("add-fd", fdset_id=1)
            os.close(fd)
    uri = "file:/dev/fdset/1,offset=4096"
    source.qmp.command("migrate", uri=uri)
    assert source.qmp.wait_migration("completed", "failed") == "completed", source.query()
    assert source.query()["ram"]["multifd-bytes"] > 0
    source.qmp.command("remove-fd", fdset_id=1)
    assert source.qmp.command("query-fdsets") == []
    target.qmp.command("migrate-incoming", uri=uri)
    assert target.qmp.wait_migration("completed", "failed") == "completed", target.query()
    assert target.ram == source.ram
