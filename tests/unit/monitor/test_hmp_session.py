from __future__ import annotations

import re
from pathlib import Path

import pytest

from migsim.machine.config import MachineConfig
from migsim.monitor.hmp_session import HmpSession
from migsim.monitor.hub import MonitorHub
from migsim.monitor.qtest import QtestSession
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

RAM = BackendSpec(BackendKind.RAM, "ram", 4 << 20)


@pytest.fixture
def vm() -> VM:
    return VM(MachineConfig(memory=RAM))


@pytest.fixture
def session(vm: VM) -> HmpSession:
    return HmpSession(vm, MonitorHub(vm))


def plain(session: HmpSession) -> str:
    text = session.output.decode()
    session.output.clear()
    return re.sub(r"\x1b\[[A-Z]", "", text)


def test_banner_prompt_and_echo(session: HmpSession) -> None:
    session.greet()
    assert re.fullmatch(r"QEMU .*help.*\r\n\(qemu\) ", plain(session))
    session.feed(b"s")
    assert session.output == b"s\x1b[K"
    session.feed(b"t")
    assert session.output == b"s\x1b[K\x1b[Dst\x1b[K"


def test_a_line_is_executed_and_the_prompt_returns(session: HmpSession) -> None:
    session.feed(b"info status\n")
    assert plain(session).endswith("info status\r\nVM status: running\r\n(qemu) ")
    session.feed(b"infox\x7f status\r")
    assert plain(session).endswith("VM status: running\r\n(qemu) ")


def test_migrate_keeps_the_person_waiting(vm: VM, session: HmpSession, tmp_path: Path) -> None:
    session.feed(f"migrate file:{tmp_path}/state\ninfo status\n".encode())
    assert "VM status" not in plain(session)
    vm.run_until(lambda: not vm.source.running)
    session.poll()
    assert plain(session).endswith("VM status: paused (postmigrate)\r\n(qemu) ")


def test_a_refused_migrate_does_not(session: HmpSession) -> None:
    session.feed(b"migrate file:/no/such/place/state\n")
    assert "Error: " in plain(session)
    session.feed(b"info status\n")
    assert "running" in plain(session)


def ask(session: QtestSession, line: str) -> str:
    session.feed(line.encode() + b"\n")
    answer = session.output.decode()
    session.output.clear()
    assert answer.endswith("\n")
    return answer[:-1]


def test_qtest_memory(vm: VM) -> None:
    qtest = QtestSession(vm)
    assert ask(qtest, "endianness") == "OK little"
    assert ask(qtest, "writeq 0x400 0xFEED12345678CAFE") == "OK"
    assert ask(qtest, "readq 0x400") == "OK 0xfeed12345678cafe"
    assert ask(qtest, "readb 0x400") == "OK 0x00000000000000fe"
    assert ask(qtest, "read 0x400 0x2") == "OK 0xfeca"
    assert ask(qtest, "write 0x10 0x2 0xabcd") == "OK"
    assert ask(qtest, "readw 0x10") == "OK 0x000000000000cdab"
    assert ask(qtest, "memset 0x20 4 0x5a") == "OK"
    assert ask(qtest, "b64read 0x20 3") == "OK Wlpa"


@pytest.mark.parametrize(
    "line",
    [
        "bogus",
        "readq",
        "readq x",
        "readq 0x3ffff9",
        "read 0 0x400001",
        "read -1 1",
        "memset 0 0xffffffffffff 1",
        "writeq 0xffffffffffffffff 1",
    ],
)
def test_qtest_refusals(vm: VM, line: str) -> None:
    qtest = QtestSession(vm)
    assert ask(qtest, line).startswith("FAIL ")
    assert ask(qtest, "readb 0x3fffff") == "OK 0x0000000000000000"


def test_qtest_writes_are_dirty(vm: VM) -> None:
    [block] = vm.ram
    block.log.start()
    ask(QtestSession(vm), "writeq 0x1ffc 1")
    from migsim.ram.bitmap import DirtyBitmap

    into = DirtyBitmap(block.pages)
    assert block.log.sync(into) == 2
