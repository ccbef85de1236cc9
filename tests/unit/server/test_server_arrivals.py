"""Connections of a multifd migration, sorted as they come."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from migsim.channel.group import InputGroup
from migsim.server.arrivals import Arrivals
from migsim.server.reactor import Reactor
from migsim.stream.multifd_wire import INITIAL_PACKET, MAGIC, VERSION

MAIN = b"QEVM\0\0\0\3"
UUID = bytes(range(16))


def initial(number: int, magic: int = MAGIC, version: int = VERSION, uuid: bytes = UUID) -> bytes:
    return INITIAL_PACKET.pack(magic, version, uuid, number)


class Door:
    """Arrivals of one machine, and those who come."""

    def __init__(self, further: int = 2) -> None:
        self.loop = Reactor()
        self.came: list = []
        self.problems: list = []
        self.arrivals = Arrivals(
            self.loop, further, self.came.append, self.problems.append, uuid=UUID
        )
        self.clients: list[socket.socket] = []

    def knock(self, data: bytes, *, leave: bool = False) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.clients.append(ours)
        ours.sendall(data)
        if leave:
            ours.close()
        self.arrivals.add(theirs, "a client")
        self.turn()
        return ours

    def turn(self, seconds: float = 0.0) -> None:
        end = time.monotonic() + seconds
        turns = 0
        while turns < 3 or time.monotonic() < end:
            self.loop.call_later(0.002, lambda: None)
            self.loop.turn()
            turns += 1


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.arrivals.abandon()
    for group in door.came:
        group.close()
    for client in door.clients:
        client.close()
    door.loop.close()


@pytest.mark.parametrize("order", list(itertools.permutations([MAIN, initial(0), initial(1)])))
def test_any_order(order, door):
    for data in order:
        assert not door.came
        door.knock(data)
    (group,) = door.came
    assert isinstance(group, InputGroup)
    assert len(group.further) == 2
    room = bytearray(8)
    assert group.main.read_into(memoryview(room)) == 8  # nothing was taken away
    assert bytes(room) == MAIN
    assert not door.problems


@pytest.mark.parametrize(
    "data",
    [
        b"",
        initial(0)[:20],
        b"x" * 64,
        MAIN[:3],
        initial(0, magic=MAGIC + 1),
        initial(0, version=2),
        initial(0, uuid=bytes(16)),
        initial(2),
    ],
    ids=["empty", "short", "text", "cut", "magic", "version", "uuid", "number"],
)
def test_strangers(data, door):
    door.knock(data, leave=True)
    assert len(door.problems) == 1
    assert not door.came


def test_one_channel_twice(door):
    door.knock(initial(1))
    assert not door.problems
    door.knock(initial(1))
    assert len(door.problems) == 1


def test_the_main_channel_twice(door):
    door.knock(MAIN + bytes(60))
    door.knock(MAIN + bytes(60))
    assert len(door.problems) == 1


def test_one_that_takes_its_time(door):
    slow = door.knock(initial(0)[:30])
    door.turn(0.03)
    assert not door.problems
    slow.sendall(initial(0)[30:])
    door.turn(0.05)
    door.knock(initial(1))
    door.knock(MAIN)
    assert len(door.came) == 1


def test_closing_wakes_up_the_thread_that_waits(door):
    for data in (MAIN, initial(0), initial(1)):
        door.knock(data)
    (group,) = door.came
    for channel in (group.main, *group.further):
        channel.read_into(memoryview(bytearray(64)))
    found: list = []
    thread = threading.Thread(
        target=lambda: found.extend(group.ready([group.main, *group.further]))
    )
    thread.start()
    while not any(channel._users for channel in group.further):
        time.sleep(0.001)
    group.close()
    thread.join(20)
    assert found
    assert all(channel.read_into(memoryview(bytearray(1))) == 0 for channel in found)


def test_without_multifd_the_first_one_is_it():
    door = Door(further=0)
    door.knock(b"")
    assert len(door.came) == 1
    door.came[0].close()
    door.clients[0].close()
    door.loop.close()
