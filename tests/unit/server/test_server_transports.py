from __future__ import annotations

import os
import socket
import threading

import pytest

from migsim.server.transports import LiveInput


def test_a_descriptor_is_not_closed_under_the_thread_that_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"abc")
    fd = ours.detach()
    channel = LiveInput(fd, "socket")
    real = os.readv

    def readv(number: int, rooms: list[memoryview]) -> int:
        channel.close()  # as another thread would at this moment
        with open(os.devnull) as other:
            assert other.fileno() != number
        return real(number, rooms)

    monkeypatch.setattr(os, "readv", readv)
    room = bytearray(8)
    assert channel.read_into(memoryview(room)) == 3
    assert channel.fd == -1
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    assert channel.read_into(memoryview(room)) == 0
    theirs.close()


@pytest.mark.parametrize("how", ["interrupt", "close"])
def test_a_thread_that_waits_for_bytes_sees_the_end(how: str) -> None:
    ours, theirs = socket.socketpair()
    channel = LiveInput(ours.detach(), "socket")
    counts: list[int] = []
    thread = threading.Thread(
        target=lambda: counts.append(channel.read_into(memoryview(bytearray(8))))
    )
    thread.start()
    getattr(channel, how)()
    thread.join(20)
    assert counts == [0]
    channel.close()
    theirs.close()
