"""What further outside clients demand of the front-end (spec frontend.md section 12)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest
from conformance.ladder.play import DEFAULT
from conformance.ladder.program import FORKED, find_program, launch
from qemu.qmp import EventListener, ExecuteError, QMPClient

from migsim.testing.process import MachineProcess

# The protocol itself: raw messages on the socket of a machine that nobody has greeted.


class Raw:
    """A connection without handshake; ends with its program."""

    def __init__(self, folder: Path, *options: str) -> None:
        path = folder / "raw"
        words = [*options, "-qmp", f"unix:{path},server=on,wait=off"]
        self.instance = launch(find_program(FORKED), folder, "judge", ["-machine", "none", *words])
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(path))
        self.lines = self.sock.makefile("rb")
        self.events: list[str] = []
        self.greeting = json.loads(self.lines.readline())

    def __call__(self, message: object) -> dict:
        return self.send(json.dumps(message).encode() + b"\n")

    def send(self, data: bytes) -> dict:
        self.sock.sendall(data)
        while True:
            message = json.loads(self.lines.readline())
            if "event" not in message:
                return message
            self.events.append(message["event"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self.lines.close()
        self.sock.close()
        self.instance.kill()

    def error_class(self, message: object) -> str:
        reply = self(message) if not isinstance(message, bytes) else self.send(message)
        assert "return" not in reply
        return reply["error"]["class"]


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="judge") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def shared(folder):
    with Raw(folder) as raw:
        yield raw
        raw.instance.quit()


def test_nothing_but_the_handshake_comes_first(shared):
    assert "oob" in shared.greeting["QMP"]["capabilities"]
    assert set(shared.greeting["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}
    assert shared.error_class({"execute": "query-version"}) == "CommandNotFound"
    wrong = {"execute": "qmp_capabilities", "arguments": {"enable": ["no-such-thing"]}}
    assert shared.error_class(wrong) == "GenericError"
    assert shared({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}) == {
        "return": {}
    }
    assert shared.error_class({"execute": "qmp_capabilities"}) == "CommandNotFound"


@pytest.mark.parametrize(
    "data",
    [
        b"]\n",
        b'{"execute" "query-version"}\n',
        b"null\n",
        b"{}\n",
        b"[]\n",
        b"\xff\n",
        b"\x01\n",
        b'{"execute": "nonexistent\xff"}\n',
        b'{"execute": "nonexistent\x01"}\n',
        b'{"execute": true}\n',
        b'{"execute": "query-version", "arguments": []}\n',
        b'{"execute": "query-version", "extra": 1}\n',
        b'{"arguments": {}}\n',
        b'{"execute": "query-version", "exec-oob": "query-version"}\n',
    ],
)
def test_malformed_input_is_an_error_and_the_next_request_works(shared, data):
    assert shared.error_class(data) == "GenericError"
    reply = shared({"execute": "query-version", "id": "next"})
    while "id" not in reply:  # one mistake may have more than one answer
        assert reply["error"]["class"] == "GenericError"
        reply = json.loads(shared.lines.readline())
    assert reply["id"] == "next"
    assert "qemu" in reply["return"]


@pytest.mark.parametrize("name", ["text", 7, None, {"a": [1]}])
def test_the_id_comes_back_with_replies_and_errors(shared, name):
    assert shared({"execute": "query-name", "id": name}) == {"return": {}, "id": name}
    assert shared({"execute": "no-such", "id": name})["id"] == name
    assert shared({"execute": "query-name", "arguments": {"x": 1}, "id": name})["id"] == name


def test_out_of_band_is_for_few_commands(shared):
    assert shared.error_class({"exec-oob": "query-name", "id": 1}) == "GenericError"
    refused = shared({"exec-oob": "migrate-pause", "id": 2})
    assert refused["id"] == 2
    assert refused["error"]["class"] == "GenericError"


def test_a_property_without_its_value(shared):
    message = {"execute": "qom-set", "arguments": {"path": "/machine", "property": "rtc-time"}}
    assert shared.error_class(message) == "GenericError"


def test_preconfig_waits_for_its_command(folder):
    with Raw(folder, "--preconfig") as raw:
        raw({"execute": "qmp_capabilities"})
        assert raw({"execute": "query-status"})["return"]["status"] == "prelaunch"
        assert raw({"execute": "x-exit-preconfig"}) == {"return": {}}
        assert raw({"execute": "query-status"})["return"] == {"running": True, "status": "running"}
        assert raw.events == ["RESUME"]
        assert raw.error_class({"execute": "x-exit-preconfig"}) == "GenericError"
        raw.instance.quit()


def test_out_of_band_has_to_be_enabled(folder):
    with Raw(folder) as raw:
        raw({"execute": "qmp_capabilities"})
        assert raw.error_class({"exec-oob": "query-yank"}) == "GenericError"
        assert raw.error_class({"exec-oob": "migrate-pause"}) == "GenericError"
        raw.instance.quit()


# The human monitor by QMP.

_HMP = """
boot_set ndc|chardev-add null,id=testchardev1|chardev-send-break testchardev1|
chardev-remove testchardev1|commit all|cpu 0|device_add ?|device_add usb-mouse,id=mouse1|
drive_add ignored format=help|mouse_button 7|mouse_move 10 10|mouse_button 0|device_del mouse1|
dump-guest-memory /dev/null 0 4096|gdbserver|hostfwd_add tcp::43210-:43210|
hostfwd_remove tcp::43210-:43210|i /w 0|log all|log none|memsave 0 4096 "/dev/null"|
migrate_set_parameter xbzrle-cache-size 64k|migrate_set_parameter downtime-limit 1|
migrate_start_postcopy|nmi|o /w 0 0x1234|object_add memory-backend-ram,id=mem1,size=256M|
object_del mem1|one-insn-per-tb on|pmemsave 0 4096 "/dev/null"|p $pc + 8|qom-list /|
qom-set /machine initrd test|qom-get /machine initrd|screendump /dev/null|sendkey x|stop|c|
singlestep on|set_link nosuch off|sum 0 512|sync-profile|system_reset|trace-event * off|
wavcapture /dev/null|stopcapture 0|watchdog_action pause|x /8i 0x100|xp /16x 0|help|help info|
help stop
"""


def _ask(program, line: str) -> str:
    answer = program.qmp.ok("human-monitor-command", command_line=line)
    assert isinstance(answer, str)
    return answer


def test_every_line_of_the_human_monitor_gets_a_text(folder):
    lines = [line for line in _HMP.replace("\n", "").split("|") if line]
    with launch(find_program(FORKED), folder, "hmp", ["-machine", "q35", "-m", "16M"]) as program:
        for line in lines:
            _ask(program, line)
        listed = _ask(program, "help")
        for name in ("migrate", "info", "stop", "quit"):
            assert re.search(rf"^{name}\b", listed, re.MULTILINE), name
        topics = re.findall(r"^info (\S+)", _ask(program, "help info"), re.MULTILINE)
        assert {"status", "migrate", "version"} <= set(topics)
        for topic in topics:
            answer = _ask(program, f"info {topic}")
            assert "unknown command" not in answer, topic
        program.quit()


# A launcher that passes descriptors.


def test_qmp_on_a_descriptor_that_is_inherited(folder):
    listen, ends = f"unix:{folder}/inherited", []
    for options in (("-incoming", listen), ()):
        ours, theirs = socket.socketpair()
        chardev = f"socket,id=mon,fd={theirs.fileno()}"
        words = ["-display", "none", "-vga", "none", "-chardev", chardev]
        words += [
            "-mon",
            "chardev=mon,mode=control",
            "-machine",
            "microvm",
            *options,
            "-nodefaults",
        ]
        process = subprocess.Popen([DEFAULT, *words], pass_fds=[theirs.fileno()])
        theirs.close()
        ours.settimeout(60)
        ends.append((process, ours, ours.makefile("rwb", buffering=0)))

    def ask(number: int, command: str, **arguments: object) -> dict:
        stream = ends[number][2]
        stream.write(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            message = json.loads(stream.readline())
            if "return" in message or "error" in message:
                return message["return"]

    for number in (0, 1):
        assert b"QMP" in ends[number][2].readline()
        ask(number, "qmp_capabilities")
    ask(1, "migrate", uri=listen)
    for number in (0, 1):
        end = time.monotonic() + 60
        while ask(number, "query-migrate").get("status") != "completed":
            assert time.monotonic() < end
            time.sleep(0.01)
    assert ask(1, "query-status") == {"status": "postmigrate", "running": False}
    assert ask(0, "query-status")["running"] is True
    for process, ours, stream in ends:
        process.terminate()
        assert process.wait(30) == 0
        stream.close()
        ours.close()


def test_machines_are_listed():
    done = subprocess.run([DEFAULT, "-M", "help"], capture_output=True, text=True, check=True)
    assert re.search(r"^microvm\b", done.stdout, re.MULTILINE)
    assert re.search(r"^q35\b", done.stdout, re.MULTILINE)


# The client library that QEMU's own shell is made of.


def test_the_client_library_connects_completes_and_hears_events(folder):
    async def talk(path: str) -> None:
        client = QMPClient("judge")
        await client.connect(path)
        try:
            names = {row["name"] for row in await client.execute("query-commands")}
            assert {"migrate", "query-migrate", "human-monitor-command"} <= names
            with client.listener("STOP") as listener:
                assert isinstance(listener, EventListener)
                await client.execute("stop")
                event = await asyncio.wait_for(listener.get(), 30)
                assert event["event"] == "STOP"
            with pytest.raises(ExecuteError):
                await client.execute("migrate", {"uri": "bogus"})
            arguments = {"command-line": "help", "cpu-index": 0}
            assert "info" in await client.execute("human-monitor-command", arguments)
        finally:
            await client.disconnect()

    with MachineProcess(folder, ["-machine", "q35", "-m", "16M"]) as machine:
        machine.qmp.close()
        asyncio.run(talk(machine.path))


def test_the_shell_of_the_library_runs_a_session(folder):
    shell = Path(sys.executable).parent / "qmp-shell"
    command = str(shell) if shell.exists() else shutil.which("qmp-shell")
    if command is None:
        pytest.skip("no qmp-shell here")
    with MachineProcess(folder, ["-machine", "q35", "-m", "16M"]) as machine:
        machine.qmp.close()
        env = {**os.environ, "HOME": str(folder)}
        for options, line, expected in (
            ([], "query-status\n", '"running"'),
            (["-H"], "info status\n", "VM status: running"),
        ):
            done = subprocess.run(
                [command, *options, machine.path],
                input=line,
                capture_output=True,
                text=True,
                timeout=120,
                env=env,
                check=False,
            )
            assert expected in done.stdout.replace("'", '"'), done.stdout + done.stderr
