from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migsim.errors import ChannelError
from migsim.server.frontend import FrontEnd
from migsim.server.process import main, read_command_line
from migsim.server.reactor import Reactor
from migsim.server.serve import Farm
from migsim.server.sockets import listen_unix


class World:
    """Front-ends on one loop, and clients that turn the loop while they wait."""

    def __init__(self, folder: Path) -> None:
        self.loop = Reactor()
        self.folder = folder
        self.fronts: list[FrontEnd] = []
        self.statuses: list[int] = []
        self.clients: list[Client] = []

    def start(self, name: str, *options: str) -> Client:
        path = self.folder / f"{name}.qmp"
        argv = ["-machine", "none", *options, "-qmp", f"unix:{path},server=on,wait=off"]
        front = FrontEnd(self.loop, argv, read_command_line, lambda s, _: self.statuses.append(s))
        self.fronts.append(front)
        return self.connect(path)

    def connect(self, path: Path) -> Client:
        client = Client(self, path)
        self.clients.append(client)
        return client

    def until(self, done: Callable[[], object], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < end, "it took too long"
            self.loop.call_later(0.01, lambda: None)
            self.loop.turn()

    def close(self) -> None:
        for client in self.clients:
            client.sock.close()
        for front in self.fronts:
            front.terminate()
        self.loop.close()


class Client:
    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.sock.setblocking(False)
        self.rest = b""
        self.events: list[str] = []
        self.eof = False

    def read(self) -> dict[str, object] | None:
        with contextlib.suppress(BlockingIOError):
            data = self.sock.recv(1 << 16)
            self.eof = not data
            self.rest += data
        line, end, rest = self.rest.partition(b"\n")
        if not end:
            return None
        self.rest = rest
        message: dict[str, object] = json.loads(line)
        return message

    def next(self) -> dict[str, object]:
        found: list[dict[str, object]] = []

        def look() -> bool:
            message = self.read()
            if message is not None and "event" in message:
                data = message.get("data", {})
                assert isinstance(data, dict)
                self.events.append(f"{message['event']} {data.get('status', '')}".strip())
            elif message is not None:
                found.append(message)
            return bool(found) or self.eof

        self.world.until(look)
        return found[0] if found else {}

    def __call__(self, command: str, **arguments: object) -> dict[str, object]:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.sock.send(json.dumps({"execute": command, "arguments": named}).encode())
        return self.next()

    def greet(self) -> Client:
        assert "QMP" in self.next()
        assert self("qmp_capabilities") == {"return": {}}
        return self

    def status(self) -> object:
        answer = self("query-migrate")["return"]
        assert isinstance(answer, dict)
        return answer.get("status")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


EVENTS = {"capabilities": [{"capability": "events", "state": True}]}


@pytest.mark.parametrize("scheme", ["unix", "tcp"])
def test_live_migration_between_two_machines(world: World, scheme: str) -> None:
    source, target = (
        world.start("a", "-m", "8M").greet(),
        world.start("b", "-m", "8M", "-incoming", "defer").greet(),
    )
    [block] = world.fronts[0].machine.ram
    block.view()[100:1100, 7] = 5
    for client in (source, target):
        client("migrate-set-capabilities", **EVENTS)
    uri = f"unix:{world.folder}/m" if scheme == "unix" else "tcp:127.0.0.1:0"
    assert target("migrate-incoming", uri=uri) == {"return": {}}
    answer = target("query-migrate")["return"]
    assert isinstance(answer, dict)
    [address] = answer["socket-address"]
    if scheme == "tcp":
        uri = f"tcp:{address['host']}:{address['port']}"
    else:
        assert address == {"type": "unix", "path": f"{world.folder}/m"}
    assert source("migrate", uri=uri) == {"return": {}}
    world.until(lambda: source.status() == "completed" and target.status() == "completed")
    assert world.fronts[0].machine.ram_sha256() == world.fronts[1].machine.ram_sha256()
    assert source.events[0] == "MIGRATION setup"
    assert source.events[-1] == "MIGRATION completed"
    assert target.events == [
        "MIGRATION setup",
        "MIGRATION active",
        "RESUME",
        "MIGRATION completed",
    ]


def test_a_target_can_be_watched_while_it_loads(world: World) -> None:
    source, target = (
        world.start("a", "-m", "8M").greet(),
        world.start("b", "-m", "8M", "-incoming", f"unix:{world.folder}/m").greet(),
    )
    [block], [copy] = world.fronts[0].machine.ram, world.fronts[1].machine.ram
    block.view()[:, 3] = 9
    source("migrate-set-parameters", max_bandwidth=1 << 20)
    source("migrate", uri=f"unix:{world.folder}/m")
    world.until(lambda: copy.view()[0, 3] == 9)
    assert target.status() == "active"
    assert source.status() == "active"
    assert source("migrate_cancel") == {"return": {}}
    world.until(lambda: source.status() == "cancelled")
    world.until(lambda: world.statuses == [1])


def test_nobody_listens(world: World) -> None:
    source = world.start("a", "-m", "1M").greet()
    for uri in (f"unix:{world.folder}/nobody", "tcp:127.0.0.1:1"):
        assert source("migrate", uri=uri) == {"return": {}}
        world.until(lambda: source.status() == "failed")
    status = source("query-status")["return"]
    assert status == {"running": True, "status": "running"}


def test_commands_are_not_run_unless_allowed(world: World) -> None:
    source = world.start("a", "-m", "1M").greet()
    mark = world.folder / "mark"
    assert "error" in source("migrate", uri=f"exec:touch {mark}")
    source = world.start("b", "-m", "1M", "-allow-exec").greet()
    assert source("migrate", uri=f"exec:cat > {mark}") == {"return": {}}
    world.until(lambda: source.status() == "completed")
    assert mark.read_bytes().startswith(b"QEVM")


def test_the_second_client_waits_for_the_first(world: World) -> None:
    first = world.start("a").greet()
    second = world.connect(world.folder / "a.qmp")
    assert "return" in first("query-status")
    assert second.read() is None
    first.sock.close()
    assert "QMP" in second.next()


def test_a_client_that_never_reads_harms_nobody(world: World) -> None:
    deaf = world.start("a", "-qmp", f"unix:{world.folder}/b.qmp,server=on,wait=off").greet()
    other = world.connect(world.folder / "b.qmp").greet()
    with contextlib.suppress(BlockingIOError):
        for _ in range(2000):
            deaf.sock.send(b'{"execute":"query-migrate-parameters"}' * 50)
            world.loop.call_soon(lambda: None)
            world.loop.turn()
    assert "return" in other("query-status")
    connections = [server.connection for server in world.fronts[0]._servers]
    assert all(c is None or len(c.session.output) < 32 << 20 for c in connections)


def test_quit_and_signal(world: World) -> None:
    client = world.start("a").greet()
    assert client("quit") == {"return": {}}
    assert client.events == ["SHUTDOWN"]
    assert world.statuses == [0]
    assert not (world.folder / "a.qmp").exists()


def test_sockets_are_private_and_replace_only_sockets(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sock = listen_unix(str(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    sock.close()
    listen_unix(str(path)).close()
    precious = tmp_path / "precious"
    precious.write_text("x")
    with pytest.raises(ChannelError):
        listen_unix(str(precious))
    link = tmp_path / "link"
    link.symlink_to(precious)
    listen_unix(str(link)).close()
    assert precious.read_text() == "x"


@pytest.mark.parametrize(
    "argv", [["-bogus"], ["-incoming", "bogus:x"], ["-machine", "none", "-incoming", "file:/no/f"]]
)
def test_start_up_errors(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert capsys.readouterr().out == ""


def test_many_machines_in_one_process(world: World) -> None:
    farm = Farm(world.loop, str(world.folder / "farm"), 20, ["-machine", "none", "-name", "m{n}"])
    clients = [world.connect(world.folder / "farm" / f"{n}.qmp").greet() for n in range(20)]
    for number, client in enumerate(clients):
        assert client("query-name") == {"return": {"name": f"m{number}"}}
    clients[3]("quit")
    assert farm.statuses == {3: 0}
    assert clients[4]("query-status")["return"] == {"running": True, "status": "running"}
    farm.terminate()
    assert not farm.living


def test_the_loop_calls_in_order_and_cancels() -> None:
    loop, seen = Reactor(), []
    loop.call_later(0.0, seen.append, 2)
    loop.call_soon(seen.append, 1)
    loop.call_soon(seen.append, 9).cancel()
    loop.call_soon_threadsafe(seen.append, 3)
    loop.call_later(0.02, loop.stop)
    loop.run()
    loop.close()
    assert sorted(seen) == [1, 2, 3]
