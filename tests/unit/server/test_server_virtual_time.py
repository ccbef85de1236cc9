"""Front-ends in virtual time: hours in moments, the same events whenever it is done again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from migsim.errors import ParameterError
from migsim.server.frontend import FrontEnd
from migsim.server.process import read_command_line
from migsim.server.reactor import Reactor
from migsim.testing.wire import LineSocket

MIB = 1 << 20


class Bench:
    """One front-end in virtual time on a loop that is turned while a client waits."""

    def __init__(self, folder: Path, *options: str, qtest: bool = False) -> None:
        self.loop = Reactor()
        self.target = f"file:{folder}/state"
        ram = folder / "ram"
        ram.write_bytes(b"\x01" * (4 * MIB))
        backend = f"memory-backend-file,id=r,size=4M,mem-path={ram},share=on"
        argv = ["-machine", "none,memory-backend=r", "-object", backend, "--virtual-time", *options]
        argv += ["-qmp", f"unix:{folder}/qmp,server=on,wait=off"]
        if qtest:
            argv += ["-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        self.front = FrontEnd(self.loop, argv, read_command_line, lambda *_: None)
        self.qmp = LineSocket(folder / "qmp")
        self.line(self.qmp)
        self.qtest = LineSocket(folder / "qtest") if qtest else None
        self.events: list[dict] = []
        self("qmp_capabilities")
        rows = [{"capability": "events", "state": True}]
        self("migrate-set-capabilities", capabilities=rows)

    def line(self, client: LineSocket) -> str:
        limit = time.monotonic() + 30
        while (line := client.poll()) is None:
            assert time.monotonic() < limit
            self.loop.call_later(0.01, lambda: None)
            self.loop.turn()
        return line

    def __call__(self, name: str, **arguments: object) -> dict:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.qmp.send(json.dumps({"execute": name, "arguments": named}))
        while "event" in (message := json.loads(self.line(self.qmp))):
            self.events.append(message)
        return message

    def step(self, text: str) -> str:
        assert self.qtest is not None
        self.qtest.send(text)
        return self.line(self.qtest)

    def finish(self) -> dict:
        while (answer := self("query-migrate")["return"])["status"] != "completed":
            pass
        return answer

    def close(self) -> None:
        for client in (self.qmp, self.qtest):
            if client is not None:
                client.close()
        self.front.terminate()
        self.loop.close()


@pytest.fixture
def bench(tmp_path):
    made = []

    def start(*options: str, qtest: bool = False, name: str = "a") -> Bench:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Bench(folder, *options, qtest=qtest))
        return made[-1]

    yield start
    for one in made:
        one.close()


def slow_save(one: Bench) -> dict:
    one("migrate-set-parameters", max_bandwidth=16384)
    assert one("migrate", uri=one.target) == {"return": {}}
    return one.finish()


def test_time_passes_at_once_and_always_the_same(bench):
    first, second = bench(name="a"), bench(name="b")
    answers = [slow_save(one) for one in (first, second)]
    assert answers[0] == answers[1]
    # Each tenth of a second has room for one flush of 32 pages.
    assert 2800 <= answers[0]["total-time"] <= 3300
    assert first.events == second.events
    assert first.events[-1]["timestamp"]["seconds"] in (2, 3)


def test_a_client_makes_time_pass(bench):
    one = bench(qtest=True)
    one("migrate-set-parameters", max_bandwidth=16384)
    one("migrate", uri=one.target)
    assert one.step("clock_step 1000000000") == "OK 1000000000"
    answer = one("query-migrate")["return"]
    assert (answer["status"], answer["total-time"]) == ("active", 1000)
    assert one("query-migrate")["return"] == answer
    assert one.step("clock_step") > "OK 1000000000"
    assert one.step("clock_set 400000000000") == "OK 400000000000"
    assert one("query-migrate")["return"]["status"] == "completed"
    assert one.step("clock_step -1").startswith("FAIL")
    names = [e["data"]["status"] for e in one.events if e["event"] == "MIGRATION"]
    assert names == ["setup", "active", "device", "completed"]


def test_time_stands_still_where_a_command_is_waited_for(bench):
    one = bench()
    rows = [{"capability": "pause-before-switchover", "state": True}]
    one("migrate-set-capabilities", capabilities=rows)
    one("migrate", uri=one.target)
    while one("query-migrate")["return"]["status"] != "pre-switchover":
        pass
    answers = [one("query-migrate")["return"]["total-time"] for _ in range(3)]
    assert len(set(answers)) == 1
    one("migrate-continue", state="pre-switchover")
    one.finish()


def test_a_day_with_an_idle_guest(bench):
    one = bench(qtest=True)
    assert one.step(f"clock_step {86_400 * 10**9}") == f"OK {86_400 * 10**9}"
    assert one("query-status")["return"]["running"] is True


def test_the_seed_is_a_number(tmp_path):
    with pytest.raises(ParameterError):
        FrontEnd(Reactor(), ["--seed", "x"], read_command_line, lambda *_: None)
