"""Clients that misbehave: an answer or an end for them alone; everybody else goes on."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from migsim.errors import MigsimError
from migsim.testing import Host, HostedMachine, QmpClient, QmpFailed

MIB = 1 << 20
NEGOTIATE = b'{"execute":"qmp_capabilities"}\n'
STATUS = b'{"execute":"query-status"}\n'
LIMIT_S = 10.0


class Place:
    """A machine with a second monitor, and another machine beside it."""

    def __init__(self, host: Host) -> None:
        folder = host.folder
        self.second = f"{folder}/second"
        self.hmp = f"{folder}/hmp"
        self.qtest = f"{folder}/qtest"
        self.machine = host.start(
            *("-machine", "none", "-m", "16M"),
            *("-qmp", f"unix:{self.second},server=on,wait=off"),
            *("-monitor", f"unix:{self.hmp},server=on,wait=off"),
            *("-qtest", f"unix:{self.qtest},server=on,wait=off"),
        )
        self.neighbour = host.start()
        assert self.goes_on()

    def raw(self, path: str = "") -> socket.socket:
        """Return a client of the first monitor, or of another one."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(path or self.machine.path)  # waits where there is no room in the queue
        client.settimeout(LIMIT_S)
        return client

    def goes_on(self) -> bool:
        """Whether the others are answered: another monitor and another machine."""
        other = QmpClient(self.second)
        answers = [c.command("query-status") for c in (other, self.neighbour.qmp)]
        other.close()
        return answers == [{"running": True, "status": "running"}] * 2

    def serves(self) -> bool:
        """Whether the first monitor takes a new client."""
        client = QmpClient(self.machine.path)
        client.command("query-status")
        client.close()
        return self.goes_on()


@pytest.fixture
def place(migsim_host: Host) -> Place:
    return Place(migsim_host)


def lines(client: socket.socket) -> Iterator[dict[str, object]]:
    with client.makefile("rb") as stream:
        for line in stream:
            yield json.loads(line)


def until_status(client: socket.socket) -> list[str]:
    """Send a question; return the classes of the errors that come before its answer."""
    client.sendall(STATUS)
    errors = []
    for message in lines(client):
        if "error" not in message:
            assert message["return"] == {"running": True, "status": "running"}
            return errors
        error = message["error"]
        assert isinstance(error, dict)
        errors.append(error["class"])
    raise AssertionError("the connection ended")


def negotiated(place: Place) -> socket.socket:
    client = place.raw()
    found = lines(client)
    assert "QMP" in next(found)
    client.sendall(NEGOTIATE)
    assert next(lines(client)) == {"return": {}}
    return client


