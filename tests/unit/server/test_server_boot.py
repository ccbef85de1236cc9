from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.ladder.image import boot_image

from migsim.guest.page_counter import PageCounter
from migsim.server import boot
from migsim.server.frontend import FrontEnd
from migsim.server.process import read_command_line
from migsim.server.reactor import Reactor

IMAGE = b"not the real image, which is not ours" + bytes(475)


@pytest.fixture
def loop() -> Iterator[Reactor]:
    loop = Reactor()
    yield loop
    loop.close()


def start(loop: Reactor, folder: Path, name: str, *more: str) -> FrontEnd:
    (folder / "boot").write_bytes(IMAGE)
    argv = ["-accel", "kvm", "-machine", "pc-q35-10.0,", "-m", "150M", "-nodefaults"]
    argv += ["-serial", f"file:{folder}/{name}", "-display", "none"]
    argv += ["-drive", f"if=none,id=d0,file={folder}/boot,format=raw"]
    argv += ["-device", "ide-hd,drive=d0,secs=1,cyls=1,heads=1", *more]
    return FrontEnd(loop, argv, read_command_line, lambda status, reason: None)


def turn(loop: Reactor, front: FrontEnd, done: object, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    assert callable(done)
    while not done():
        assert time.monotonic() < end, "it took too long"
        loop.call_later(0.005, lambda: None)
        loop.turn()


def test_a_known_image_boots_the_page_counter_which_travels(
    loop: Reactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(boot._SUSPENDS, hashlib.sha256(IMAGE).hexdigest(), False)
    source = start(loop, tmp_path, "source")
    target = start(loop, tmp_path, "target", "-incoming", f"unix:{tmp_path}/m")
    turn(loop, source, lambda: (tmp_path / "source").read_bytes().startswith(b"AB"))
    assert (tmp_path / "target").read_bytes() == b""
    source.machine.set_parameters({"max-bandwidth": 10**9, "downtime-limit": 30_000})
    source.machine.migrate(f"unix:{tmp_path}/m")
    source.wake()
    turn(loop, target, lambda: target.machine.query_status()["running"])
    assert source.machine.query_status()["status"] == "postmigrate"
    turn(loop, target, lambda: b"B" in (tmp_path / "target").read_bytes())
    assert set((tmp_path / "target").read_bytes()) == {ord("B")}
    target.machine.stop()
    block = target.machine.guest.block
    assert block is not None
    first_bytes = block.view()[256:25600, 0].astype(int)
    steps = (first_bytes[:-1] - first_bytes[1:]) % 256
    assert steps.sum() <= 1  # one value, and from some page on that of the pass before
    for front in (source, target):
        front.terminate()


def test_another_image_boots_nothing(loop: Reactor, tmp_path: Path) -> None:
    front = start(loop, tmp_path, "serial")
    assert front.machine.guest.workload.rate_pages_per_s == 0.0
    assert (tmp_path / "serial").exists()
    front.terminate()


def test_images_that_count_in_pages_are_known_by_their_code(tmp_path: Path) -> None:
    def suspends(image: bytes) -> bool | None:
        (tmp_path / "image").write_bytes(image)
        words = ["-drive", f"if=none,file={tmp_path}/image,format=raw", "-m", "150M"]
        guest = boot.guest_of(read_command_line(words), 150 << 20)
        assert guest is None or isinstance(guest, PageCounter)
        return None if guest is None else guest.suspends

    assert suspends(boot_image()) is False
    assert suspends(boot_image(suspends=True)) is True
    assert suspends(boot_image()[:-2] + bytes(2)) is None
    assert suspends(boot_image().replace(b"\xb0B", b"\xb0C")) is None
    assert suspends(b"") is None
