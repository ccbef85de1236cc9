from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import data, from_regex, lists, sampled_from

from migsim.cmdline.parse import parse
from migsim.machine.config import MachineConfig
from migsim.monitor.session import QmpSession
from migsim.qapi.release import Release
from migsim.server.launch import _SAFE, greet_early
from migsim.vm import VM


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_the_early_greeting_is_the_one_of_the_session(
    tmp_path: Path, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGSIM_RELEASE", release)
    path = str(tmp_path / "q")
    greeter = greet_early(["-machine", "none", "-qmp", f"unix:{path},server=on,wait=off"])
    assert greeter is not None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        early = client.recv(4096)
        listener, served = greeter.finish()
        assert served is not None
        served.close()
        listener.close()
    session = QmpSession(VM(MachineConfig(release=Release.parse(release))))
    session.greet()
    assert json.loads(early) == json.loads(session.output)


@pytest.mark.parametrize(
    "more",
    [
        ["-incoming", "bogus:x"],
        ["-machine", "bogus"],
        ["-m", "lots"],
        ["-bogus"],
        ["-qmp", "stdio"],
    ],
)
def test_what_may_be_wrong_is_not_greeted(tmp_path: Path, more: list[str]) -> None:
    words = ["-machine", "none", "-qmp", f"unix:{tmp_path}/q,server=on,wait=off"]
    assert greet_early([*words, *more]) is None
    assert not (tmp_path / "q").exists()


def test_a_file_in_the_way_is_left_to_the_long_way(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("x")
    assert greet_early(["-qmp", f"unix:{tmp_path}/q,server=on"]) is None


def test_a_process_from_greeting_to_sigterm(tmp_path: Path) -> None:
    path = str(tmp_path / "q")
    code = "from migsim.server.launch import console; console()"
    argv = ["-machine", "none", "-m", "16M", "-qmp", f"unix:{path},server=on,wait=off"]
    process = subprocess.Popen([sys.executable, "-c", code, *argv])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        end = time.monotonic() + 30
        while True:
            try:
                client.connect(path)
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.01)
        stream = client.makefile("rwb")
        assert b"QMP" in stream.readline()
        stream.write(b'{"execute":"qmp_capabilities"}{"execute":"query-status"}')
        stream.flush()
        assert json.loads(stream.readline()) == {"return": {}}
        assert json.loads(stream.readline())["return"]["status"] == "running"
        process.terminate()
        event = json.loads(stream.readline())
        assert event["event"] == "SHUTDOWN"
        assert event["data"] == {"guest": False, "reason": "host-signal"}
        stream.close()
    assert process.wait(30) == 0


@given(data())
@settings(max_examples=60)
def test_what_is_greeted_early_cannot_be_wrong(drawn):
    words = []
    for option in drawn.draw(lists(sampled_from(sorted(_SAFE)), max_size=5)):
        words.append(option)
        if _SAFE[option]:
            words.append(drawn.draw(from_regex(_SAFE[option], fullmatch=True)))
    with tempfile.TemporaryDirectory() as folder:
        greeter = greet_early([*words, "-qmp", f"unix:{folder}/q,server=on,wait=off"])
        assert greeter is not None
        for sock in filter(None, greeter.finish()):
            sock.close()
    assert not parse(words).refused


@pytest.mark.parametrize(
    "words", [["-m", "10T"], ["-machine", "isapc"], ["-device", "e1000"], ["-name", "a,b=c"]]
)
def test_what_may_be_wrong_is_not_greeted_early(words, tmp_path):
    assert greet_early([*words, "-qmp", f"unix:{tmp_path}/q,server=on,wait=off"]) is None