MALFORMED = [
    b"{]\n",
    b"{'a' 'b'}\n",
    b'{"execute":"query-status"]\n',
    b'{"execute":"query-status","execute":"stop"}\n',
    b'{"execute":"query-status","id":1e999}\n',
    b'{"execute":"query-status","id":' + b"9" * 5000 + b"}\n",
    b'{"execute":"query-status","id":"\xed\xa0\x80"}\n',
    b'{"execute":"query-status","id":"\\ud800"}\n',
    b"[1, 2]\n",
    b"1e5\n",
    b'"execute"\n',
    b'{"execute":{"a":1}}\n',
    b'{"execute":"query-status","arguments":[]}\n',
    b'{"execute":"query-status","more":1}\n',
    b'{"execute":"query-status","exec-oob":"query-status"}\n',
    b'{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1e999}}\n',
    b"{\x00\n",
    b"\xff\n",
    b"{" + b"\xfe" * 100 + b"\n",
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_request(place: Place, text: bytes) -> None:
    client = negotiated(place)
    client.sendall(text)
    errors = until_status(client)
    assert errors
    assert set(errors) == {"GenericError"}
    assert place.goes_on()
    client.close()
    assert place.serves()


def memory_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("begin", "unit"),
    [(b'{"execute":"', b"x"), (b"", b"x"), (b"[", b"1"), (b"", b" ")],
    ids=["string", "word", "number", "space"],
)
@pytest.mark.parametrize("size_bytes", [96 * MIB, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_an_endless_line(place: Place, begin: bytes, unit: bytes, size_bytes: int) -> None:
    """Memory stays bounded, and neighbours are served meanwhile."""
    client = negotiated(place)
    before = memory_bytes()
    block = unit * MIB
    most, sent, served = 0, 0, 0
    client.sendall(begin)
    while sent < size_bytes:
        client.sendall(block)
        sent += len(block)
        if sent % (32 * MIB) == 0:
            most = max(most, memory_bytes())
            served += place.goes_on()
    assert served == size_bytes // (32 * MIB)
    assert most - before < 320 * MIB
    client.close()
    assert place.serves()


def test_a_million_levels(place: Place) -> None:
    client = negotiated(place)
    gone = threading.Event()

    def send() -> None:
        for unit in (b"[", b'{"a":'):
            for _ in range(10):
                client.sendall(unit * 50_000)
        client.sendall(b"\xff\n" + b'{"execute":"query-status","id":"end"}\n')
        gone.set()

    sender = threading.Thread(target=send)
    sender.start()
    kinds = set()
    for message in lines(client):
        if message.get("id") == "end":
            break
        error = message["error"]
        assert isinstance(error, dict)
        kinds.add(error["class"])
    sender.join(LIMIT_S)
    assert gone.is_set()
    assert kinds == {"GenericError"}
    assert place.goes_on()
    client.close()


def test_a_client_that_never_reads_is_not_listened_to(place: Place) -> None:
    client = negotiated(place)
    client.settimeout(0.2)
    before = memory_bytes()
    requests = b'{"execute":"query-commands"}\n' * 400_000
    with pytest.raises(TimeoutError):
        client.sendall(requests)
    assert memory_bytes() - before < 64 * MIB
    assert place.goes_on()
    client.close()
    assert place.serves()


def test_events_wait_for_a_client_that_does_not_read(place: Place) -> None:
    client = negotiated(place)
    other = QmpClient(place.second)
    for _ in range(600):
        other.command("stop")
        other.command("cont")
    other.close()
    assert place.goes_on()
    found = list(lines_so_far(client))
    assert [m["event"] for m in found if "event" in m] == ["STOP", "RESUME"] * 600
    client.close()


def lines_so_far(client: socket.socket) -> Iterator[dict[str, object]]:
    client.sendall(b'{"execute":"query-status","id":"end"}\n')
    for message in lines(client):
        if message.get("id") == "end":
            return
        yield message


def test_a_client_that_goes_at_any_byte(place: Place) -> None:
    talk = NEGOTIATE + b'{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":1}}\n'
    for count in range(len(talk) + 1):
        client = place.raw()
        client.sendall(talk[:count])
        if count % 8 == 0 or count == len(talk):
            assert client.recv(1)  # those before it have been served: the queue is short
        client.close()
    assert place.serves()
    told = QmpClient(place.machine.path)
    answer = told.command("query-migrate-parameters")
    assert isinstance(answer, dict)
    assert answer["max-bandwidth"] in (1, 128 * MIB)  # the last client may not have been heard
    told.close()


def test_a_client_that_goes_with_a_reset(place: Place) -> None:
    """Unread replies make the kernel send a reset; whole and half requests are behind it."""
    for count in range(0, 40, 3):
        client = negotiated(place)
        client.sendall(b'{"execute":"query-commands"}\n' * 20 + STATUS[:count])
        client.recv(10)
        client.close()
    assert place.serves()


def test_two_clients_race(place: Place) -> None:
    """Each request has one answer of its own, whatever the other client does meanwhile."""
    answers: dict[int, list[object]] = {0: [], 1: []}

    def drive(number: int, path: str) -> None:
        client = QmpClient(path)
        for turn in range(150):
            name = ("stop", "cont", "migrate", "migrate_cancel")[(turn + number) % 4]
            given = {"uri": "file:/dev/null"} if name == "migrate" else {}
            try:
                answers[number].append(client.command(name, **given))
            except QmpFailed as error:
                answers[number].append(error.qmp_class)
        client.close()

    paths = (place.machine.path, place.second)
    threads = [threading.Thread(target=drive, args=pair) for pair in enumerate(paths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert [len(found) for found in answers.values()] == [150, 150]
    place.machine.qmp.command("cont")
    place.machine.release()
    assert place.serves()


@pytest.mark.parametrize("count", [1, 16, 60])
@pytest.mark.parametrize("monitor", ["qmp", "hmp", "qtest"])
def test_descriptors_that_nobody_asked_for(place: Place, monitor: str, count: int) -> None:
    words = {"qmp": (place.machine.path, STATUS), "hmp": (place.hmp, b"info status\n")}
    path, line = words.get(monitor, (place.qtest, b"clock_step 1\n"))
    client = negotiated(place) if monitor == "qmp" else place.raw(path)
    read_end, write_end = os.pipe()
    for _ in range(3):
        socket.send_fds(client, [line], [write_end] * count)
        assert client.recv(1 << 16)
    os.close(write_end)
    assert place.goes_on()
    client.close()
    assert place.goes_on()
    # The last writer is gone: whoever still held a copy would keep the pipe open.
    os.set_blocking(read_end, False)
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_a_descriptor_that_is_missing(place: Place) -> None:
    client = negotiated(place)
    for command in ("getfd", "add-fd"):
        given = {"fdname": "x"} if command == "getfd" else {}
        client.sendall(json.dumps({"execute": command, "arguments": given}).encode())
        assert "error" in next(lines(client))
    assert place.goes_on()
    client.close()


def test_a_migration_to_a_link_follows_it_and_leaves_it(place: Place, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there")
    machine = place.neighbour  # the clock of the other one waits for its qtest client
    machine.qmp.command("migrate", uri=f"file:{tmp_path / 'link'}")
    assert machine.qmp.wait_migration("completed", "failed") == "completed"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes()[:4] == b"QEVM"


def waits(host: Host) -> HostedMachine:
    return host.start("-machine", "none", "-m", "16M", "-incoming", "defer")


def test_what_is_in_the_way_of_a_socket(place: Place, migsim_host: Host, tmp_path: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("kept")
    link.symlink_to(precious)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("precious", "no/folder", "."):
        with pytest.raises(QmpFailed):
            waits(migsim_host).qmp.command("migrate-incoming", uri=f"unix:{tmp_path / name}")
        with pytest.raises(MigsimError):
            migsim_host.start("-qmp", f"unix:{tmp_path / name},server=on,wait=off")
    waits(migsim_host).qmp.command("migrate-incoming", uri=f"unix:{link}")
    migsim_host.start("-qmp", f"unix:{tmp_path / 'loop'},server=on,wait=off")
    assert precious.read_text() == "kept"
    assert place.goes_on()


def test_a_socket_that_is_in_use_goes_to_the_newcomer(place: Place, migsim_host: Host) -> None:
    """As in QEMU: the name is taken over; clients that are connected stay with the old one."""
    old = QmpClient(place.second)
    new = migsim_host.start("-name", "new", "-qmp", f"unix:{place.second},server=on,wait=off")
    told = QmpClient(place.second)
    assert told.command("query-name") == {"name": "new"}
    assert old.command("query-name") == {}
    told.close()
    old.close()
    assert new.status is None


def test_every_socket_is_private(place: Place, migsim_host: Host, tmp_path: Path) -> None:
    target = waits(migsim_host)
    target.qmp.command("migrate-incoming", uri=f"unix:{tmp_path / 'm'}")
    paths = (place.machine.path, place.second, place.hmp, place.qtest, str(tmp_path / "m"))
    assert {os.stat(path).st_mode & 0o777 for path in paths} == {0o600}


@pytest.mark.parametrize("how", ["refused", "option", "environment"])
def test_commands_run_only_when_allowed(
    migsim_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delenv("MIGSIM_ALLOW_EXEC", raising=False)
    if how == "environment":
        monkeypatch.setenv("MIGSIM_ALLOW_EXEC", "1")
    options = ["-machine", "none", *["--allow-exec"] * (how == "option")]
    machine = migsim_host.start(*options)
    sign, target = tmp_path / "sign", waits(migsim_host)
    refused = how == "refused"
    told = pytest.raises(QmpFailed, match="allow-exec") if refused else contextlib.nullcontext()
    with told:
        machine.qmp.command("migrate", uri=f"exec:cat > {sign}")
        assert machine.qmp.wait_migration("completed", "failed") == "completed"
    assert sign.exists() is not refused
    if how != "environment":
        with pytest.raises(QmpFailed, match="allow-exec"):
            target.qmp.command("migrate-incoming", uri=f"exec:touch {tmp_path / 'other'}")
        assert not (tmp_path / "other").exists()
