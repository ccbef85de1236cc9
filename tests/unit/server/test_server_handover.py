"""cpr-transfer between two front-ends: who waits for whom, and what happens when one goes away."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from descriptors import open_descriptors, opened_since

from migsim.errors import ChannelError, ConfigError, StreamError
from migsim.server.frontend import FrontEnd
from migsim.server.handover import HandedOver, receive_state, send_state
from migsim.server.process import await_memory, main, read_command_line
from migsim.server.reactor import Reactor
from migsim.stream.cpr_state import CprEntry, encode_header

if TYPE_CHECKING:
    from migsim.vm import VM

RAM = ["-machine", "none,memory-backend=ram0", "-m", "1M"]
RAM += ["-object", "memory-backend-memfd,id=ram0,size=1M,share=on"]


class Pair:
    """A source and, once memory was handed over, a target on one loop."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.loop = Reactor()
        self.folder = folder
        self.fronts: list[FrontEnd] = []
        self.handed: list[HandedOver] = []
        self.source = self.start([*RAM, *more]).machine

    def start(self, options: list[str], handed: HandedOver | None = None) -> FrontEnd:
        front = FrontEnd(self.loop, options, read_command_line, lambda *_: None, handed=handed)
        self.fronts.append(front)
        return front

    @property
    def main(self) -> str:
        return f"unix:{self.folder}/main"

    def receive(self) -> threading.Thread:
        """Wait for a source aside, as a process that is being started does."""
        argv = ["-incoming", f"cpr,addr.transport=socket,addr.type=unix,addr.path={self.folder}/c"]

        def wait() -> None:
            handed = await_memory(argv)
            assert handed is not None
            self.handed.append(handed)

        thread = threading.Thread(target=wait)
        thread.start()
        self.until((self.folder / "c").exists)
        return thread

    def migrate(self) -> dict[str, object]:
        self.source.set_parameters({"mode": "cpr-transfer"})
        return self.source.qmp("migrate", channels=[self.channel("main"), self.channel("cpr")])

    def channel(self, kind: str) -> dict[str, object]:
        address = {"transport": "socket", "type": "unix", "path": f"{self.folder}/{kind[0]}"}
        if kind == "main":
            address["path"] = f"{self.folder}/main"
        return {"channel-type": kind, "addr": address}

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not done():
            assert time.monotonic() < end, "it took too long"
            self.loop.call_later(0.005, lambda: None)
            self.loop.turn()

    def status(self, vm: VM) -> object:
        return vm.query_migrate().get("status")

    def close(self) -> None:
        for handed in self.handed:
            handed.close()
        for front in self.fronts:
            front.terminate()
        self.loop.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def test_handed_over_and_started(pair: Pair) -> None:
    before = open_descriptors()
    pair.source.ram["ram0"].view()[7] = 0x5A
    thread = pair.receive()
    assert pair.migrate() == {"return": {}}
    thread.join()
    assert pair.status(pair.source) == "setup"
    assert pair.source.query_status()["running"] is True
    cpr = f"cpr,addr.transport=socket,addr.type=unix,addr.path={pair.folder}/c"
    target = pair.start([*RAM, "-incoming", pair.main, "-incoming", cpr], pair.handed[0]).machine
    pair.until(lambda: target.query_status()["status"] == "running")
    pair.until(lambda: pair.status(pair.source) == "completed")
    ours, theirs = pair.source.ram["ram0"].backend, target.ram["ram0"].backend
    assert os.fstat(ours.fileno()).st_ino == os.fstat(theirs.fileno()).st_ino
    assert (target.ram["ram0"].view()[7] == 0x5A).all()
    assert pair.source.query_status()["status"] == "postmigrate"
    total = pair.source.query_migrate()["ram"]
    assert isinstance(total, dict)
    assert (total["total"], total["normal"], total["duplicate"]) == (0, 0, 0)
    assert target.parameters.mode == "normal"
    kinds = [what for what, _ in opened_since(before).values()]
    assert not [what for what in kinds if "socket" in what], "no channel stays open"


def test_with_defer_the_source_waits_for_the_command(pair: Pair) -> None:
    thread = pair.receive()
    pair.migrate()
    thread.join()
    target = pair.start([*RAM, "-incoming", "defer"], pair.handed[0]).machine
    end = time.monotonic() + 0.2
    pair.until(lambda: time.monotonic() > end)
    assert pair.status(pair.source) == "setup"
    refused = target.qmp("migrate-incoming", uri=f"file:{pair.folder}/state")
    assert "error" in refused, "a file is refused where memory was handed over"
    assert target.qmp("migrate-incoming", uri=pair.main) == {"return": {}}
    pair.until(lambda: pair.status(target) == "completed")
    pair.until(lambda: pair.status(pair.source) == "completed")


