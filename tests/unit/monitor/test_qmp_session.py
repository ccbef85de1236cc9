from __future__ import annotations

import json
import os

import pytest
from descriptors import open_descriptors, opened_since

from migsim.machine.config import MachineConfig
from migsim.monitor.hub import MonitorHub
from migsim.monitor.session import QmpSession
from migsim.vm import VM


class Client:
    def __init__(self, vm: VM, hub: MonitorHub) -> None:
        self.session = QmpSession(vm, hub=hub)
        self.session.greet()

    def take(self) -> list[dict[str, object]]:
        out = bytes(self.session.output)
        self.session.output.clear()
        assert not out or out.endswith(b"\r\n")
        return [json.loads(line) for line in out.splitlines()]

    def say(self, text: str, fds: tuple[int, ...] = ()) -> list[dict[str, object]]:
        self.session.feed(text.encode(), fds)
        return self.take()


@pytest.fixture
def vm() -> VM:
    return VM(MachineConfig())


@pytest.fixture
def hub(vm: VM) -> MonitorHub:
    return MonitorHub(vm)


@pytest.fixture
def client(vm: VM, hub: MonitorHub) -> Client:
    client = Client(vm, hub)
    assert client.say('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}')
    return client


def error_class(reply: dict[str, object]) -> object:
    error = reply["error"]
    assert isinstance(error, dict)
    assert error["desc"]
    return error["class"]


def test_greeting_and_negotiation(vm: VM, hub: MonitorHub) -> None:
    client = Client(vm, hub)
    [greeting] = client.take()
    assert greeting["QMP"]["capabilities"] == ["oob"]  # type: ignore[index]
    [early] = client.say('{"execute":"query-status","id":1}')
    assert error_class(early) == "CommandNotFound"
    assert early["id"] == 1
    [refused] = client.say('{"execute":"qmp_capabilities","arguments":{"enable":["warp"]}}')
    assert error_class(refused) == "GenericError"
    assert client.say('{"execute":"qmp_capabilities"}') == [{"return": {}}]
    [twice] = client.say('{"execute":"qmp_capabilities"}')
    assert error_class(twice) == "CommandNotFound"


def test_events_come_before_the_reply_and_to_everybody(
    vm: VM, hub: MonitorHub, client: Client
) -> None:
    other, silent = Client(vm, hub), Client(vm, hub)
    other.say('{"execute":"qmp_capabilities"}')
    silent.take()
    client.take()
    event, reply = client.say('{"execute":"stop","id":"x"}')
    assert event["event"] == "STOP"
    assert "data" not in event
    assert reply == {"return": {}, "id": "x"}
    assert [message["event"] for message in other.take()] == ["STOP"]
    assert silent.take() == []
    other.session.close()
    client.say('{"execute":"cont"}')
    assert other.take() == []


@pytest.mark.parametrize(
    "request_text",
    [
        "{}",
        '{"execute":5}',
        '{"execute":"query-status","extra":1}',
        '{"execute":"query-status","arguments":[]}',
        '{"execute":"query-status","exec-oob":"query-status"}',
        '{"exec-oob":"query-status"}',
        '{"exec-oob":"migrate-pause"}',
        "[1]",
        '{"execute":"query-status","arguments":{"a":1}}',
        '{"execute":"qom-set","arguments":{"path":"/machine","property":"type"}}',
    ],
)
def test_bad_requests(client: Client, request_text: str) -> None:
    client.take()
    [reply] = client.say(request_text + "\n")
    assert error_class(reply) == "GenericError"
    [fine] = client.say('{"execute":"query-status"}')
    assert fine["return"] == {"running": True, "status": "running"}


def test_descriptors_are_named_used_up_and_never_leak(client: Client) -> None:
    client.take()
    before = open_descriptors()
    read_end, write_end = os.pipe()
    [reply] = client.say('{"execute":"getfd","arguments":{"fdname":"x"}}', (read_end,))
    assert reply == {"return": {}}
    assert client.say('{"execute":"closefd","arguments":{"fdname":"x"}}') == [{"return": {}}]
    [gone] = client.say('{"execute":"closefd","arguments":{"fdname":"fd-mig"}}')
    # The only text that a known client compares byte by byte.
    assert gone["error"]["desc"] == "File descriptor named 'fd-mig' not found"  # type: ignore[index]
    [unasked] = client.say('{"execute":"query-status"}', (write_end,))
    assert "return" in unasked
    client.session.close()
    assert not opened_since(before)


def test_getfd_without_a_descriptor(client: Client) -> None:
    client.take()
    [reply] = client.say('{"execute":"getfd","arguments":{"fdname":"x"}}')
    assert error_class(reply) == "GenericError"


def test_descriptor_sets(client: Client) -> None:
    client.take()
    fd = os.open("/dev/null", os.O_WRONLY)
    [added] = client.say('{"execute":"add-fd","arguments":{"fdset-id":1,"opaque":"o"}}', (fd,))
    assert added["return"] == {"fdset-id": 1, "fd": fd}
    [listed] = client.say('{"execute":"query-fdsets"}')
    assert listed["return"] == [{"fdset-id": 1, "fds": [{"fd": fd, "opaque": "o"}]}]
    assert "return" in client.say('{"execute":"remove-fd","arguments":{"fdset-id":1}}')[0]
    assert client.say('{"execute":"query-fdsets"}') == [{"return": []}]
    assert "error" in client.say('{"execute":"remove-fd","arguments":{"fdset-id":1}}')[0]


def test_quit_is_the_last_word(client: Client) -> None:
    client.take()
    messages = client.say('{"execute":"quit"}{"execute":"query-status"}')
    assert [set(message) & {"event", "return"} for message in messages] == [{"event"}, {"return"}]


def test_pretty_printing(vm: VM, hub: MonitorHub) -> None:
    session = QmpSession(vm, hub=hub, pretty=True)
    session.greet()
    assert b'\n    "QMP": {\n        ' in session.output