def test_cancel_while_the_target_starts(pair: Pair) -> None:
    thread = pair.receive()
    pair.migrate()
    thread.join()
    pair.source.migrate_cancel()
    assert pair.status(pair.source) == "cancelled"
    pair.handed[0].close()
    pair.until(lambda: True)
    assert pair.status(pair.source) == "cancelled"
    assert pair.source.query_status()["running"] is True
    assert pair.source.qmp("migrate", uri=f"file:{pair.folder}/s")["error"], "mode wants channels"


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_the_target_dies_before_it_listens(tmp_path: Path, release: str) -> None:
    pair = Pair(tmp_path, "-release", release)
    thread = pair.receive()
    pair.migrate()
    thread.join()
    pair.handed[0].close()
    pair.until(lambda: pair.status(pair.source) == "failed")
    assert pair.source.query_status()["running"] is True
    pair.close()


def test_nobody_waits(pair: Pair) -> None:
    assert "error" in pair.migrate()
    assert pair.status(pair.source) == "failed"
    assert pair.source.query_status()["running"] is True


def test_a_target_that_is_wrong_ends_after_memory_came(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = Pair(tmp_path)
    cpr = f"cpr,addr.transport=socket,addr.type=unix,addr.path={tmp_path}/c"
    argv = [*RAM, "-incoming", "defer", "-incoming", cpr, "-device", "nosuchdevice"]
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(main(argv)))
    thread.start()
    pair.until((tmp_path / "c").exists)
    assert thread.is_alive()
    pair.migrate()
    thread.join()
    assert status == [1]
    assert "nosuchdevice" in capfd.readouterr().err
    pair.until(lambda: pair.status(pair.source) == "failed")
    pair.close()


def test_memory_that_is_too_small_ends_the_target(pair: Pair) -> None:
    thread = pair.receive()
    pair.migrate()
    thread.join()
    larger = [word.replace("1M", "2M") for word in RAM]
    with pytest.raises(ConfigError, match="ram0"):
        pair.start([*larger, "-incoming", "defer"], pair.handed[0])


def test_a_machine_among_many_cannot_wait(pair: Pair) -> None:
    cpr = f"cpr,addr.transport=socket,addr.type=unix,addr.path={pair.folder}/c"
    with pytest.raises(ConfigError, match="process of its own"):
        pair.start([*RAM, "-incoming", "defer", "-incoming", cpr])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", ChannelError),
        (encode_header(), ChannelError),
        (b"QEVM" + bytes(20), StreamError),
        (encode_header() + b"\1\0\0\0\5ram0\0\0\0\0\0 \0", ChannelError),  # without a descriptor
    ],
)
def test_a_source_that_talks_nonsense(
    tmp_path: Path, data: bytes, problem: type[Exception]
) -> None:
    before = open_descriptors()
    path = str(tmp_path / "c")
    found: list[BaseException] = []

    def wait() -> None:
        try:
            receive_state(path)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not os.path.exists(path):
        time.sleep(0.001)
    with socket.socket(socket.AF_UNIX) as sock:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                sock.connect(path)
                break
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        thread.join()
    assert [type(error) for error in found] == [problem]
    assert not opened_since(before)


def test_many_blocks(tmp_path: Path) -> None:
    """More descriptors than one message takes, each at its name."""
    path = str(tmp_path / "c")
    made = {f"block{n}": os.memfd_create(str(n)) for n in range(40)}
    got: list[HandedOver] = []
    thread = threading.Thread(target=lambda: got.append(receive_state(path)))
    thread.start()
    while not os.path.exists(path):
        time.sleep(0.001)
    sock = None
    while sock is None:
        with contextlib.suppress(ChannelError):
            sock = send_state(path, [(CprEntry(name), fd) for name, fd in made.items()])
    thread.join()
    with got[0] as handed:
        inodes = {name: os.fstat(fd).st_ino for name, fd in handed.memory.items()}
    assert inodes == {name: os.fstat(fd).st_ino for name, fd in made.items()}
    sock.close()
    for fd in made.values():
        os.close(fd)
